"""Memory that was freed goes back to the system, even from the middle of the heap."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, random
import psutil
from mavera.server.memory import return_freed_memory

M_MMAP_THRESHOLD = -3  # it grows to this much in a server that gets images
ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024)
rss = lambda: psutil.Process().memory_info().rss
blocks = [b"x" * random.randrange(1_000, 300_000) for _ in range(1_000)]
kept = blocks[::7]
del blocks
before = rss()
return_freed_memory()
print(before - rss())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the call is glibc's")
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30_000_000
