"""
How well the shipped emotion model agrees with human ratings, and how fast it is.

    python -m evals.emotion --csv FILE [--json]

FILE has the columns id, V, A, D and text, ratings on 1–5, as EmoBank's splits have. Each
text is rated alone on one core; the time is that of one text. `--json` prints one object.
"""

import argparse
import csv
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mavera.analysis.emotion import VERSION, EmotionModel

LABELS = {"V": "valence", "A": "arousal", "D": "dominance"}
WORDS = 200


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pearson(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    shared = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    alone = math.fsum((x - mean_a) ** 2 for x in a) * math.fsum((y - mean_b) ** 2 for y in b)
    return shared / math.sqrt(alone) if alone else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(model: EmotionModel, texts: Sequence[str]) -> tuple[list[tuple[float, float, float]], list[float]]:
    """Return the ratings of `texts`, and the milliseconds of processor time of each."""
    ratings, milliseconds = [], []
    for text in texts:
        began = time.process_time()
        (rating,) = model.rate([text])
        milliseconds.append((time.process_time() - began) * 1000)
        ratings.append(tuple(rating))
    return ratings, milliseconds  # type: ignore[return-value]


def figures(path: Path) -> dict[str, Any]:
    rows = read(path)
    model = EmotionModel.load()
    model.rate(["Warm up."])
    ratings, milliseconds = timed(model, [row["text"] for row in rows])
    found: dict[str, Any] = {"version": VERSION, "texts": len(rows)}
    for n, (column, name) in enumerate(LABELS.items()):
        said, wanted = [rating[n] for rating in ratings], [float(row[column]) for row in rows]
        off = sum(abs(x - y) for x, y in zip(said, wanted, strict=True)) / len(rows)
        found[name] = {"pearson_r": round(pearson(said, wanted), 4), "mae": round(off, 4)}
    found["milliseconds_per_text"] = _times(milliseconds)
    pieces = " ".join(row["text"] for row in rows).split()
    blocks = [pieces[n : n + WORDS] for n in range(0, min(len(pieces), 20 * WORDS), WORDS)]
    texts = [[" ".join(block[n : n + 20]) for n in range(0, WORDS, 20)] for block in blocks]
    began = [_block_time(model, block) for block in texts]
    found[f"milliseconds_per_{WORDS}_words"] = _times(began)
    return found


def _block_time(model: EmotionModel, sentences: Sequence[str]) -> float:
    began = time.process_time()
    model.rate(sentences)
    return (time.process_time() - began) * 1000


def _times(milliseconds: Sequence[float]) -> dict[str, float]:
    return {"p50": round(percentile(milliseconds, 0.5), 2), "p99": round(percentile(milliseconds, 0.99), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = figures(options.csv)
    if options.json:
        print(json.dumps(found))
        return
    for name in LABELS.values():
        print(f"{name:<10} r {found[name]['pearson_r']:.3f}   MAE {found[name]['mae']:.3f}")
    for name in ("milliseconds_per_text", f"milliseconds_per_{WORDS}_words"):
        print(f"{name}: p50 {found[name]['p50']}, p99 {found[name]['p99']}")


if __name__ == "__main__":
    main()
