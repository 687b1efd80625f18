"""
How many threads are worth computing with.

llama.cpp's threads wait for each other after every layer, so one too many costs more than
one too few: two on one core, or more than a container may use, make all of them slow.
"""

import os
import sys
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Physical cores this process may run on, within its container's quota; at least one."""
    if sys.platform != "linux":
        # Half: the other half is hyperthreads, or the slow cores of a laptop.
        return max(1, (os.cpu_count() or 2) // 2)
    cpus = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota() or len(cores)))


def _siblings(cpu: int) -> str:
    """The hardware threads of that CPU's core, as the kernel lists them; else the CPU alone."""
    try:
        return (TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    try:
        quota, period = CGROUP_QUOTA.read_text(encoding="ascii").split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
