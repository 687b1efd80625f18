"""
GET /metrics: what Prometheus scrapes. It is not part of the API, so it is not described there.

Who may read it says MAVERA_METRICS: programs on this machine, everybody, or nobody.

With several workers any of them answers for all. Each sends its numbers to the parent a few times
a second (`send_counts`), and what it gets back is all of them added up.
"""

import asyncio
import ipaddress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mavera.api.auth import services_of
from mavera.api.headers import header
from mavera.errors import Forbidden, NotFound
from mavera.metrics import CONTENT_TYPE, SEND_SECONDS, Exchange, Metrics, ModelState, exposition

PATH = "/metrics"
# A proxy on this machine passes on what comes from others, and says so.
_PASSED_ON = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


def route(metrics: Metrics, exchange: Exchange | None = None) -> Route:
    """`exchange` is how several workers add up theirs, None where this process is alone."""

    async def read(request: Request) -> Response:
        """Return the metrics in Prometheus's text format."""
        services = services_of(request)
        _check_reader(request, services.settings.metrics)
        status = services.models["live"].status()
        state = ModelState(status.state in ("ready", "idle"), status.restarts)
        if exchange is None:
            counted = metrics.counted()
        else:
            await asyncio.sleep(2 * SEND_SECONDS)  # until the others have sent what is done by now
            counted = await exchange(metrics.counted())
        return Response(exposition(counted, state), headers={"content-type": CONTENT_TYPE})

    return Route(PATH, read, methods=["GET"])


async def send_counts(metrics: Metrics, exchange: Exchange) -> None:
    """Send what has changed, until cancelled; then once more."""
    sent = None
    try:
        while True:
            await asyncio.sleep(SEND_SECONDS)
            counted = metrics.counted()
            if counted != sent:
                await exchange(counted)
                sent = counted
    finally:
        await exchange(metrics.counted())


def _check_reader(request: Request, readers: str) -> None:
    if readers == "off":
        raise NotFound(f"There is nothing at {PATH}. /docs lists what there is.")
    if readers == "local" and not _is_local(request):
        raise Forbidden("Only programs on the server's machine may read its metrics (MAVERA_METRICS).")


def _is_local(request: Request) -> bool:
    if request.client is None or any(header(request, name) is not None for name in _PASSED_ON):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
