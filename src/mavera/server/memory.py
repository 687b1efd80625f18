"""Keep the heap of the C library small, and return freed memory to the system."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache

# The numbers of two options of glibc's `mallopt`, and their values.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
LARGE_BYTES = 128 * 1024
MOST_HEAPS = 2


def limit_heaps() -> None:
    """
    Keep blocks of `LARGE_BYTES` out of the heaps, and let all threads share two heaps. Does nothing without
    glibc. Call it before threads are started.

    A block outside of the heaps goes back to the system when it is freed. By itself glibc puts ever larger
    blocks into the heaps, up to the size of the largest one that was freed. The images and bodies of later
    requests then leave holes there, in a heap for each thread.
    """
    set_option = _find("mallopt")
    set_option(_MMAP_THRESHOLD, LARGE_BYTES)
    set_option(_ARENA_MAX, MOST_HEAPS)


def return_freed_memory() -> None:
    """
    Return freed pages to the system, wherever they are in the heap. Does nothing without glibc.

    By itself glibc returns only the end of the heap, and blocks below `LARGE_BYTES` leave holes between
    small ones. The call takes 1 ms for each 10 MB that it returns.
    """
    _find("malloc_trim")(0)


@cache
def _find(name: str) -> Callable[..., object]:
    """Return a function of the C library, or one that does nothing if there is none of this name."""
    with suppress(AttributeError, OSError):
        found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
        return found
    return lambda *_: None
