"""
The processor time of other processes on this machine, user and system time together, to the microsecond.

    before = Usage.of(pids)
    …
    seconds = Usage.of(pids).since(before)

`/proc` counts in hundredths of a second, which is too coarse for Redis in a window of some seconds. So a
living process is read by its own clock, whose number is made of the process id as in clock_getcpuclockid(3).
A child that ends meanwhile, such as a backend of Postgres, is found again in what its parent has collected.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import psutil

# The clock of all threads of a process, in user and in system mode, as Linux numbers it.
_SCHEDULED = 2


@dataclass(frozen=True)
class Usage:
    """Seconds that processes and their descendants have used: those that live, and those that have ended."""

    living: float
    ended: float

    @classmethod
    def of(cls, pids: Iterable[int]) -> Self:
        """Read the processes of `pids` with all their descendants. Raises psutil.NoSuchProcess."""
        living = ended = 0.0
        for process in list_families(pids):
            try:
                ended += sum(process.cpu_times()[2:4])
                living += _read_clock(process.pid)
            except (psutil.NoSuchProcess, OSError):
                continue  # it has just ended, and its parent has collected its time
        return cls(living, ended)

    def since(self, before: Self) -> float:
        return self.living + self.ended - before.living - before.ended


def list_families(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the processes of `pids` and their descendants, each once. Raises psutil.NoSuchProcess."""
    parents = [psutil.Process(pid) for pid in pids]
    return list(
        {
            process.pid: process
            for parent in parents
            for process in (parent, *parent.children(recursive=True))
        }.values()
    )


def _read_clock(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | _SCHEDULED)
