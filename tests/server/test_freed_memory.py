"""Memory that was freed goes back to the system, even from between blocks that are still in use."""

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


LARGE_BLOCKS = """
import psutil
from mavera.server.memory import limit_heaps

limit_heaps()
rss = lambda: psutil.Process().memory_info().rss
largest = b"x" * 20_000_000
del largest
blocks = [b"x" * 200_000 for _ in range(300)]
kept = blocks[::7]
before = rss()
del blocks
print(before - rss())
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the calls are glibc's")


@on_linux
def test_large_blocks_go_back_as_soon_as_they_are_freed() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_BLOCKS], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40_000_000


@on_linux
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30_000_000
