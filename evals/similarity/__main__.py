"""
Calibrate similarity rating with the answers of real people.

    python -m evals.similarity ask --data DIR     the model's sentences about ordered items → sentences.jsonl
    python -m evals.similarity fit --data DIR     sentences, people → sharpness and weight by number of points
    python -m evals.similarity fit --write …      the same, into src/mavera/focus_groups/sharpness.json

The sentences are those of the embedded model without a persona, asked as in a study. Two surveys are tuned
on, and the figures of the others are printed beside them. `letters` in the file are the shares that the model
gives by letters, corrected for places. Only numbers of points with six items or more are calibrated.
"""

import argparse
import asyncio
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from mavera.accounts.principal import Principal
from mavera.cli.progress import wait_until_ready
from mavera.evaluation.survey_data import Item, Survey, load_surveys
from mavera.evaluation.survey_measures import Floats, count_answers, measure_total_variation
from mavera.focus_groups.asks import Shown
from mavera.focus_groups.desk import digest_model
from mavera.focus_groups.elicit import Elicitor
from mavera.focus_groups.elicited import CellId
from mavera.focus_groups.resolve import resolve
from mavera.focus_groups.shipped_priors import find_shipped_priors
from mavera.focus_groups.similarity import ANCHORS, Sharpness, build_anchors
from mavera.focus_groups.study import Likert
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.reading.anchors import AnchoredScale, measure_similarity, to_shares
from mavera.reading.encoder import VERSION, SentenceEncoder
from mavera.runs.loop import Runner
from mavera.services import open_named_model
from mavera.settings import load_settings

SENTENCES = Path(__file__).with_name("sentences.jsonl")
SHARPNESS = Path(__file__).parents[2] / "src/mavera/focus_groups/sharpness.json"
TUNED = ("flying-etiquette-survey", "star-wars-survey")
FEWEST_ITEMS = 6
GRID = (10, 20, 40, 60, 80, 100, 120, 160, 200)
# A sentence is a read more for each cell, so a smaller gain in total variation does not count as help.
LEAST_GAIN = 0.01
# One sentence never counts for more than the letters.
WEIGHTS = tuple(step / 10 for step in range(6))


class Sentence(msgspec.Struct):
    """A sentence about an item, and the shares by letters."""

    survey: str
    item: str
    text: str
    letters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """An item with its sentence: cosines (sets, points), and the shares by letters and of people."""

    survey: str
    cosines: Floats
    letters: Floats
    people: Floats

    def measure(self, sharpness: float, weight: float) -> float:
        """Return the total variation of the mix of letters and rating."""
        rated = to_shares(self.cosines, sharpness)
        return measure_total_variation((1 - weight) * self.letters + weight * rated, self.people)


def list_items(data: Path) -> Iterator[tuple[Survey, int, Item]]:
    for survey in load_surveys(data):
        if isinstance(survey, Survey):
            for number, item in enumerate(survey.items):
                if item.ordered and len(item.options) > 2:
                    yield survey, number, item


async def ask(data: Path, every: int) -> None:
    """Ask the model about each item that has no sentence yet. Of food-world-cup, ask every n-th item."""
    known = {(one.survey, one.item) for one in read_sentences()}
    people = Personas(PersonaLibrary.load())
    settings = load_settings()
    async with open_named_model(settings, "mavera-1", people) as named:
        await wait_until_ready(named.model, Console(stderr=True))
        runner = Runner(people, {"live": named.model}, named={"mavera-1": named})
        elicitor = Elicitor(lambda turn: runner.run(turn, Principal.local()), model="mavera-1")
        for survey, number, item in list_items(data):
            if (survey.name, item.id) in known or (survey.name == "food-world-cup" and number % every):
                continue
            question = Likert(id=item.id, text=item.text, points=len(item.options), labels=item.options)
            plain = Shown(question, item.text, survey.language)
            words = Shown(question, item.text, survey.language, in_own_words=True)
            letters = await elicitor.elicit(plain, None, "letters")
            sentence = await elicitor.elicit(words, None, "letters")
            priors = find_shipped_priors(digest_model(settings), survey.language)
            shares = resolve(CellId(item.id, None, None, None), question, letters, priors).shares
            row = Sentence(survey.name, item.id, sentence.reads[0].text, tuple(map(float, shares.round(5))))
            with SENTENCES.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")


def read_sentences() -> list[Sentence]:
    lines = SENTENCES.read_bytes().splitlines() if SENTENCES.exists() else []
    return [msgspec.json.decode(line, type=Sentence) for line in lines]


def make_cases(data: Path) -> list[Case]:
    """Return the items that have a sentence."""
    encoder = SentenceEncoder()
    sentences = {(one.survey, one.item): one for one in read_sentences()}
    cases = []
    for survey, number, item in list_items(data):
        one = sentences.get((survey.name, item.id))
        if one is None:
            continue
        scale = AnchoredScale(build_anchors(item.text, item.options))
        cosines = measure_similarity(encoder, [one.text], scale)[0]
        counts = count_answers(survey.answers[:, number], len(item.options))
        cases.append(Case(survey.name, cosines, np.array(one.letters), counts / counts.sum()))
    return cases


def fit(cases: list[Case], points: int) -> Sharpness | None:
    """Return the sharpness and the weight that come nearest to people, or None with too few items."""
    tuned = [one for one in cases if one.survey in TUNED and len(one.people) == points]
    if len(tuned) < FEWEST_ITEMS:
        return None
    # Both at once: the sharpness that is best for the rating alone need not be the best one in a mix.
    sharpness, weight = min(itertools.product(GRID, WEIGHTS), key=lambda one: average(tuned, *one))
    surveys = tuple(dict.fromkeys(one.survey for one in tuned))
    return Sharpness(
        encoder=VERSION,
        anchors=ANCHORS,
        points=points,
        sharpness=sharpness,
        weight=weight,
        helps=False,
        items=len(tuned),
        surveys=surveys,
    )


def average(cases: list[Case], sharpness: float, weight: float) -> float:
    return float(np.mean([one.measure(sharpness, weight) for one in cases]))


def test(cases: list[Case], one: Sharpness) -> tuple[Sharpness, float]:
    """Return the calibration with whether it helps, and the total variation of items left out one by one."""
    tuned = [case for case in cases if case.survey in TUNED and len(case.people) == one.points]
    left_out = [
        case.measure(found.sharpness, found.weight)
        for case in tuned
        if (found := fit([other for other in cases if other is not case], one.points)) is not None
    ]
    distance = float(np.mean(left_out)) if left_out else math.inf
    return msgspec.structs.replace(one, helps=distance < average(tuned, 0, 0) - LEAST_GAIN), distance


def report(cases: list[Case], one: Sharpness, left_out: float) -> None:
    """Print the mean total variation of the tuned items, and of the others."""
    same = [case for case in cases if len(case.people) == one.points]
    tuned = [case for case in same if case.survey in TUNED]
    print(f"{one.points} points: sharpness {one.sharpness:g}, weight {one.weight:g}")
    for name, group in (("tuned", tuned), ("others", [case for case in same if case.survey not in TUNED])):
        if group:
            figures = {
                "uniform": average(group, 0, 1),
                "letters": average(group, 0, 0),
                "rating": average(group, one.sharpness, 1),
                "mix": average(group, one.sharpness, one.weight),
            }
            print(f"  {name}, {len(group)} items:", {key: round(value, 3) for key, value in figures.items()})
    print(f"  tuned, each left out: mix {left_out:.3f}; helps: {one.helps}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("what", choices=("ask", "fit"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=7, help="Ask every n-th item of food-world-cup.")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.what == "ask":
        asyncio.run(ask(given.data, given.every))
        return
    cases = make_cases(given.data)
    fitted = [one for points in range(3, 12) if (one := fit(cases, points)) is not None]
    found = [test(cases, one) for one in fitted]
    for one, left_out in found:
        report(cases, one, left_out)
    if given.write:
        rows = msgspec.json.encode([one for one, _ in found])
        SHARPNESS.write_bytes(msgspec.json.format(rows, indent=1) + b"\n")


if __name__ == "__main__":
    main()
