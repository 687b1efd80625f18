"""
How well the emotion of an analysis agrees with people, whether its scale separates texts, and how fast it is.

    python -m evals.emotion [--emobank dev.csv] [--goemotions dev.tsv] [--json]

EmoBank's rows have ratings of single sentences, and GoEmotions' rows have the names of emotions. Neither is
in the repository. Without them, only the texts that were written for this eval are read, and the answers
of `evals.stance`. Intervals are 95 %: Wilson's for shares, and a bootstrap over texts for the rest.
"""

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evals.emotion.population import rate_text
from evals.emotion.texts import (
    LABELS,
    read_emobank,
    read_goemotions,
    read_graded,
    read_neutral,
    read_reviews,
)
from evals.intervals import bootstrap, compute_auc, to_figure
from evals.stance.answers import read_answers
from mavera.analysis.emotion import VERSION, EmotionModel, to_emotion
from mavera.analysis.population import load_population
from mavera.analysis.ratings import NAMES
from mavera.core.analysis import Emotion
from mavera.reading.encoder import SentenceEncoder

WORDS = 200
# A value in this range says that a text has no feeling.
NEUTRAL = (5.0, 6.0)


def read_text(model: EmotionModel, text: str) -> Emotion | None:
    """Return the emotion as an analysis has it."""
    rated = rate_text(model, text)
    return to_emotion(load_population(), rated) if rated else None


def read_valences(model: EmotionModel, texts: Sequence[str]) -> list[float]:
    found = (read_text(model, text) for text in texts)
    return [one.emotional_valence for one in found if one is not None]


def correlate(a: Any, b: Any, rows: Any) -> float:
    return float(np.corrcoef(a[rows], b[rows])[0, 1])


def measure_emobank(model: EmotionModel, path: Path) -> dict[str, Any]:
    texts, wanted = read_emobank(path)
    milliseconds, rated = [], []
    for text in texts:
        began = time.process_time()
        rated += model.rate([text])
        milliseconds.append((time.process_time() - began) * 1000)
    said = np.array([one.dimensions for one in rated])
    figures: dict[str, Any] = {}
    for n, label in enumerate(LABELS):
        figures[f"r {label}"] = bootstrap(len(texts), partial(correlate, said[:, n], wanted[:, n]))
        figures[f"mean error {label}"] = round(float(np.abs(said[:, n] - wanted[:, n]).mean()), 3)
    figures["milliseconds a sentence"] = [round(float(q), 1) for q in np.quantile(milliseconds, [0.5, 0.99])]
    return figures


def measure_goemotions(model: EmotionModel, path: Path) -> dict[str, Any]:
    """Count an emotion as right if it is among the labels. Rows with several labels are counted too."""
    texts, labels = read_goemotions(path)
    said = np.array([int(np.argmax(one.shares)) for one in model.rate(texts)])
    has = np.array([[name in row for name in range(len(NAMES))] for row in labels])

    def score(rows: Any) -> list[tuple[float, float]]:
        found = []
        for name in range(len(NAMES)):
            hits = float((has[rows, name] & (said[rows] == name)).sum())
            claimed, there = float((said[rows] == name).sum()), float(has[rows, name].sum())
            found.append((2 * hits / max(1.0, claimed + there), hits / max(1.0, there)))
        return found

    figures: dict[str, Any] = {
        "macro F1": bootstrap(len(texts), lambda rows: float(np.mean([f1 for f1, _ in score(rows)]))),
        "anger recall": bootstrap(len(texts), lambda rows: score(rows)[NAMES.index("anger")][1]),
    }
    for name, (f1, recall) in zip(NAMES, score(np.arange(len(texts))), strict=True):
        figures[f"{name}: F1, recall"] = [round(f1, 3), round(recall, 3)]
    return figures


def measure_scale(model: EmotionModel) -> dict[str, Any]:
    graded = read_graded()
    valences = read_valences(model, [one.text for one in graded])
    figures: dict[str, Any] = {}
    for number in sorted({one.sentences for one in graded}):
        pairs = [(v, one.sign) for v, one in zip(valences, graded, strict=True) if one.sentences == number]
        pleasant, unpleasant = ([v for v, sign in pairs if sign == wanted] for wanted in (1, -1))
        figures[f"pleasant and unpleasant texts of {number} sentences"] = [
            round(float(np.mean(pleasant)), 2),
            round(float(np.mean(unpleasant)), 2),
        ]
        figures[f"the nearest two of {number} sentences"] = round(min(pleasant) - max(unpleasant), 2)
    reviews = read_reviews()
    valences = read_valences(model, [one.text for one in reviews])
    good = np.array([one.stars >= 4 for one in reviews])
    values = np.array(valences)
    figures["reviews of 4 or 5 stars, of 1 or 2"] = [
        round(float(values[good].mean()), 2),
        round(float(values[~good].mean()), 2),
    ]
    figures["reviews, AUC"] = round(compute_auc(values, good), 3)
    for name, texts in (
        ("neutral texts within 5–6", read_neutral()[1]),
        ("opinions within 5–6", [one.text for one in read_answers()]),
    ):
        valences = read_valences(model, texts)
        inside = sum(NEUTRAL[0] <= value <= NEUTRAL[1] for value in valences)
        figures[name] = to_figure(inside, len(valences))
    return figures


def measure_time(texts: Sequence[str]) -> list[float]:
    """Return the median and the 90th percentile of milliseconds of processor time for 200 words."""
    words = " ".join(texts).split()
    blocks = [words[n : n + WORDS] for n in range(0, min(len(words), 20 * WORDS), WORDS)]
    sentences = [[" ".join(block[n : n + 20]) for n in range(0, len(block), 20)] for block in blocks]
    model = EmotionModel(SentenceEncoder())
    model.rate(["Warm up."])
    found = []
    for block in sentences:
        began = time.process_time()
        model.rate(block)
        found.append((time.process_time() - began) * 1000)
    return [round(float(q), 1) for q in np.quantile(found, [0.5, 0.9])]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the emotion of an analysis.")
    parser.add_argument("--emobank", type=Path)
    parser.add_argument("--goemotions", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = EmotionModel(SentenceEncoder())
    model.rate(["Warm up."])
    found: dict[str, Any] = {"version": VERSION, "scale": measure_scale(model)}
    if options.emobank is not None:
        found["emobank"] = measure_emobank(model, options.emobank)
    if options.goemotions is not None:
        found["goemotions"] = measure_goemotions(model, options.goemotions)
    found["milliseconds for 200 words"] = measure_time([one.text for one in read_answers()])
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(name, "" if isinstance(value, dict) else value)
        for figure, one in value.items() if isinstance(value, dict) else ():
            print(f"    {figure:48}", one)


if __name__ == "__main__":
    main()
