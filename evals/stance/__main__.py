"""
How well the stance of an analysis tells who would buy, by answers to ten offers that were labelled by hand.

    python -m evals.stance [--json]

`answers.jsonl` has the answers of twenty personas of the library, asked with `evals/answers/ask.py`. One
person labelled them. Intervals are 95 %: a bootstrap over the answers, and Wilson's for shares.
"""

import argparse
import json
from typing import Any

import numpy as np

from evals.intervals import bootstrap, compute_auc, to_figure
from evals.stance.answers import LabelledAnswer, read_answers, read_other_offers
from mavera.reading.agreement import POINTS, Agreement, measure_agreement
from mavera.reading.anchors import AGREEMENT, rate_similarity
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.verdict import VerdictReader


def bootstrap_auc(values: Any, is_high: Any) -> list[float]:
    return bootstrap(len(values), lambda rows: compute_auc(values[rows], is_high[rows]))


def measure_mixed(rows: list[LabelledAnswer], found: list[Agreement]) -> dict[str, Any]:
    pairs = [(row.is_mixed, one.is_mixed) for row, one in zip(rows, found, strict=True)]
    hits = sum(wanted and said for wanted, said in pairs)
    figures: dict[str, Any] = {}
    for name, cases in (("precision", sum(s for _, s in pairs)), ("recall", sum(w for w, _ in pairs))):
        figures[f"mixed, {name}"] = to_figure(hits, cases)
    return figures


def measure() -> dict[str, Any]:
    encoder = SentenceEncoder()
    reader = VerdictReader(encoder)

    def read(rows: list[LabelledAnswer]) -> list[Agreement]:
        return [measure_agreement(encoder, reader, row.question, row.text) for row in rows]

    rows, others = read_answers(), read_other_offers()
    found = read(rows)
    shares: Any = rate_similarity(encoder, [row.text for row in rows], AGREEMENT)
    both, all_found = [*rows, *others], [*found, *read(others)]
    scores, buys = (
        np.array([one.score for one in all_found]),
        np.array([row.verdict == "yes" for row in both]),
    )
    decided = buys | np.array([row.verdict == "no" for row in both])
    right = [one.verdict.stance == row.verdict for one, row in zip(found, rows, strict=True)]
    here = slice(len(rows))
    return {
        "answers": len(rows),
        "answers to other offers": len(others),
        "buy against not buy, AUC": bootstrap_auc(scores[here], buys[here]),
        "the same for the other offers": bootstrap_auc(scores[len(rows) :], buys[len(rows) :]),
        "the same for both": bootstrap_auc(scores, buys),
        "yes against no for both": bootstrap_auc(scores[decided], buys[decided]),
        "anchors alone: buy against not buy": bootstrap_auc(shares @ np.array(POINTS), buys[here]),
        "verdict is right": to_figure(sum(right), len(right)),
        **measure_mixed(rows, found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the stance of an analysis.")
    parser.add_argument("--json", action="store_true")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:44}", value)


if __name__ == "__main__":
    main()
