"""Large blocks of memory go back to the system when they are freed, whatever was freed before."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
from mavera.server.memory import return_large_blocks

class Memory(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

read = ctypes.CDLL(None).mallinfo2
read.restype = Memory
return_large_blocks()
for size in (1_000_000, 20_000_000):
    bytes(size)
blocks = [bytes(200_000) for _ in range(20)]
mapped = read().hblkhd
blocks.clear()
print(mapped - read().hblkhd)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such limit")
@pytest.mark.parametrize(
    ("tuned", "given_back"), [({}, True), ({"MALLOC_MMAP_THRESHOLD_": "30000000"}, False)]
)
def test_large_blocks_go_back_to_the_system(tuned: dict[str, str], given_back: bool) -> None:
    environment = {**os.environ, **tuned}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) >= 20 * 200_000) == given_back
