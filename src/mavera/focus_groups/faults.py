"""
Collect all faults of a study, so that one error names them all.

    Faults.add("questions[3].max", "…")  →  StudyError: line 14, questions[3].max: …
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

LABEL_MAX = 300

_STEPS = re.compile(r"(\[\d+\])")
_STEP = re.compile(r"(\.[^.\[\]]+|\[\d+\])$")


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake in a study. `path` is a field, as in `questions[3].max`, or "" for the whole file."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        places = [f"line {self.line}"] if self.line else []
        place = ", ".join([*places, self.path] if self.path else places)
        return f"{place}: {self.message}" if place else self.message


class StudyError(Exception):
    """A study that cannot run. `faults` lists all mistakes in the order of the file."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(slots=True)
class Faults:
    """
    Collects faults. `lines` has the line of each path, if the study comes from a text.

    If a list has entries that cannot be read, `kept` has the numbers of the other entries. Paths count the
    entries of the file.
    """

    lines: Mapping[str, int] = field(default_factory=dict)
    found: list[Fault] = field(default_factory=list)
    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def add(self, path: str, message: str) -> None:
        path = self._count_as_file(path)
        self.found.append(Fault(path, self._find_line(path), message))

    def _count_as_file(self, path: str) -> str:
        counted = ""
        for step in _STEPS.split(path):
            number = int(step[1:-1]) if step.startswith("[") else 0
            kept = self.kept.get(counted) if step.startswith("[") else None
            counted += f"[{kept[number]}]" if kept is not None else step
        return counted

    def raise_any(self) -> None:
        """Raise StudyError if there are faults."""
        if self.found:
            raise StudyError(self.found)

    def check_range(self, path: str, value: float | None, low: float, high: float) -> None:
        if value is not None and not low <= value <= high:
            shown = f"{value:g}" if abs(value) < 1e300 else "The number"
            self.add(path, f"{shown} is outside {low:g} to {high:g}.")

    def check_count(self, path: str, count: int, low: int, high: int, what: str) -> None:
        if not low <= count <= high and path not in self.kept:
            self.add(path, f"There are {count} {what}, and {low} to {high} are allowed.")

    def check_text(self, path: str, text: str, longest: int = LABEL_MAX) -> None:
        if not text:
            self.add(path, "The text is empty.")
        elif len(text) > longest:
            self.add(path, f"The text has {len(text):,} characters. The limit is {longest:,}.")

    def check_labels(self, path: str, labels: Sequence[str]) -> None:
        """Refuse empty, long and repeated labels."""
        seen: dict[str, int] = {}
        for n, label in enumerate(labels):
            self.check_text(f"{path}[{n}]", label)
            before = seen.setdefault(label.casefold(), n)
            if before != n:
                self.add(
                    f"{path}[{n}]", f"'{label}' repeats entry {before + 1}. Remove one, or change its text."
                )

    def check_ids(self, path: str, ids: Iterable[str], what: str) -> None:
        seen: dict[str, int] = {}
        for n, one in enumerate(ids):
            before = seen.setdefault(one, n)
            if before != n:
                self.add(
                    f"{path}[{n}].id",
                    f"The {what} '{one}' is number {before + 1} already. Give it another id.",
                )

    def _find_line(self, path: str) -> int | None:
        """Return the line of a path, or of the nearest field around it."""
        while path not in self.lines and path:
            shorter = _STEP.sub("", path)
            path = shorter if shorter != path else ""
        return self.lines.get(path)
