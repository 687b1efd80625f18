"""
Measure the answers of each remedy that was tried: `python -m evals.answers.remedies`.

    remedies.jsonl    {"variant", "persona", "question", "text"} in a line → the table of evals/README.md

No model is asked. The personas and questions are others than those of the comparison: eight personas, and
four of the evaluation's thirty questions for each, drawn by a seed. Two variants are of the comparison.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.answers.questions import QUESTIONS as COMPARED
from mavera.evaluation.items import QUESTIONS
from mavera.evaluation.measures import Share, measure_character
from mavera.evaluation.wording import (
    Embed,
    Median,
    measure_copies,
    measure_length,
    measure_loops,
    measure_reasons,
    measure_topic,
    strip_question,
)
from mavera.personas.builtin import PersonaLibrary
from mavera.reading.encoder import SentenceEncoder

HERE = Path(__file__).parent
Answer = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=Path, default=HERE / "remedies.jsonl")
    options = parser.parse_args()
    by_variant: dict[str, list[Answer]] = defaultdict(list)
    for line in map(json.loads, options.answers.read_text(encoding="utf-8").splitlines()):
        by_variant[line["variant"]].append((line["persona"], line["question"], line["text"]))
    embed = SentenceEncoder().embed
    for variant, answers in by_variant.items():
        print(describe_variant(variant, answers, embed))
    for ending in ("", ", of the comparison"):
        before, after = count_paired(by_variant, f"before{ending}", f"after the view{ending}", embed)
        print(f"on topic in pairs{ending}: {before[0]} of {before[1]} before, {after[0]} of {after[1]} after")


def count_paired(
    by_variant: Mapping[str, Sequence[Answer]], before: str, after: str, embed: Embed
) -> list[tuple[int, int]]:
    """
    Return how many answers to the same questions are on topic, of how many, for two variants.

    The mean of each question over the answers of all variants is taken away. That of a few is unsteady.
    """
    questions = (*QUESTIONS, *COMPARED)

    def measure(answers: Sequence[Answer]) -> Any:
        return embed([strip_question(ask, text) for _, ask, text in answers]) @ embed(questions).T

    means = measure([answer for answers in by_variant.values() for answer in answers]).mean(axis=0)
    asked = {answer[:2] for answer in by_variant[after]}
    counts = []
    for variant in (before, after):
        pairs = [answer for answer in by_variant[variant] if answer[:2] in asked]
        chosen = (measure(pairs) - means).argmax(axis=1)
        hits = sum(questions[int(at)] == ask for at, (_, ask, _) in zip(chosen, pairs, strict=True))
        counts.append((hits, len(pairs)))
    return counts


def describe_variant(variant: str, answers: Sequence[Answer], embed: Embed) -> str:
    """Return a row: cases, median words, topic, reasons, loops, copies, in character."""
    texts = [text for _, _, text in answers]
    turns = {p.name: [turn.answer for turn in p.turns] for p in PersonaLibrary.load().list()}
    questions = (*QUESTIONS, *COMPARED) if answers[0][1] in COMPARED else QUESTIONS
    topic = measure_topic([(ask, text) for _, ask, text in answers], questions, embed)
    shares = (
        topic,
        measure_reasons(texts),
        measure_loops(texts),
        measure_copies([(who, text) for who, _, text in answers], turns),
        measure_character(texts),
    )
    cells = [variant, str(len(answers)), format_median(measure_length(texts)), *map(format_share, shares)]
    return f"| {' | '.join(cells)} |"


def format_median(found: Median) -> str:
    return f"{found.value:g} ({found.interval[0]:g} to {found.interval[1]:g})"


def format_share(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.0%} ({low:.0%} to {high:.0%})".replace("%", " %")


if __name__ == "__main__":
    main()
