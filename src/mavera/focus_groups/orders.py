"""
Choose the order of questions, options and rows.

    shuffle_for_cell     the first order of a list in a cell; the second order is its reverse
    list_shown           the questions of the questionnaire, in the order of their numbers in the files
    find_places          the place of each question and of each of its options or rows, for the codebook

A cell's order depends on the question, the persona and the wording. It does not depend on the seed, so a copy
with another seed asks for the same cells. It is the same in all arms and conditions, so a difference between
arms is not a difference between orders. The order of the questionnaire depends on the seed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from mavera.focus_groups.asks import Order, list_fixed
from mavera.focus_groups.conditions import list_references
from mavera.focus_groups.designs import shuffle_order
from mavera.focus_groups.study import Matrix, MultipleChoice, Question, Ranking, Study


@dataclass(frozen=True, slots=True)
class Place:
    """
    The place of a question in the questionnaire, from 1. `entries` are the places of its options or rows.

    `varies` means that each cell has its own order of the options. Then `entries` is empty.
    """

    number: int
    entries: tuple[int, ...] = ()
    varies: bool = False

    def describe(self, entry: int | None = None) -> str:
        """Return the place as the codebook writes it: "3", "3.2", or "3.*" if it differs between cells."""
        if self.varies and entry is not None:
            return f"{self.number}.*"
        if entry is not None and entry < len(self.entries):
            return f"{self.number}.{self.entries[entry]}"
        return str(self.number)


def shuffle_for_cell(question: Question, persona: str | None, wording: int) -> Order:
    """Return the first order of a cell's list, or () if it is the order of the file."""
    if not _is_read_in_random_order(question):
        return ()
    return shuffle_order(list_fixed(question), _generator(question.id, persona, wording))


def list_shown(study: Study) -> tuple[Question, ...]:
    """
    Return the questions in the order of the questionnaire.

    A question comes after the questions that decide whether or how it is asked, and stays on its side of each
    screener. If interleaved blocks make this impossible, the order of the file is used.
    """
    random = {block.id for block in study.blocks if block.order == "random"}
    if study.block_order == "fixed" and not random:
        return study.questions
    generator = _generator(study.sample.seed, "questions")
    units = _group_blocks(study.questions)
    if study.block_order == "random":
        order = shuffle_order([unit[0].block is None for unit in units], generator)
        units = [units[number] for number in order]
    for number, unit in enumerate(units):
        if unit[0].block in random:
            units[number] = [unit[at] for at in shuffle_order([False] * len(unit), generator)]
    return _respect_needs(study, units)


def find_places(study: Study) -> dict[str, Place]:
    """Return the place of each question by its id."""
    return {
        question.id: _place(study, question, number) for number, question in enumerate(list_shown(study), 1)
    }


def _place(study: Study, question: Question, number: int) -> Place:
    if _is_read_in_random_order(question):
        return Place(number, varies=True)
    fixed = list_fixed(question)
    order: Sequence[int] = range(len(fixed))
    if isinstance(question, MultipleChoice | Matrix) and question.order == "random":
        order = shuffle_order(fixed, _generator(study.sample.seed, question.id))
    return Place(number, tuple(order.index(entry) + 1 for entry in range(len(fixed))))


def _is_read_in_random_order(question: Question) -> bool:
    """Return whether the model sees a shuffled list. It sees rows, and options of several answers, alone."""
    match question:
        case MultipleChoice(multiple=False, order="random") | Ranking(order="random"):
            return True
        case _:
            return False


def _group_blocks(questions: Sequence[Question]) -> list[list[Question]]:
    units: dict[str, list[Question]] = {}
    for question in questions:
        name = f"block {question.block}" if question.block is not None else f"question {question.id}"
        units.setdefault(name, []).append(question)
    return list(units.values())


def _respect_needs(study: Study, units: Sequence[Sequence[Question]]) -> tuple[Question, ...]:
    """Return the questions of `units`, each at the first place after all questions that it needs."""
    needs = _list_needs(study)
    shown: list[Question] = []
    left = list(units)
    while left:
        before = {question.id for question in shown}
        ready = next(
            (
                unit
                for unit in left
                if set().union(*(needs[one.id] for one in unit)) <= before | {one.id for one in unit}
            ),
            None,
        )
        if ready is None:
            return study.questions
        left.remove(ready)
        inside = list(ready)
        while inside:
            first = next(one for one in inside if needs[one.id] <= {each.id for each in shown})
            inside.remove(first)
            shown.append(first)
    return tuple(shown)


def _list_needs(study: Study) -> dict[str, set[str]]:
    """Return for each question the ids of the questions that have to come before it."""
    needs: dict[str, set[str]] = {}
    screeners: set[str] = set()
    for question in study.questions:
        needs[question.id] = screeners | set(list_references(study, question))
        if question.screen_out:
            needs[question.id] |= set(needs) - {question.id}
            screeners.add(question.id)
    return needs


def _generator(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256(msgspec.json.encode(parts)).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
