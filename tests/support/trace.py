"""Note which functions of the package run, and in which order they are first called."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import mavera

_PACKAGE = str(Path(mavera.__file__).parent) + "/"


@dataclass
class Trace:
    """`functions` has each, as `("runs/gate.py", "Gate.join")`, with its place among all first calls."""

    functions: dict[tuple[str, str], int] = field(default_factory=dict)
    on: bool = False
    _known: dict[CodeType, tuple[str, str] | None] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget what was called until now, and note what is called from now on."""
        self.functions.clear()
        self.on = True

    def end(self) -> None:
        self.on = False

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.on or event != "call":
            return
        code = frame.f_code
        if code not in self._known:
            file = code.co_filename
            ours = file.startswith(_PACKAGE)
            self._known[code] = (file.removeprefix(_PACKAGE), code.co_qualname) if ours else None
        name = self._known[code]
        if name is not None:
            self.functions.setdefault(name, len(self.functions))


@contextmanager
def traced_threads() -> Iterator[Trace]:
    """Trace the threads that are started within the block. Nothing is noted before `Trace.begin`."""
    trace = Trace()
    before = threading.getprofile()
    threading.setprofile(trace.note)
    try:
        yield trace
    finally:
        trace.end()
        threading.setprofile(before)
