"""What the C library does with memory that was freed."""

import ctypes
import os
from contextlib import suppress

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # M_… of malloc.h
LARGE_BYTES = 128 * 1024
KEPT_BYTES = 1024 * 1024
_OPERATORS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def return_large_blocks() -> None:
    """
    Have glibc give each block of more than `LARGE_BYTES` back to the system when it is freed.

    It begins so by itself, but moves the limit up to the largest block that was ever freed. Bodies with
    images then lie among small blocks, and the holes that they leave let the memory of a busy server grow
    for hours. Does nothing with another C library, or if the operator has tuned this one.
    """
    if any(name in os.environ for name in _OPERATORS):
        return
    with suppress(AttributeError, OSError):
        tune = ctypes.CDLL(None).mallopt
        tune(_MMAP_THRESHOLD, LARGE_BYTES)
        tune(_TRIM_THRESHOLD, KEPT_BYTES)
