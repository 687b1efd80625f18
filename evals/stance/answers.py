"""Read the answers of personas to ten offers, with what they say, labelled by hand."""

import json
from pathlib import Path
from typing import NamedTuple

from mavera.reading.verdict import Stance

PATH = Path(__file__).parent / "answers.jsonl"


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
