"""
Exchange frames on stdin and stdout in the readers' child processes, within a budget for each frame.

    stdin    frames                               4 bytes of length, then that many bytes
    stdout   one frame: ready; then one answer for each frame

The kernel enforces the budget. An allocation beyond the memory limit fails, and the reader reports that
the input is too heavy. A frame that exceeds the processor time ends the process with SIGXCPU, which tells
the parent why.
"""

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import resource
except ImportError:  # not on Windows, where only the parent's clock bounds a frame
    resource = None  # type: ignore[assignment]


_FIRST_TO_GO = "1000"


def limit_memory(most_bytes: int) -> None:
    """
    Bound this process's address space, and disable core files.

    If the machine runs out of memory, the kernel ends this process first: the model's engine is larger, and
    would go in its place.
    """
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer_frames(answer: Callable[[bytes], bytes], *, cpu_seconds: float, answers: BinaryIO) -> None:
    """Answer each frame of stdin until it ends, with `cpu_seconds` of processor time for each."""
    _write(answers, b"ready")
    while (frame := _read(sys.stdin.buffer)) is not None:
        _limit_cpu(cpu_seconds)
        _write(answers, answer(frame))


def take_stdout() -> BinaryIO:
    """Return a private copy of stdout, and redirect everything that libraries print to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _limit_cpu(seconds: float) -> None:
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


def _read(stream: BinaryIO) -> bytes | None:
    """Return the next frame, None at the end of the stream."""
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()
