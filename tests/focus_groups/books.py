"""Distributions for every cell of a study, so that draws have something to agree with."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Study,
    scale_of,
)

Book = dict[CellId, Elicited]
Make = Callable[[Question, np.random.Generator], Any]


def list_cells(study: Study, question: Question, panel: Panel) -> Iterator[CellId]:
    arms: list[str | None] = [arm.id for arm in study.cells] or [None]
    for persona in panel:
        for arm in arms:
            for condition in conditions_of(study, question):
                for part in list_parts(study, question):
                    yield CellId(question.id, part, persona.id, arm, condition.key)


def list_parts(study: Study, question: Question) -> list[str | None]:
    match question:
        case Matrix():
            return [row.id for row in question.rows]
        case MaxDiff():
            return [str(n + 1) for n in range(len(list_sets(study, question)))]
        case Conjoint():
            return [str(n + 1) for n in range(len(list_tasks(study, question)))]
        case _:
            return [None]


def make_shares(question: Question, generator: np.random.Generator) -> Any:
    """Return a random distribution in the shape of a question's type."""
    match question:
        case MultipleChoice(multiple=True):
            return generator.beta(1.5, 1.5, size=len(question.options))
        case Ranking():
            return generator.dirichlet(np.ones(len(question.items)))
        case MaxDiff():
            return generator.dirichlet(np.ones(question.per_set), size=2)
        case Conjoint():
            return generator.dirichlet(np.ones(question.alternatives + question.none))
        case OpenEnded():
            return np.empty(0)
        case _:
            return generator.dirichlet(np.ones(len(scale_of(question).answers)))


def make_book(study: Study, panel: Panel, seed: int = 0, make: Make = make_shares) -> Book:
    generator = np.random.default_rng(seed)
    book: Book = {}
    for question in study.questions:
        for cell in list_cells(study, question, panel):
            texts: tuple[str, ...] = ()
            if isinstance(question, OpenEnded):
                texts = tuple(f"{cell.persona} {cell.condition} {n}" for n in range(question.verbatims))
            book[cell] = Elicited(cell, make(question, generator), texts=texts)
    return book
