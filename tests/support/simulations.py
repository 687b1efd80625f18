"""
Simulations without a model: random distributions for every cell of a study, and respondents drawn from them.

The respondents are drawn cell by cell, in the plainest way. Tests of tables and files need rows, not their
exact counts.
"""

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np

from mavera.focus_groups.assumed import build_reference_study
from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.expressions import TRUE, evaluate
from mavera.focus_groups.panel import Panel, Panelist
from mavera.focus_groups.respondents import Answers, Draw, Respondents, Status
from mavera.focus_groups.simulation import Method, Simulation
from mavera.focus_groups.study import (
    NPS,
    Arm,
    Attribute,
    Conjoint,
    Likert,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Option,
    PersonaChoice,
    Question,
    Ranking,
    Rating,
    Row,
    Sample,
    SemanticDifferential,
    Slider,
    Study,
    YesNo,
    scale_of,
)

Book = dict[CellId, Elicited]

PRICES = ("$2.99", "$3.99", "$4.99")


def every_type_of_question() -> tuple[Question, ...]:
    """Return a question of each of the twelve types, with texts that files have to quote."""
    return (
        YesNo(id="s1", text="Do you drink oat milk?"),
        NPS(id="q1", text="How likely are you to recommend it?", missing=("Don't know",)),
        Likert(
            id="q2",
            text='It is "worth" its price, isn\'t it; or <not>?',
            labels=("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree"),
        ),
        MultipleChoice(
            id="q3",
            text="Why would you buy it?",
            multiple=True,
            options=(
                Option(text="Taste"),
                Option(text="=Price, +value"),
                Option(text="Texture"),
                Option(text="Something else", specify=True, fixed=True),
                Option(text="None of these", exclusive=True, fixed=True),
            ),
            nets={"Product": ("Taste", "Texture")},
        ),
        Matrix(
            id="q4",
            text="How well does it fit?",
            rows=(Row(id="r1", text="Natural"), Row(id="r2", text="Modern – née 'neo'")),
            points=7,
            missing=("Don't know",),
        ),
        Ranking(
            id="q5", text="Rank these.", items=tuple(Option(text=t) for t in ("Oat", "Soy", "Almond", "Rice"))
        ),
        MaxDiff(
            id="q6",
            text="Most and least important?",
            items=("Price", "Taste", "Protein", "Vitamins", "Packaging", "Brand"),
            per_set=3,
        ),
        Conjoint(
            id="q7",
            text="Which one would you buy?",
            attributes=(
                Attribute(name="brand", levels=("Oatly", "Alpro", "Store")),
                Attribute(name="price", levels=PRICES, prices=(2.99, 3.99, 4.99)),
            ),
            tasks=8,
            none=True,
            price="price",
        ),
        OpenEnded(id="q8", text="Why?", verbatims=3),
        Rating(id="q9", text="Rate it.", points=5),
        Slider(id="q10", text="How warm do you feel?", labels=("Cold", "Warm")),
        SemanticDifferential(id="q11", text="It is …", poles=("Old", "New"), points=7),
        MultipleChoice(
            id="q12",
            text="Where would you buy it?",
            options=(Option(text="Shop"), Option(text="Online"), Option(text="@cafe")),
            missing=("Prefer not to say",),
            nets={"Offline": ("Shop", "@cafe")},
        ),
    )


def build_study(personas: int = 6, size: int = 60, **changes: Any) -> Study:
    """Return a study of every type of question, with two cells, weights and three banners."""
    members: dict[str, Any] = {
        "name": "Oat drink concept test",
        "personas": tuple(PersonaChoice(id=f"persona{at}") for at in range(personas)),
        "sample": Sample(size=size, seed=7, weights={"age": {"18-34": 40.0, "35+": 60.0}}),
        "cells": (Arm(id="a", vars={"price": "$3.49"}), Arm(id="b", vars={"price": "$4.49"})),
        "questions": every_type_of_question(),
        "banner": ("persona", "cell", "age", "s1"),
    }
    return Study(**(members | changes))


def build_panel(study: Study) -> Panel:
    """Return a panel whose personas alternate between two age groups."""
    count = len(study.personas)
    return tuple(
        Panelist(
            choice.id,
            f"=Person {at + 1}",
            1,
            1 / count,
            {"age": "18-34" if at % 2 else "35+", "region": "north" if at < count / 2 else "south"},
            f"digest{at}",
        )
        for at, choice in enumerate(study.personas)
    )


def list_parts(study: Study, question: Question) -> list[str | None]:
    """Return the parts of a question that have cells of their own."""
    match question:
        case Matrix():
            return [row.id for row in question.rows]
        case MaxDiff():
            return [str(at + 1) for at in range(len(list_sets(study, question)))]
        case Conjoint():
            return [str(at + 1) for at in range(len(list_tasks(study, question)))]
        case _:
            return [None]


def elicit_randomly(study: Study, panel: Panel, seed: int = 1) -> Book:
    """Return a random distribution for every cell."""
    random = np.random.default_rng(seed)
    book: Book = {}
    for question in study.questions:
        for part in list_parts(study, question):
            for persona in (*(one.id for one in panel), None):
                for arm in tuple(one.id for one in study.cells) or (None,):
                    for condition in conditions_of(study, question):
                        cell = CellId(question.id, part, persona, arm, condition.key)
                        book[cell] = _elicit(question, cell, random)
    return book


def _elicit(question: Question, cell: CellId, random: np.random.Generator) -> Elicited:
    gap = float(random.uniform(0.05, 0.4))
    match question:
        case OpenEnded():
            texts = tuple(f"={cell.persona} says {word}, {cell.arm}" for word in ("yes", "no", "maybe"))
            return Elicited(cell, np.empty(0), None, (), texts)
        case MultipleChoice(multiple=True):
            shares = random.uniform(0.05, 0.6, len(question.options))
        case MaxDiff():
            shares = random.dirichlet(np.full(question.per_set, 3.0), 2)
        case Conjoint():
            shares = random.dirichlet(np.full(question.alternatives + question.none, 3.0))
        case Ranking():
            shares = random.dirichlet(np.full(len(question.items), 3.0))
        case _:
            shares = random.dirichlet(np.full(len(scale_of(question).answers), 2.0))
    return Elicited(cell, shares, gap)


def draw_plainly(study: Study, panel: Panel, book: Book, seed: int = 0) -> Draw:
    """Return respondents that are drawn independently of each other."""
    random = np.random.default_rng(seed)
    size = study.sample.size
    arms = tuple(one.id for one in study.cells) or (None,)
    panelist = np.arange(size) % len(panel)
    arm = (np.arange(size) // len(panel)) % len(arms)
    answers: dict[str, Answers] = {}
    conditions: dict[str, Any] = {}
    for question in study.questions:
        place = np.full(size, -1)
        for at, one in enumerate(conditions_of(study, question)):
            if one.expression is None:
                place[:] = at
            else:
                place[evaluate(one.expression, answers, study) == TRUE] = at
        conditions[question.id] = place
        answers[question.id] = _draw_question(study, panel, book, question, (panelist, arm, place), random)
    completes = Respondents(panelist, arm, answers, conditions)
    nobody = Respondents(panelist[:0], arm[:0], {k: _cut(v) for k, v in answers.items()}, {})
    return Draw(completes, nobody, ())


def _cut(answers: Answers) -> Answers:
    return Answers(answers.status[:0], answers.choices[:0], answers.probability[:0], texts=answers.texts)


def _draw_question(
    study: Study, panel: Panel, book: Book, question: Question, places: Any, random: np.random.Generator
) -> Answers:
    panelist, arm, place = places
    size = len(panelist)
    arms = tuple(one.id for one in study.cells) or (None,)
    conditions = conditions_of(study, question)
    parts = list_parts(study, question)
    status = np.where(place < 0, Status.SKIPPED, Status.ANSWERED).astype(np.uint8)
    probability = np.full((size, len(parts)) if isinstance(question, Matrix) else size, np.nan)
    rows: list[Any] = []
    texts: list[str] = []
    for at in range(size):
        if place[at] < 0:
            rows.append(None)
            continue
        cells = [
            book.get(
                CellId(question.id, part, panel[panelist[at]].id, arms[arm[at]], conditions[place[at]].key)
            )
            for part in parts
        ]
        if any(cell is None for cell in cells):
            status[at] = Status.FAILED
            rows.append(None)
            continue
        shares = [np.asarray(cell.shares) for cell in cells if cell is not None]
        match question:
            case OpenEnded():
                found = cells[0].texts if cells[0] is not None else ()
                texts.append(found[at % len(found)])
                rows.append(len(texts) - 1)
            case MultipleChoice(multiple=True):
                rows.append(random.random(len(shares[0])) < shares[0])
                probability[at] = 0.5
            case Ranking():
                rows.append(np.argsort(-(np.log(shares[0]) + random.gumbel(size=len(shares[0])))))
                probability[at] = 0.5
            case MaxDiff():
                pairs = []
                for one in shares:
                    best = int(random.choice(question.per_set, p=one[0]))
                    rest = np.where(np.arange(question.per_set) == best, 0.0, one[1])
                    pairs.append((best, int(random.choice(question.per_set, p=rest / rest.sum()))))
                rows.append(np.array(pairs))
                probability[at] = 0.5
            case Conjoint() | Matrix():
                rows.append(np.array([random.choice(len(one), p=one) for one in shares]))
                probability[at] = 0.5
            case _:
                choice = int(random.choice(len(shares[0]), p=shares[0]))
                rows.append(choice)
                probability[at] = shares[0][choice]
                if choice >= len(scale_of(question).labels):
                    status[at] = Status.MISSING
    known = next((row for row in rows if row is not None), -1)
    empty = np.full_like(np.asarray(known), False if np.asarray(known).dtype == bool else -1)
    choices = np.array([empty if row is None else row for row in rows])
    numbers = np.where(choices >= 0, choices * 10.0, np.nan) if isinstance(question, Slider) else None
    return Answers(status, choices, probability, numbers, tuple(texts))


def simulate_plainly(study: Study | None = None, book: Book | None = None, **members: Any) -> Simulation:
    """Return a finished simulation of `study`, or of one with every type of question."""
    study = study or build_study()
    panel = build_panel(study)
    answers = elicit_randomly(study, panel) if book is None else book

    def draw_reference(questions: Collection[str]) -> Draw:
        reference, equal = build_reference_study(study, panel)
        return draw_plainly(_shrink(reference), equal, answers, 1)

    given: dict[str, Any] = {
        "id": "fg_test",
        "status": "COMPLETED",
        "created_at": 1_700_000_000,
        "study": study,
        "panel": panel,
        "book": answers,
        "failures": {},
        "draw": draw_plainly(study, panel, answers),
        "method": Method("mavera-1", "letters@1", "this person", 2, "sha256:0123"),
        "draw_reference": draw_reference,
        "credits_used": 406,
        "model_reads": 440,
    }
    return Simulation(**(given | members))


def _shrink(study: Study) -> Study:
    """Return the reference study with fewer rows, because the plain draw is slow."""
    return msgspec.structs.replace(study, sample=msgspec.structs.replace(study.sample, size=600))
