"""
Count the cores that are worth a thread of computation.

llama.cpp's threads wait for each other after every layer, so one thread too many costs more than one too
few. Two threads on one core, or more threads than a container may use, make all of them slow.
"""

import os
import sys
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def count_usable_cores() -> int:
    """Return the number of physical cores for this process, within its container's quota. At least one."""
    if sys.platform != "linux":
        # Half of them, because the other half is hyperthreads, or the slow cores of a laptop.
        return max(1, (os.cpu_count() or 2) // 2)
    cpus = os.sched_getaffinity(0)
    cores = {_count_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _read_quota() or len(cores)))


def _count_siblings(cpu: int) -> str:
    """Return the hardware threads of a CPU's core as the kernel lists them, or else the CPU alone."""
    try:
        return (TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def _read_quota() -> int | None:
    try:
        quota, period = CGROUP_QUOTA.read_text(encoding="ascii").split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
