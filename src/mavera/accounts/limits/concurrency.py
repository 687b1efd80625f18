"""
Count the concurrent runs of each workspace, and allow no more than its plan does.

    begin(workspace, most) → allowed or not      end(workspace)      for each run that was allowed

This count is of one process, or of the workers of one parent together. It is exact on one machine, which is
all that SQLite can have. With Redis or Postgres, `slots.py` counts over all machines.
"""

from collections import Counter
from typing import Protocol


class Running(Protocol):
    async def begin(self, workspace_id: str, most: int | None) -> bool: ...

    def end(self, workspace_id: str, most: int | None) -> None: ...


class RunningHere:
    """Counts in this process. If `most` is None, the run is allowed in any case and still counted."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}

    async def begin(self, workspace_id: str, most: int | None) -> bool:
        return self.begin_now(workspace_id, most)

    def begin_now(self, workspace_id: str, most: int | None) -> bool:
        running = self._running.get(workspace_id, 0)
        if most is not None and running >= most:
            return False
        self._running[workspace_id] = running + 1
        return True

    def end(self, workspace_id: str, most: int | None) -> None:
        running = self._running.pop(workspace_id, 0) - 1
        if running > 0:
            self._running[workspace_id] = running


class RunsOfWorker:
    """The runs of one worker, which the parent counts. The worker may die during runs."""

    def __init__(self, running: RunningHere) -> None:
        self._running = running
        self._mine = Counter[str]()

    def begin(self, workspace_id: str, most: int) -> bool:
        begun = self._running.begin_now(workspace_id, most)
        if begun:
            self._mine[workspace_id] += 1
        return begun

    def end(self, workspace_id: str) -> None:
        self._mine[workspace_id] -= 1
        self._running.end(workspace_id, None)
        if not self._mine[workspace_id]:
            del self._mine[workspace_id]

    def close(self) -> None:
        """End the runs of a worker that has died."""
        for workspace_id in self._mine.elements():
            self._running.end(workspace_id, None)
        self._mine.clear()
