"""
Compare two checkouts of the server, turn about in one run: is this one as fast as the other?

    python -m bench.gateway --against 331e8b2     another git revision, as a temporary worktree
    python -m bench.wire --against ../another     another checkout in a folder

Both servers run all the time. Each turn reads both, and every second turn starts with the other one, so
that a slow moment of the machine falls on both. Each turn gives the logarithm of one ratio; shown is their
mean as a ratio of speed, this checkout's over the other's (1.02 is 2 % faster), with Student's 95 % interval
for the mean of the paired logarithms. Turns are added until each interval is at most `WIDEST`
wide, or `--most-turns` is reached. `--turns` sets the fewest. The two checkouts have to work with the same
installed packages.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from bench.report import median, show

HERE = Path(__file__).parents[1]
WIDEST = 0.06
BAR = 0.98
LEAST_TURNS = 6

Figures = Mapping[str, float]
Read = Callable[[], Figures]


@dataclass(frozen=True)
class Interval:
    """A ratio of speeds with its 95 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def verdict(self) -> str:
        if self.width > WIDEST:
            return "undecided"
        return "passes" if self.high >= BAR else "slower"


def interval(log_ratios: Sequence[float]) -> Interval:
    """Return Student's 95 % interval for the mean of at least `LEAST_TURNS` logarithms, as ratios."""
    mean = fmean(log_ratios)
    half = _student(len(log_ratios) - 1) * stdev(log_ratios) / math.sqrt(len(log_ratios))
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def _student(freedom: int) -> float:
    """Return the 97.5 % point of Student's t, to three digits from 5 degrees of freedom on."""
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both benches share; `--turns`, the fewest, is their own."""
    parser.add_argument(
        "--against", metavar="FOLDER_OR_REVISION", help="compare with another checkout, turn about"
    )
    parser.add_argument(
        "--most-turns", type=int, default=60, metavar="TURNS", help="stop adding turns here (with --against)"
    )


@contextmanager
def checkout(folder_or_revision: str) -> Iterator[Path]:
    """Yield the folder of a checkout; one made for a revision is removed when the block ends."""
    if Path(folder_or_revision).is_dir():
        yield _checked(Path(folder_or_revision).resolve())
        return
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "base"
        git = ("git", "-C", str(HERE), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), folder_or_revision], check=True)
        try:
            yield _checked(folder)
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def source_of(folder: Path) -> dict[str, str]:
    """Return the environment in which a Python process imports the server from `folder`."""
    return {"PYTHONPATH": str(folder / "src")}


def _checked(folder: Path) -> Path:
    """Return `folder`, if a process that is told to imports the server from there and from nowhere else."""
    command = [sys.executable, "-c", "import mavera; print(mavera.__file__)"]
    said = subprocess.run(
        command, env={**os.environ, **source_of(folder)}, check=True, capture_output=True, text=True
    )
    if not Path(said.stdout.strip()).is_relative_to(folder):
        raise SystemExit(f"{folder} has no src/mavera: the server would come from {said.stdout.strip()}")
    return folder


def compare(
    title: str, this: Read, other: Read, *, options: argparse.Namespace, more_is_faster: Sequence[str] = ()
) -> bool:
    """
    Read both in turns, show the ratios and return whether every figure passes.

    A figure is a cost, unless `more_is_faster` names it.
    """
    turns = _read_turns(this, other, options, more_is_faster)
    rows = [_row(name, turns, more_is_faster) for name in turns[0][0]]
    passes = all(row["verdict"] == "passes" for row in rows)
    summary = {
        "turns": len(turns),
        "speed": "this checkout's over the other's, with Student's 95 % interval over paired logarithms",
        "bar": f"an interval at most {WIDEST} wide that contains {BAR} or lies above it",
        "passes": passes,
    }
    show(f"{title}: this checkout against {options.against}", rows, as_json=options.json, summary=summary)
    return passes


Turn = tuple[Figures, Figures]


def _read_turns(
    this: Read, other: Read, options: argparse.Namespace, more_is_faster: Sequence[str]
) -> list[Turn]:
    least = max(options.turns or 0, LEAST_TURNS)
    turns: list[Turn] = []
    while len(turns) < least or (
        len(turns) < options.most_turns
        and any(_interval_of(name, turns, more_is_faster).width > WIDEST for name in turns[0][0])
    ):
        if len(turns) % 2:
            second = other()
            turns.append((this(), second))
        else:
            first = this()
            turns.append((first, other()))
        print(f"turn {len(turns)}: {turns[-1]}", file=sys.stderr, flush=True)
    return turns


def _interval_of(name: str, turns: Sequence[Turn], more_is_faster: Sequence[str]) -> Interval:
    sign = 1 if name in more_is_faster else -1
    return interval([sign * math.log(this[name] / other[name]) for this, other in turns])


def _row(name: str, turns: Sequence[Turn], more_is_faster: Sequence[str]) -> dict[str, Any]:
    found = _interval_of(name, turns, more_is_faster)
    return {
        "figure": name,
        "this": median([this[name] for this, _ in turns]),
        "other": median([other[name] for _, other in turns]),
        "speed": round(found.ratio, 4),
        "from": round(found.low, 4),
        "to": round(found.high, 4),
        "width": round(found.width, 4),
        "verdict": found.verdict,
    }
