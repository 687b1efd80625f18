"""
`mavera serve`, in a process that also measures how long its event loop was held.

    python -m bench.held   →   as `python -m mavera.server.main`; each line on standard input is answered
                               with {"wall_ms", "busy_ms"} on standard error and starts a new measurement

A timer fires every millisecond. `wall_ms` is the longest it was late by the clock, `busy_ms` the longest
it was late counting only the time in which this process had a processor, which leaves out what other
processes did meanwhile.
"""

import json
import sys
import threading
import time

import uvloop

from mavera.server.main import main

EVERY_SECONDS = 0.001


class HeldLoop(uvloop.Loop):
    """An event loop that notes how late its own timer fires."""

    def run_forever(self) -> None:
        self._wall = self._busy = 0.0
        self._last = time.perf_counter(), time.process_time()
        self.call_later(EVERY_SECONDS, self._tick)
        threading.Thread(target=self._report, daemon=True).start()
        super().run_forever()

    def _tick(self) -> None:
        self._note()
        self.call_later(EVERY_SECONDS, self._tick)

    def _note(self) -> None:
        now = time.perf_counter(), time.process_time()
        wall, busy = (after - before for after, before in zip(now, self._last, strict=True))
        self._last = now
        self._wall = max(self._wall, wall - EVERY_SECONDS)
        self._busy = max(self._busy, min(wall, busy) - EVERY_SECONDS)

    def _report(self) -> None:
        for _ in sys.stdin:
            self.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._note()  # whatever holds the loop now ends here, before the timer's turn
        said = {"wall_ms": self._wall * 1000, "busy_ms": self._busy * 1000}
        self._wall = self._busy = 0.0
        print(json.dumps(said), file=sys.stderr, flush=True)


if __name__ == "__main__":
    uvloop.new_event_loop = HeldLoop  # which the server's loop factory calls
    main()
