"""The file descriptors of this process: count the open ones, and read and raise their limit."""

import os
import sys

if sys.platform != "win32":
    import resource

# Ten thousand connections need no more, and so many are still quick to list.
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
    """Return the limit of open descriptors, or None if there is no limit."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def count_descriptors() -> int | None:
    """Return the number of open descriptors, or None if the system does not show them."""
    for folder in _FOLDERS:
        try:
            return len(os.listdir(folder)) - 1  # except the one that reads the folder
        except OSError:
            continue
    return None
