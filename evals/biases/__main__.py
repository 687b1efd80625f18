"""
Precision, recall and F1 of the biases that are found, against two simpler ways.

    python -m evals.biases [--json] [--read] [--free-form N]

`--read` asks the embedded model about every suspect that is not in `readings.json` yet
(some 5 minutes on two cores); without it the readings lying there are used. The weights are fitted
on the tune split alone, and all figures are of the test split. `--free-form N` lets the same
model name the biases of the first N test answers in one JSON prompt.

An answer shows one bias or none; every other bias that is reported counts as wrong.
"""

import argparse
import asyncio
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.engine import asked, embedded_model, hear
from mavera.analysis import biases, probes
from mavera.analysis.biases import WEIGHTS, Weights
from mavera.reading.sentences import split_sentences

HERE = Path(__file__).parent
READINGS = HERE / "readings.json"
FREE_FORM = HERE / "free_form.json"
QUESTION = "What do you think?"


@dataclass(frozen=True)
class Example:
    """`shown` is the bias that the text shows, empty where none."""

    part: str
    shown: str
    text: str


def examples() -> list[Example]:
    found = []
    for line in (HERE / "answers.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            part, label, text = (piece.strip() for piece in line.split("|", 2))
            found.append(Example(part, "" if label.startswith("-") else label, text))
    return found


async def read_all(texts: Sequence[str]) -> None:
    """Write, by text and bias, the logit of each suspect; texts that have been read are left alone."""
    found: Readings = {}
    if READINGS.exists():
        found = json.loads(READINGS.read_text(encoding="utf-8"))
    async with embedded_model() as model:
        # In an order of no meaning, so that the part read so far is a fair sample.
        for text in sorted(set(texts) - set(found), key=lambda text: zlib.crc32(text.encode())):
            sentences = split_sentences(text)
            suspected = biases.find_suspects(sentences)[: biases.MAX_SUSPECTS]
            questions = [biases.build_question(one, sentences) for one in suspected]
            replies = await probes.ask_probes(model, asked(QUESTION), text, questions)
            found[text] = {one.bias.name: reply.logit for one, reply in zip(suspected, replies, strict=True)}
            READINGS.write_text(json.dumps(found, indent=0), encoding="utf-8")
            print(f"{len(found)}/{len(texts)}", text[:60], found[text], flush=True)


def reported(text: str, readings: dict[str, float | None] | None, weights: Weights = WEIGHTS) -> set[str]:
    """Return what is reported of `text` with its readings, or without a model where they are None."""
    sentences = split_sentences(text)
    suspected = biases.find_suspects(sentences)[: biases.MAX_SUSPECTS]
    judged = [(one, (readings or {}).get(one.bias.name)) for one in suspected]
    return {one.name for one in biases.report_biases(judged, sentences, weights)}


def by_cues(text: str) -> set[str]:
    """The keyword baseline: a bias is there where a word of its catalogue entry is."""
    return {one.bias.name for one in biases.find_suspects(split_sentences(text))}


def measured(rows: Iterable[tuple[str, set[str]]]) -> dict[str, Any]:
    """Return precision, recall and F1 over all and per bias, of (shown, reported) pairs."""
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for shown, said in rows:
        right.update(said & {shown})
        wrong.update(said - {shown})
        missed.update({shown} - said - {""})
    names = sorted({*right, *wrong, *missed})
    return {
        "overall": _scores(right.total(), wrong.total(), missed.total()),
        "per_bias": {name: _scores(right[name], wrong[name], missed[name]) for name in names},
    }


def _scores(right: int, wrong: int, missed: int) -> dict[str, float]:
    precision = right / (right + wrong) if right + wrong else 0.0
    recall = right / (right + missed) if right + missed else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


Readings = dict[str, dict[str, float | None]]


def fitted(rows: Sequence[Example]) -> Weights:
    """Return a logistic fitted to `rows` by gradient descent, and its threshold with the highest F1."""
    data = []
    for row in rows:
        for one in biases.find_suspects(split_sentences(row.text))[: biases.MAX_SUSPECTS]:
            data.append(((1.0, min(one.cues, 3), min(one.doubts, 2)), one.bias.name == row.shown))
    values = [0.0] * 3
    for _ in range(6000):
        steps = [0.0] * 3
        for inputs, there in data:
            off = 1 / (1 + math.exp(-sum(v * x for v, x in zip(values, inputs, strict=True)))) - there
            steps = [step + off * x for step, x in zip(steps, inputs, strict=True)]
        values = [v - 0.1 * (step / len(data) + 0.003 * v) for v, step in zip(values, steps, strict=True)]
    constant, cue, doubt = (round(value, 2) for value in values)
    weights = Weights(constant, cue, doubt, 0.5)

    def f1(threshold: float) -> float:
        tried = replace(weights, threshold=threshold)
        found = measured((row.shown, reported(row.text, None, tried)) for row in rows)
        return float(found["overall"]["f1"])

    return replace(weights, threshold=max((n / 50 for n in range(5, 45)), key=f1))


async def free_form(rows: Sequence[Example]) -> None:
    """Write, by text, the biases that the model names when it is asked for all at once."""
    names = ", ".join(one.name for one in biases.load_catalogue())
    found: dict[str, list[str]] = {}
    async with embedded_model() as model:
        for row in rows:
            prompt = (
                f"Which of these cognitive biases does the text show? {names}.\n\nText: {row.text}\n\n"
                'Answer only with JSON: {"biases": ["name", …]}, an empty list where it shows none.'
            )
            heard = await hear(model, asked(prompt, max_tokens=40))
            found[row.text] = [
                one.name for one in biases.load_catalogue() if f'"{one.name}"' in heard.text.lower()
            ]
            FREE_FORM.write_text(json.dumps(found, indent=0), encoding="utf-8")
            print(row.text[:60], found[row.text], flush=True)


def figures(rows: Sequence[Example]) -> dict[str, Any]:
    readings: Readings = json.loads(READINGS.read_text(encoding="utf-8")) if READINGS.exists() else {}
    tune, test = ([row for row in rows if row.part == part] for part in ("tune", "test"))
    read_test = [row for row in test if row.text in readings]

    def over(part: Sequence[Example], said: Callable[[str], set[str]]) -> dict[str, Any]:
        return measured((row.shown, said(row.text)) for row in part)

    found = {
        "answers": {"tune": len(tune), "test": len(test), "test_probed": len(read_test)},
        "fitted_on_tune": repr(fitted(tune)),
        "test_probed": {
            "cues_and_probes": over(read_test, lambda text: reported(text, readings[text])),
            "cues_alone": over(read_test, lambda text: reported(text, None))["overall"],
            "keywords": over(read_test, by_cues)["overall"],
        },
        "test": {
            "cues_alone": over(test, lambda text: reported(text, None)),
            "keywords": over(test, by_cues)["overall"],
        },
    }
    if FREE_FORM.exists():
        named = json.loads(FREE_FORM.read_text(encoding="utf-8"))
        part = [row for row in test if row.text in named]
        found["free_form"] = {
            "answers": len(part),
            "free_form": over(part, lambda text: set(named[text]))["overall"],
            "cues_alone": over(part, lambda text: reported(text, None))["overall"],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--read", action="store_true")
    parser.add_argument("--free-form", type=int, default=0, metavar="N")
    options = parser.parse_args()
    rows = examples()
    if options.read:
        asyncio.run(read_all([row.text for row in rows]))
    if options.free_form:
        test = [row for row in rows if row.part == "test"]
        # Every n-th, so that all biases have their share.
        chosen = test[:: max(1, len(test) // options.free_form)][: options.free_form]
        asyncio.run(free_form(chosen))
    found = figures(rows)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
