"""
Make the percentiles that the scales of emotion use, from answers of the library's personas.

    python -m evals.emotion.population

    population.jsonl → ratings of the English sentences → sums of their deviations → percentiles of each side
    neutral.txt, the first 40 texts → the ordinary valence (their median) and its dead zone
    EmoBank's means → the ordinary arousal and dominance, without a dead zone

The answers are those of the embedded model, in the length that a turn asks for by default. After a change of
the model or of the answers, change `VERSION` too: analyses with different versions cannot be compared.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.emotion.texts import HERE, read_neutral
from mavera.analysis.emojis import find_emojis
from mavera.analysis.emotion import EmotionModel, rate_sentences
from mavera.analysis.limits import pick_english_prose
from mavera.analysis.population import PATH, Population
from mavera.analysis.ratings import Rating
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences

VERSION = "personas-1"
# This share of the sentences of neutral texts is within the dead zone.
INSIDE = 0.85
# The means of arousal and dominance in EmoBank's train split. Texts without a feeling are calmer than most
# answers, so they are no middle for arousal.
MEANS = (3.044, 3.063)
# So many percentiles are kept of each side.
KEPT = 50


def rate_text(model: EmotionModel, text: str) -> list[Rating]:
    """Return the ratings of the English sentences and of the emojis, as the analysis has them."""
    prose = pick_english_prose(split_sentences(text))
    return [*rate_sentences(model, prose), *find_emojis(text)]


def find_neutral(rated: Sequence[Rating]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the ordinary rating and the dead zone of each dimension, from the ratings of neutral texts."""
    values = np.array([one.valence for one in rated])
    ordinary = np.median(values)
    zone = np.quantile(np.abs(values - ordinary), INSIDE)
    return _to_floats([ordinary, *MEANS]), _to_floats([zone, 0, 0])


def _to_floats(values: Any) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def keep_percentiles(sums: Sequence[float]) -> tuple[float, ...]:
    return _to_floats(np.quantile(sums, np.linspace(1 / KEPT, 1, KEPT)))


def build_population(model: EmotionModel, answers: Sequence[str], neutral: Sequence[str]) -> Population:
    ordinary, zone = find_neutral([rating for text in neutral for rating in rate_text(model, text)])
    bare = Population(VERSION, ordinary, zone, (), ())
    rated = [found for found in (rate_text(model, text) for text in answers) if found]
    sums = [[bare.add_up(one, dimension) for one in rated] for dimension in range(3)]
    below = tuple(keep_percentiles([-value for value in side if value < 0]) for side in sums)
    above = tuple(keep_percentiles([value for value in side if value > 0]) for side in sums)
    return Population(VERSION, ordinary, zone, below, above)


def read_answers() -> list[str]:
    lines = (HERE / "population.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the percentiles of the population.")
    parser.add_argument("--out", type=Path, default=PATH)
    options = parser.parse_args()
    answers = read_answers()
    made = build_population(EmotionModel(SentenceEncoder()), answers, read_neutral()[0])
    options.out.write_text(
        json.dumps(
            {
                "version": made.version,
                "answers": len(answers),
                "ordinary": made.ordinary,
                "dead_zone": made.dead_zone,
                "below": made.below,
                "above": made.above,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
