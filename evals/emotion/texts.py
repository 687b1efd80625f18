"""Read the rated texts of others, and the texts that were written for this eval."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parent
# EmoBank's columns of valence, arousal and dominance.
LABELS = ("V", "A", "D")
# The first neutral texts chose the ordinary rating and the dead zone. Only the others are measured.
TUNED = 40


class Graded(NamedTuple):
    """A pleasant (1) or unpleasant (-1) text."""

    sign: int
    sentences: int
    text: str


class Review(NamedTuple):
    stars: int
    text: str


def read_neutral() -> tuple[list[str], list[str]]:
    """Return the texts for tuning and those for measuring."""
    texts = _read_lines("neutral.txt")
    return texts[:TUNED], texts[TUNED:]


def read_graded() -> list[Graded]:
    rows = (line.split("|", 2) for line in _read_lines("graded.txt"))
    return [Graded(1 if sign == "+" else -1, int(number), text) for sign, number, text in rows]


def read_reviews() -> list[Review]:
    rows = (line.split("|", 1) for line in _read_lines("reviews.txt"))
    return [Review(int(stars), text) for stars, text in rows]


def read_emobank(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.array(
        [[float(row[n]) for n in LABELS] for row in rows], np.float32
    )


def read_goemotions(path: Path) -> tuple[list[str], list[set[int]]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    return [row[0] for row in rows], [{int(number) for number in row[1].split(",")} for row in rows]


def _read_lines(name: str) -> list[str]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
