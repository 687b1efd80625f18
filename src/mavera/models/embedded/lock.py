"""
Lock a file between processes. The system releases the lock when its holder dies, however it dies.

The empty lock file stays behind. If it were deleted, two holders could lock two files of one name.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def hold_lock(path: Path, *, while_waiting: Callable[[], None], poll_seconds: float = 0.5) -> Iterator[None]:
    """
    Hold the lock at `path`. Waits while another process has it.

    The function polls and does not block, so that Ctrl-C works and `while_waiting` can report the wait.
    """
    with path.open("ab") as file:
        while True:
            try:
                _try_lock(file.fileno())
                break
            except (BlockingIOError, PermissionError):
                while_waiting()
                time.sleep(poll_seconds)
        yield
