"""The file descriptors of this process: how many it has open, and how many it may open."""

import os
import sys

if sys.platform != "win32":
    import resource

# As many as ten thousand connections need, and few enough to list.
WANTED = 65_536
_FOLDERS = ("/proc/self/fd", "/dev/fd")


def raise_descriptor_limit() -> None:
    """Raise the soft limit towards the hard one, which the operator sets. Does nothing on Windows."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptor_limit() -> int | None:
    """Return how many descriptors this process may have open, or None if nothing limits them."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def count_descriptors() -> int | None:
    """Return how many descriptors are open, or None if this system does not tell."""
    for folder in _FOLDERS:
        try:
            return len(os.listdir(folder)) - 1  # without the one that reads the folder
        except OSError:
            continue
    return None
