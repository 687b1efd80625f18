"""Return freed memory of the C library to the system."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache


def return_freed_memory() -> None:
    """
    Return freed pages to the system, wherever they are in the heap. Does nothing without glibc.

    By itself glibc returns only the end of the heap, and large bodies leave holes between small blocks. The
    call takes 1 ms for each 10 MB that it returns.
    """
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    with suppress(AttributeError, OSError):
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
        return trim
    return lambda _: None
