"""
Whether this process is about to stop, so that a balancer sends it no more requests.

    SIGTERM → begin(): not ready, and `Connection: close` on every response
            → MAVERA_DRAIN_SECONDS later: the listener closes, and running answers have the grace
"""


class Drain:
    """The server begins it, and readiness and the HTTP protocol look at it."""

    __slots__ = ("is_draining",)

    def __init__(self) -> None:
        self.is_draining = False

    def begin(self) -> None:
        self.is_draining = True
