"""
Arrange the distributions of a question as a grid of personas and arms, with the weight of each.

    Book (cells)  →  Grid: shares (personas, arms, answers), weights (personas, arms), baseline (arms,
    answers)

The weight of a persona in a question is a product: its weight in the sample, raked to the targets of the
study, its probability to pass the earlier screeners, and its probability to be shown the question. A
question that is asked in several conditions has their mixture. If one question decides, probabilities are
sums of elicited shares. Other probabilities depend on the joint distribution of two answers. They are counted
in the reference draw, and the grid is `assumed`.

A failed cell is never counted: it leaves the mixture, and the other weights are scaled up.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mavera.focus_groups.allocation import share_sample
from mavera.focus_groups.assumed import find_net
from mavera.focus_groups.conditions import Condition, conditions_of, list_screening_answers
from mavera.focus_groups.elicited import Book, CellId, Elicited, Failures
from mavera.focus_groups.expressions import AllOf, AnyOf, Expression, Matches, list_matches
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.raking import rake_weights
from mavera.focus_groups.respondents import Draw
from mavera.focus_groups.study import MultipleChoice, Question, Study, question_of

# Draws the reference respondents. Takes the ids of the `questions` that are needed.
ReferenceDraw = Callable[..., Draw]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """
    The distributions of a question, or of one of its parts.

    A cell that was not answered is NaN in `shares` and 0 in `weights`. `weights` sum to the share of the
    audience that is shown the question. `by_wording` has an axis for wordings before the answers, and is
    None with one wording. `gaps` are the differences between orders of all persona cells.
    """

    shares: Floats
    weights: Floats
    baseline: Floats
    by_wording: Floats | None = None
    gaps: tuple[float, ...] = ()
    failed: int = 0
    assumed: bool = False

    @property
    def answered(self) -> bool:
        """Whether at least one persona cell was answered."""
        return bool(self.weights.sum() > 0)


class Grids:
    """
    Gives the grids of a study. `draw_reference` is called at most once, and only if a grid needs it.
    """

    def __init__(
        self, study: Study, panel: Panel, book: Book, failures: Failures, draw_reference: ReferenceDraw
    ) -> None:
        self.study = study
        self.panel = panel
        self.book = book
        self.failures = failures
        self._draw_reference = draw_reference
        self._reference: Draw | None = None
        self._grids: dict[tuple[str, str | None], Grid] = {}
        self._conditions: dict[str, tuple[Condition, ...]] = {}
        self._weights: dict[str, Floats] = {}
        self._chances: dict[str, tuple[Floats, bool]] = {}
        self.arms: tuple[str | None, ...] = tuple(arm.id for arm in study.cells) or (None,)

    @property
    def reference(self) -> Draw:
        """The reference draw of 20,000 rows a persona."""
        if self._reference is None:
            self._reference = self._draw_reference(questions=self._list_needed())
        return self._reference

    def _list_needed(self) -> set[str]:
        """Return the questions whose joint distribution a figure of the study may need."""
        questions = self.study.questions
        ids = {one.id for one in questions}
        if ids & set(self.study.banner):
            return ids
        needed = {one.id for one in questions if isinstance(one, MultipleChoice) and one.multiple}
        return needed | {
            one.id
            for one in questions
            if any(condition.expression is not None for condition in self.list_conditions(one))
        }

    def grid(self, question: Question, part: str | None = None) -> Grid:
        """Return the grid of a question, or of one of its parts."""
        key = question.id, part
        if key not in self._grids:
            self._grids[key] = self._build(question, part)
        return self._grids[key]

    def list_conditions(self, question: Question) -> tuple[Condition, ...]:
        """Return the conditions in which a question is asked."""
        if question.id not in self._conditions:
            self._conditions[question.id] = conditions_of(self.study, question)
        return self._conditions[question.id]

    def find_cell(
        self, question: Question, part: str | None, persona: str | None, arm: str | None, condition: Condition
    ) -> Elicited | None:
        """Return the distribution of a cell, or None if it failed or has not been asked yet."""
        return self.book.get(CellId(question.id, part, persona, arm, condition.key))

    def weigh_personas(self, question: Question) -> Floats:
        """
        Return the weight of each persona and arm in the base of a question, before its conditions.

        The shape is (personas, arms), and the sum 1.
        """
        if question.id not in self._weights:
            self._weights[question.id] = self._rake(share_sample(self.study, self.panel), question)
        return self._weights[question.id]

    def _rake(self, start: Floats, question: Question) -> Floats:
        weights = np.repeat(start[:, None] / len(self.arms), len(self.arms), axis=1)
        if not self.study.sample.quotas:
            passing = self._pass(question)
            if passing.sum() > 0:
                weights = weights * passing
        weights = np.asarray(weights / weights.sum())
        targets = self.study.sample.weights
        if targets:
            attributes = {name: [one.attributes.get(name, "") for one in self.panel] for name in targets}
            raked = rake_weights(attributes, targets, weights.sum(axis=1)).weights
            weights = np.asarray(weights * (raked / np.maximum(weights.sum(axis=1), 1e-300))[:, None])
        return np.asarray(weights)

    def _pass(self, question: Question) -> Floats:
        """Return the probability that a persona in an arm passes the screeners before a question."""
        passing = np.ones((len(self.panel), len(self.arms)))
        for earlier in self.study.questions:
            if earlier.id == question.id:
                break
            screened = list_screening_answers(earlier)
            if screened:
                shown, _ = self._find_condition_shares(earlier)
                passing = np.asarray(passing) * (
                    1 - shown[:, :-1].sum(axis=0) * self._screen(earlier, screened)[:-1]
                )
        return np.asarray(passing)

    def _screen(self, question: Question, screened: frozenset[int]) -> Floats:
        """Return the probability that an answer to a screener ends the interview, for panel and baseline."""
        found = self._mix_conditions(question, None)[:, :, sorted(screened)]
        if isinstance(question, MultipleChoice) and question.multiple:
            shares = find_net(np.nan_to_num(found), self.study.latent_correlation)
        else:
            shares = np.nan_to_num(found).sum(axis=2)
        return np.asarray(shares)

    def _build(self, question: Question, part: str | None) -> Grid:
        conditions = self.list_conditions(question)
        chances, assumed = self._find_condition_shares(question)
        shares = self._mix_conditions(question, part)
        base = self.weigh_personas(question)
        shown = self._sum_answered(question, part, conditions, chances)[:-1]
        cells = list(self._list_cells(question, part, conditions))
        persona_cells = [cell for cell in cells if cell.cell.persona is not None]
        return Grid(
            shares=shares[:-1],
            weights=base * shown,
            baseline=shares[-1],
            by_wording=self._mix_wordings(question, part),
            gaps=tuple(cell.order_gap for cell in persona_cells if cell.order_gap is not None),
            failed=sum(
                1 for failed in self.failures if failed.question == question.id and failed.part == part
            ),
            assumed=assumed,
        )

    def _list_cells(
        self, question: Question, part: str | None, conditions: tuple[Condition, ...]
    ) -> Iterator[Elicited]:
        for persona in (*(one.id for one in self.panel), None):
            for arm in self.arms:
                for condition in conditions:
                    cell = self.find_cell(question, part, persona, arm, condition)
                    if cell is not None:
                        yield cell

    def _mix_conditions(self, question: Question, part: str | None) -> Floats:
        """Return the distribution of each persona (the baseline last) and arm over all its conditions."""
        return self._mix(question, part, lambda cell: np.asarray(cell.shares, dtype=np.float64).ravel())

    def _mix_wordings(self, question: Question, part: str | None) -> Floats | None:
        conditions = self.list_conditions(question)
        if self.study.wordings < 2 or not any(
            cell.by_wording for cell in self._list_cells(question, part, conditions)
        ):
            return None
        mixed = self._mix(question, part, lambda cell: np.stack(cell.by_wording) if cell.by_wording else None)
        return mixed[:-1]

    def _mix(self, question: Question, part: str | None, read: Callable[[Elicited], Any]) -> Floats:
        conditions = self.list_conditions(question)
        chances, _ = self._find_condition_shares(question)
        personas = (*(one.id for one in self.panel), None)
        found = [
            [
                [self.find_cell(question, part, persona, arm, condition) for condition in conditions]
                for arm in self.arms
            ]
            for persona in personas
        ]
        values = [
            [[None if c is None else read(c) for c in by_arm] for by_arm in by_persona]
            for by_persona in found
        ]
        known = [v for by_persona in values for by_arm in by_persona for v in by_arm if v is not None]
        shape = known[0].shape if known else (0,)
        mixed = np.full((len(personas), len(self.arms), *shape), np.nan)
        for i, by_persona in enumerate(values):
            for a, by_arm in enumerate(by_persona):
                rows = [(chances[c, i, a], v) for c, v in enumerate(by_arm) if v is not None]
                total = sum(chance for chance, _ in rows)
                if rows:
                    # A persona without a fitting condition still has distributions, but its weight is 0.
                    parts = [(w / total if total > 0 else 1 / len(rows)) * v for w, v in rows]
                    mixed[i, a] = sum(parts)
        return mixed

    def _sum_answered(
        self, question: Question, part: str | None, conditions: tuple[Condition, ...], chances: Floats
    ) -> Floats:
        shown = np.zeros(chances.shape[1:])
        for i, persona in enumerate((*(one.id for one in self.panel), None)):
            for a, arm in enumerate(self.arms):
                for c, condition in enumerate(conditions):
                    if self.find_cell(question, part, persona, arm, condition) is not None:
                        shown[i, a] += chances[c, i, a]
        return shown

    def _find_condition_shares(self, question: Question) -> tuple[Floats, bool]:
        """
        Return the probability of each condition of a question, and whether it is assumed.

        The shape is (conditions, personas and the baseline, arms). The baseline counts as a persona whose
        answers are those elicited without one.
        """
        if question.id not in self._chances:
            self._chances[question.id] = self._count_condition_shares(question)
        return self._chances[question.id]

    def _count_condition_shares(self, question: Question) -> tuple[Floats, bool]:
        conditions = self.list_conditions(question)
        chances = np.ones((len(conditions), len(self.panel) + 1, len(self.arms)))
        assumed = False
        for c, condition in enumerate(conditions):
            if condition.expression is None:
                continue
            exact = self._find_chance(condition.expression)
            if exact is None:
                assumed = True
                exact = self._count_condition(question, c)
            chances[c] = exact
        return chances, assumed

    def _find_chance(self, expression: Expression) -> Floats | None:
        """Return the probability that an expression is true, or None if it needs a joint distribution."""
        match expression:
            case Matches():
                return self._find_match(expression)
            case AllOf(parts):
                return self._find_chain(list(parts))
            case AnyOf():
                return None

    def _find_match(self, matches: Matches) -> Floats | None:
        question = question_of(self.study, matches.question)
        chances, assumed = self._find_condition_shares(question)
        if assumed:
            return None
        shown = chances.sum(axis=0)
        shares = np.nan_to_num(self._mix_conditions(question, matches.row))
        if isinstance(question, MultipleChoice) and question.multiple:
            if len(matches.answers) != 1:
                return None
            ticked = shares[:, :, next(iter(matches.answers))]
            return np.asarray(shown * (1 - ticked if matches.is_negated else ticked))
        screened = list_screening_answers(question)
        kept = matches.answers - screened
        passing = 1 - shares[:, :, sorted(screened)].sum(axis=2) if screened else np.ones_like(shown)
        matching = shares[:, :, sorted(kept)].sum(axis=2)
        return np.asarray(
            shown * np.divide(matching, passing, out=np.zeros_like(matching), where=passing > 0)
        )

    def _find_chain(self, parts: list[Expression]) -> Floats | None:
        """Return the exact probability of parts whose last part is asked only if the others are true."""
        if not all(isinstance(part, Matches) for part in parts):
            return None
        names = [question.id for question in self.study.questions]
        matches = sorted(
            (part for part in parts if isinstance(part, Matches)), key=lambda part: names.index(part.question)
        )
        last, others = matches[-1], matches[:-1]
        asked = self.list_conditions(question_of(self.study, last.question))
        if len(asked) != 1 or asked[0].expression is None:
            return None
        stated = set(list_matches(asked[0].expression))
        if {part for part in matches if part.question in {one.question for one in stated}} != set(others):
            return None
        return self._find_match(last) if stated == set(others) else None

    def _count_condition(self, question: Question, condition: int) -> Floats:
        """Count a condition in the reference draw. The baseline gets the panel's mean."""
        rows = self.reference.completes
        place = rows.panelist * len(self.arms) + rows.arm
        cells = len(self.panel) * len(self.arms)
        matching = rows.condition[question.id] == condition
        counts = np.bincount(place, weights=matching, minlength=cells) / np.maximum(
            np.bincount(place, minlength=cells), 1
        )
        by_persona = counts.reshape(len(self.panel), len(self.arms))
        return np.vstack([by_persona, by_persona.mean(axis=0)])
