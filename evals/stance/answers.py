"""Read the answers of personas to ten offers, with what they say, labelled by hand."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mavera.reading.verdict import Stance

PATH = Path(__file__).parent / "answers.jsonl"
READING = Path(__file__).parents[1] / "reading"
_OFFER = re.compile(
    r"Would you (?:buy|pay|subscribe|hire|try|take a bank|switch|stay in|use a meal|keep your money)"
)


class LabelledAnswer(NamedTuple):
    """`is_mixed` says that the answer speaks for and against the offer, in the eyes of the reader."""

    persona: str
    question: str
    text: str
    verdict: Stance
    is_mixed: bool


def read_answers() -> list[LabelledAnswer]:
    rows = map(json.loads, PATH.read_text(encoding="utf-8").splitlines())
    return [LabelledAnswer(o["persona"], o["question"], o["text"], o["verdict"], o["mixed"]) for o in rows]


def read_other_offers() -> list[LabelledAnswer]:
    """
    Return the embedded model's answers to the offers of `evals.reading`, which were labelled for verdicts.

    Nobody has labelled whether they are mixed.
    """
    return [one for one in _read_labelled() if _OFFER.match(one.question)]


def _read_labelled() -> Iterator[LabelledAnswer]:
    for row in _read_rows("verdicts.jsonl"):
        if row["from"] == "model":
            yield LabelledAnswer("", row["question"], row["answer"], row["verdict"], is_mixed=False)
    for mosaic in _read_rows("mosaics.jsonl"):
        for one in mosaic["answers"]:
            yield LabelledAnswer(
                one["persona"], mosaic["question"], one["answer"], one["verdict"], is_mixed=False
            )


def _read_rows(name: str) -> Iterator[Any]:
    return map(json.loads, (READING / name).read_text(encoding="utf-8").splitlines())
