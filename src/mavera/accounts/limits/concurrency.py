"""
How many runs a workspace has going on: no more at once than its plan allows.

    begin(workspace, most) → may it?      end(workspace)      each that may begin has to end

Counted in this process; the workers of one parent count in that one, together. Other
machines count for themselves: to be exact there, each run would need an answer from the
network twice, to guard a number that protects the model and not the bill.
"""

from collections import Counter
from typing import Protocol


class Running(Protocol):
    async def begin(self, workspace_id: str, most: int | None) -> bool: ...

    def end(self, workspace_id: str, most: int | None) -> None: ...


class RunningHere:
    """Counts in this process. `most` of None is no cap, and is counted all the same."""

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
    """The parent's side of one worker, which may die with runs going on."""

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
        """End what the worker can no longer say has ended."""
        for workspace_id in self._mine.elements():
            self._running.end(workspace_id, None)
        self._mine.clear()
