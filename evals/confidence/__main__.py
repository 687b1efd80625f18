"""
Whether confidence means something: of answers with confidence 8, about 80 % should be right.

    python -m evals.confidence [--json] [--plot FILE]

`readings.jsonl` has the answers of the embedded model to the questions of `sources`, as `read` asked them.
Each source is scored by the logistic that was fitted on the other two. The expected calibration error (ECE)
is the mean difference between confidence and the share of right answers in five bins of equal size, and its
interval has the middle 95 % of its values on answers drawn again. `--plot` writes the reliability diagram as
SVG.

`certainty.tsv` has answers of the embedded model that was told to sound certain or to hedge, and `voices.tsv`
short texts written in other voices, of which half were read while the words were chosen.
"""

import argparse
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mavera.analysis.certainty import rate_certainty
from mavera.analysis.confidence import CALIBRATION, Calibration, estimate_confidence, measure_features
from mavera.reading.sentences import split_sentences

HERE = Path(__file__).parent
READINGS = HERE / "readings.jsonl"
SOURCES = ("trivia", "quiz", "atlas")
BINS = 5
RESAMPLES = 1_000
SEED = 27
STRENGTH = 1.0

Reading = dict[str, Any]
Scored = list[tuple[float, bool]]


def load_readings() -> list[Reading]:
    lines = READINGS.read_text(encoding="utf-8").splitlines()
    return [reading for reading in map(json.loads, lines) if reading["logprobs"]]


def fit(readings: Sequence[Reading]) -> Calibration:
    """Return the logistic that fits `readings`, with a small decay towards no effect."""
    given = np.array([measure_features(one["logprobs"], one["temperature"]) for one in readings])
    middle, spread = given.mean(axis=0), given.std(axis=0)
    model = LogisticRegression(C=STRENGTH, max_iter=1_000)
    model.fit((given - middle) / spread, [one["right"] for one in readings])
    weights = model.coef_[0] / spread
    constant = float(model.intercept_[0] - (weights * middle).sum())
    return Calibration(*(round(float(value), 3) for value in (constant, *weights)))


def score(readings: Sequence[Reading], calibration: Calibration) -> Scored:
    return [
        (
            estimate_confidence(one["logprobs"], one["temperature"], None, calibration) or 0.0,
            bool(one["right"]),
        )
        for one in readings
    ]


def measure_auroc(scored: Scored) -> float:
    right = [value for value, is_right in scored if is_right]
    wrong = [value for value, is_right in scored if not is_right]
    wins = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
    return wins / (len(right) * len(wrong)) if right and wrong else math.nan


def list_bins(scored: Scored) -> list[tuple[float, float, int]]:
    """
    Return the mean confidence (0–1), the share of right answers and their number, for bins of equal size.
    """
    ordered = sorted(scored)
    found = []
    for number in range(BINS):
        inside = ordered[number * len(ordered) // BINS : (number + 1) * len(ordered) // BINS]
        if inside:
            mean = sum(value for value, _ in inside) / len(inside) / 10
            found.append((mean, sum(is_right for _, is_right in inside) / len(inside), len(inside)))
    return found


def measure_ece(scored: Scored) -> float:
    return sum(abs(mean - share) * count for mean, share, count in list_bins(scored)) / len(scored)


def describe(scored: Scored) -> dict[str, Any]:
    drawn = random.Random(SEED)
    again = sorted(measure_ece(drawn.choices(scored, k=len(scored))) for _ in range(RESAMPLES))
    return {
        "answers": len(scored),
        "right": round(sum(is_right for _, is_right in scored) / len(scored), 3),
        "auroc": round(measure_auroc(scored), 3),
        "ece": [
            round(measure_ece(scored), 3),
            round(again[RESAMPLES // 40], 3),
            round(again[-RESAMPLES // 40], 3),
        ],
    }


def measure_confidence(readings: Sequence[Reading]) -> dict[str, Any]:
    by_source = {}
    everything: Scored = []
    for source in SOURCES:
        made = fit([one for one in readings if one["source"] != source])
        own = [one for one in readings if one["source"] == source]
        scored = score(own, made)
        everything += scored
        by_source[source] = describe(scored) | {
            f"ece at {heat}": describe(score([one for one in own if one["temperature"] == heat], made))["ece"]
            for heat in sorted({one["temperature"] for one in own})
        }
    return {
        "left_out": by_source,
        "all": describe(everything),
        "bins": [
            {"confidence": round(m, 3), "right": round(s, 3), "answers": c}
            for m, s, c in list_bins(everything)
        ],
        "fitted_on_all": repr(fit(readings)),
        "ships": repr(CALIBRATION),
    }


def measure_certainty() -> dict[str, Any]:
    """
    Return the mean expressed certainty of each kind, by its source, with a bootstrap interval, and for each
    source how often a text that hedges has less than one that is certain.
    """
    values: dict[str, list[float]] = {}
    lines = [
        line
        for name in ("certainty.tsv", "voices.tsv")
        for line in (HERE / name).read_text(encoding="utf-8").splitlines()
    ]
    for line in lines:
        source, kind, text = line.split("\t")
        value = rate_certainty(split_sentences(text.replace("\\n", "\n")))
        if value is not None:
            values.setdefault(f"{source}: {kind}", []).append(value)
    drawn = random.Random(SEED)
    found: dict[str, Any] = {}
    for source in dict.fromkeys(name.split(":")[0] for name in values):
        pairs = [(value, True) for value in values[f"{source}: certain"]]
        pairs += [(value, False) for value in values[f"{source}: hedge"]]
        found[f"{source}: AUC"] = round(measure_auroc(pairs), 3)
    for name, own in values.items():
        again = sorted(sum(drawn.choices(own, k=len(own))) / len(own) for _ in range(RESAMPLES))
        low, high = again[RESAMPLES // 40], again[-RESAMPLES // 40]
        found[name] = [len(own), round(sum(own) / len(own), 2), round(low, 2), round(high, 2)]
    return found


def diagram(found: dict[str, Any]) -> str:
    """Return the reliability diagram as SVG: a dot per bin, its size the number of answers."""

    def at(share: float) -> float:
        return 40 + 300 * share

    dots = "".join(
        f'<circle cx="{at(one["confidence"]):.1f}" cy="{380 - at(one["right"]):.1f}" '
        f'r="{3 + math.sqrt(one["answers"]) / 3:.1f}" fill="#2a78d6"/>'
        for one in found["bins"]
    )
    ticks = "".join(
        f'<text x="{at(n / 10):.0f}" y="358" text-anchor="middle">{n}</text>'
        f'<text x="32" y="{384 - at(n / 10):.0f}" text-anchor="end">{n * 10} %</text>'
        for n in range(0, 11, 2)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-20 0 400 400" '
        'font-family="sans-serif" font-size="11">'
        '<rect x="-20" width="400" height="400" fill="#fff"/>'
        f'<path d="M40 40V340H340" fill="none" stroke="#444"/><path d="M40 340L340 40" stroke="#999" '
        f'stroke-dasharray="4"/>{ticks}{dots}'
        '<text x="190" y="380" text-anchor="middle">confidence</text>'
        f'<text x="190" y="24" text-anchor="middle">share of right answers by confidence; '
        f"AUROC {found['all']['auroc']}, ECE {found['all']['ece'][0]}</text></svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    found = measure_confidence(load_readings())
    if options.plot:
        options.plot.write_text(diagram(found), encoding="utf-8")
    found["expressed_certainty"] = measure_certainty()
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
