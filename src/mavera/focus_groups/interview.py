"""
Ask drawn people the questions of a study, one question after the other.

    Interview(study, panel, book, counts)  →  ask(questions)  →  respondents()

`passes` draws people who pass all screeners. Without it, a screening answer ends the interview.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mavera.focus_groups.choice_draws import draw_rankings, jitter_points, join_margins, settle_worst
from mavera.focus_groups.conditions import Condition, conditions_of, list_screening_answers
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.elicited import Book, CellId, Elicited
from mavera.focus_groups.expressions import TRUE, evaluate, list_matches
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.respondents import Answers, Respondents, Status
from mavera.focus_groups.rounding import Counts, Sum, Table, bracket, round_table
from mavera.focus_groups.scores import Scores
from mavera.focus_groups.study import (
    Conjoint,
    Direction,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Slider,
    Study,
    direction_of,
    scale_of,
)
from mavera.focus_groups.ticks import EXCLUSIVE_LOWERED, MAX_APPLIED, place_ticks, settle_ticks

Floats = NDArray[np.float64]

_NOTICES = {
    EXCLUSIVE_LOWERED: "The exclusive options of '{}' were lowered to leave room for the others.",
    MAX_APPLIED: "The options of '{}' were lowered, because together they exceed its maximum.",
    "worst_lowered": "In '{}' a worst share was lowered, because its item was best and worst too often.",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Respondents with the same persona, arm and condition. `weight` is their expected number, if known."""

    rows: NDArray[np.int64]
    persona: str
    arm: int
    condition: Condition
    weight: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _List:
    """
    A list of answers to hand out. `shares` has a row for each group, with `missing` answers last.

    `nets` are sets of answers whose counts have to be exact.
    """

    name: str
    groups: Sequence[_Group]
    shares: Floats
    direction: Direction
    missing: int = 0
    nets: Sequence[frozenset[int]] = ()


class Interview:
    """
    People of a study. `counts` (personas, arms) has their number, and `expected` the expected number.

    `screened_at` is the number of the question that screened a person out, or −1.
    """

    def __init__(
        self,
        study: Study,
        panel: Panel,
        book: Book,
        counts: Counts,
        seed: int,
        *,
        expected: Floats | None = None,
        passes: bool = False,
    ) -> None:
        self._study = study
        self._panel = panel
        self._book = book
        self._expected = expected
        self._passes = passes
        self._arms: list[str | None] = [arm.id for arm in study.cells] or [None]
        numbers = np.arange(counts.size)
        flat = np.repeat(numbers, counts.ravel())
        self.panelist: NDArray[np.int64] = flat // len(self._arms)
        self.arm: NDArray[np.int64] = flat % len(self._arms)
        self.screened_at: NDArray[np.int64] = np.full(len(flat), -1)
        self._scores = Scores(self.panelist, self.arm, study.latent_correlation, seed)
        self._conditions = {question.id: conditions_of(study, question) for question in study.questions}
        self._answers: dict[str, Answers] = {}
        self._condition: dict[str, NDArray[np.int64]] = {}
        self._flags: dict[tuple[str, str], None] = {}

    def ask(self, questions: Sequence[Question]) -> None:
        """Ask the next questions of the study."""
        for question in questions:
            self._ask_question(question)

    def stop(self) -> None:
        """End the interviews of everybody."""
        self.screened_at[self.screened_at < 0] = len(self._answers)

    def list_notices(self) -> tuple[str, ...]:
        """Return sentences about shares that were changed."""
        return tuple(_NOTICES[flag].format(question) for flag, question in self._flags)

    def respondents(self, kept: NDArray[np.bool_] | None = None) -> Respondents:
        """Return the rows of all people, or of those that are `kept`."""
        rows = np.arange(len(self.panelist)) if kept is None else np.flatnonzero(kept)
        answers = {
            name: Answers(
                one.status[rows],
                one.choices[rows],
                one.probability[rows],
                None if one.numbers is None else one.numbers[rows],
                one.texts,
            )
            for name, one in self._answers.items()
        }
        condition = {name: one[rows] for name, one in self._condition.items()}
        return Respondents(self.panelist[rows], self.arm[rows], answers, condition)

    # One question

    def _ask_question(self, question: Question) -> None:
        placed = self._place(question)
        self._condition[question.id] = placed
        groups = list(self._group(question, placed))
        match question:
            case MultipleChoice(multiple=True):
                answers = self._draw_ticks(question, groups)
            case Matrix():
                answers = self._draw_matrix(question, groups)
            case Ranking():
                answers = self._draw_ranking(question, groups)
            case MaxDiff():
                answers = self._draw_maxdiff(question, groups)
            case Conjoint():
                answers = self._draw_conjoint(question, groups)
            case OpenEnded():
                answers = self._draw_texts(question, groups)
            case _:
                answers = self._draw_one(question, groups)
        status = answers.status
        status[self.screened_at >= 0] = Status.SCREENED
        self._answers[question.id] = answers
        if question.screen_out and not self._passes:
            self.screened_at[self._find_screened(question, answers)] = len(self._answers) - 1

    def _place(self, question: Question) -> NDArray[np.int64]:
        """Return the number of each person's condition, or −1 if the question is not asked."""
        placed = np.full(len(self.panelist), -1)
        for n, condition in enumerate(self._conditions[question.id]):
            if condition.expression is None:
                placed[:] = n
            else:
                placed[evaluate(condition.expression, self._answers, self._study) == TRUE] = n
        placed[self.screened_at >= 0] = -1
        return placed

    def _group(self, question: Question, placed: NDArray[np.int64]) -> Iterator[_Group]:
        conditions = self._conditions[question.id]
        arms, width = len(self._arms), len(conditions)
        asked = np.flatnonzero(placed >= 0)
        if not len(asked):
            return
        keys = (self.panelist[asked] * arms + self.arm[asked]) * width + placed[asked]
        order = np.argsort(keys, kind="stable")
        found, starts = np.unique(keys[order], return_index=True)
        for key, rows in zip(found.tolist(), np.split(asked[order], starts[1:]), strict=True):
            cell, n = divmod(key, width)
            persona, arm = divmod(cell, arms)
            is_for_all = conditions[n].expression is None and self._expected is not None
            weight = (
                float(self._expected[persona, arm]) if is_for_all and self._expected is not None else None
            )
            yield _Group(rows, self._panel[persona].id, arm, conditions[n], weight)

    def _find(self, question: Question, part: str | None, group: _Group) -> Elicited | None:
        arm = self._arms[group.arm]
        return self._book.get(CellId(question.id, part, group.persona, arm, group.condition.key))

    def _find_screened(self, question: Question, answers: Answers) -> NDArray[np.bool_]:
        screening = sorted(list_screening_answers(question))
        if answers.choices.ndim == 2:
            return np.asarray(answers.choices[:, screening].any(axis=1))
        return np.isin(answers.choices, screening)

    # Lists of answers

    def _split(
        self, question: Question, part: str | None, groups: Sequence[_Group]
    ) -> tuple[list[_Group], list[Elicited], NDArray[np.int64]]:
        """Return the groups with a distribution, their distributions, and the rows of the other groups."""
        found = [(group, self._find(question, part, group)) for group in groups]
        failed = [group.rows for group, cell in found if cell is None]
        answered = [(group, cell) for group, cell in found if cell is not None]
        rows = np.concatenate(failed) if failed else np.zeros(0, dtype=np.int64)
        return [group for group, _ in answered], [cell for _, cell in answered], rows

    def _hand_out(self, one: _List) -> tuple[NDArray[np.int64], Floats]:
        """Return the answer of each person on a list, or −1, and its probability."""
        size = len(self.panelist)
        choices = np.full(size, -1)
        probability = np.full(size, np.nan)
        noise = self._scores.noise(f"noise:{one.name}")
        scores = noise
        if one.direction != "none":
            scores = self._scores.score(f"score:{one.name}", self._scores.factor)
            scores = -scores if one.direction == "reversed" else scores
        if not one.groups:
            return choices, probability
        counts = self._round(one)
        width = one.shares.shape[1]
        for group, row, shares in zip(one.groups, counts, one.shares, strict=True):
            # Missing answers have no place on the scale, so they are assigned at random.
            by_chance = group.rows[np.argsort(noise[group.rows], kind="stable")]
            missing = int(row[width - one.missing :].sum())
            choices[by_chance[:missing]] = np.repeat(
                np.arange(width - one.missing, width), row[width - one.missing :]
            )
            rest = by_chance[missing:]
            rest = rest[np.argsort(scores[rest], kind="stable")]
            choices[rest] = np.repeat(np.arange(width - one.missing), row[: width - one.missing])
            probability[group.rows] = shares[choices[group.rows]]
        return choices, probability

    def _round(self, one: _List) -> Counts:
        sizes = np.array([len(group.rows) for group in one.groups], dtype=np.float64)
        expected = one.shares * sizes[:, None]
        table = Table(expected)
        numbers = np.arange(expected.size).reshape(expected.shape)
        table.layers.append([Sum(row.tolist(), n, n) for row, n in zip(numbers, sizes.tolist(), strict=True)])
        table.add_layer([column.tolist() for column in numbers.T])
        nets = [sorted(net) for net in one.nets if len(net) > 1]
        table.add_layer([numbers[g, net].tolist() for g in range(len(sizes)) for net in nets])
        table.add_layer([numbers[:, net].ravel().tolist() for net in nets])
        weights = [group.weight for group in one.groups]
        if None not in weights:
            ideal = np.array(weights, dtype=np.float64) @ one.shares
            table.layers.append(
                [Sum(column.tolist(), *bracket(float(ideal[n]))) for n, column in enumerate(numbers.T)]
            )
        arms = np.array([group.arm for group in one.groups])
        table.add_layer(
            [numbers[arms == arm, n].tolist() for arm in np.unique(arms) for n in range(expected.shape[1])]
        )
        return round_table(table, self._scores.generator(f"round:{one.name}"))

    def _list_nets(self, question: Question, row: str | None) -> list[frozenset[int]]:
        """Return the sets of answers that later conditions use."""
        found = {
            matches.answers: None
            for conditions in self._conditions.values()
            for condition in conditions
            for matches in list_matches(condition.expression)
            if (matches.question, matches.row) == (question.id, row)
        }
        return list(found)

    def _shares(self, question: Question, cells: Sequence[Elicited]) -> Floats:
        """Return shares by cell: shares of people who pass, if the question screens and everybody passes."""
        shares = np.array([cell.shares for cell in cells], dtype=np.float64)
        if not len(cells):
            return shares
        shares = np.clip(shares, 0, None)
        if question.screen_out and self._passes:
            goes_on = np.ones(shares.shape[1])
            goes_on[sorted(list_screening_answers(question))] = 0
            kept = shares * goes_on
            shares = np.where(kept.sum(axis=1, keepdims=True) > 0, kept, goes_on)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def _draw_one(self, question: Question, groups: Sequence[_Group]) -> Answers:
        scale = scale_of(question)
        answered, cells, failed = self._split(question, None, groups)
        choices, probability = self._hand_out(
            _List(
                question.id,
                answered,
                self._shares(question, cells),
                direction_of(question),
                len(scale.missing),
                self._list_nets(question, None),
            )
        )
        status = self._start_status(failed)
        status[choices >= 0] = Status.ANSWERED
        status[choices >= len(scale.labels)] = Status.MISSING
        numbers = None
        if isinstance(question, Slider):
            points = np.where(choices < len(scale.labels), choices, -1)
            numbers = jitter_points(points, self._scores.generator(f"jitter:{question.id}"))
        return Answers(status, choices, probability, numbers)

    def _start_status(self, failed: NDArray[np.int64]) -> NDArray[np.uint8]:
        status = np.full(len(self.panelist), Status.SKIPPED, dtype=np.uint8)
        status[failed] = Status.FAILED
        return status

    def _draw_matrix(self, question: Matrix, groups: Sequence[_Group]) -> Answers:
        labels = len(scale_of(question).labels)
        columns, chances = [], []
        failed = np.zeros(len(self.panelist), dtype=bool)
        for row in question.rows:
            answered, cells, lost = self._split(question, row.id, groups)
            choices, probability = self._hand_out(
                _List(
                    f"{question.id}.{row.id}",
                    answered,
                    self._shares(question, cells),
                    direction_of(question, row),
                    len(question.missing),
                    self._list_nets(question, row.id),
                )
            )
            columns.append(choices)
            chances.append(probability)
            failed[lost] = True
        choices = np.stack(columns, axis=1)
        has_answer = ((choices >= 0) & (choices < labels)).any(axis=1)
        has_missing = (choices >= labels).any(axis=1)
        status = self._start_status(np.flatnonzero(failed))
        status[has_missing] = Status.MISSING
        status[has_answer] = Status.ANSWERED
        return Answers(status, choices, np.stack(chances, axis=1))

    # Several answers

    def _draw_ticks(self, question: MultipleChoice, groups: Sequence[_Group]) -> Answers:
        answered, cells, failed = self._split(question, None, groups)
        is_exclusive = np.array([option.exclusive for option in question.options])
        most = question.max if question.max is not None else int((~is_exclusive).sum())
        size, width = len(self.panelist), len(question.options)
        ticks = np.zeros((size, width), dtype=bool)
        probability = np.full((size, width), np.nan)
        names = [f"tick:{question.id}:{n}" for n in range(width)]
        scores = np.stack([self._scores.score(name, self._scores.ticks) for name in names], axis=1)
        if answered:
            shares = self._settle(question, cells)
            counts = self._round_ticks(question.id, answered, shares, is_exclusive, most)
            for group, row, chances in zip(answered, counts, shares, strict=True):
                ticks[group.rows] = place_ticks(row, scores[group.rows], is_exclusive, most)
                probability[group.rows] = chances
        status = self._start_status(failed)
        for group in answered:
            status[group.rows] = Status.ANSWERED
        return Answers(status, ticks, probability)

    def _settle(self, question: MultipleChoice, cells: Sequence[Elicited]) -> Floats:
        screening = sorted(list_screening_answers(question)) if self._passes else []
        found = []
        for cell in cells:
            shares = np.array(cell.shares, dtype=np.float64)
            shares[screening] = 0
            settled = settle_ticks(question, shares)
            found.append(settled.shares)
            self._flags.update(dict.fromkeys((flag, question.id) for flag in settled.flags))
        return np.array(found)

    def _round_ticks(
        self,
        name: str,
        groups: Sequence[_Group],
        shares: Floats,
        is_exclusive: NDArray[np.bool_],
        most: int,
    ) -> Counts:
        sizes = np.array([len(group.rows) for group in groups], dtype=np.float64)
        table = Table(shares * sizes[:, None])
        numbers = np.arange(shares.size).reshape(shares.shape)
        alone = np.flatnonzero(is_exclusive).tolist()
        together = np.flatnonzero(~is_exclusive).tolist()
        rules = []
        for row, size in zip(numbers, sizes.tolist(), strict=True):
            factors = [1.0] * len(together) + [float(most)] * len(alone)
            rules.append(Sum(row[together + alone].tolist(), 0, most * size, factors))
            rules += [Sum(row[[option, *alone]].tolist(), 0, size) for option in together]
        table.layers.append(rules)
        table.add_layer([column.tolist() for column in numbers.T])
        weights = [group.weight for group in groups]
        if None not in weights:
            ideal = np.array(weights, dtype=np.float64) @ shares
            table.layers.append(
                [Sum(column.tolist(), *bracket(float(ideal[n]))) for n, column in enumerate(numbers.T)]
            )
        return round_table(table, self._scores.generator(f"round:{name}"))

    # Rankings, sets, tasks, texts

    def _draw_ranking(self, question: Ranking, groups: Sequence[_Group]) -> Answers:
        answered, cells, failed = self._split(question, None, groups)
        worths = self._shares(question, cells)
        nets = self._list_nets(question, None)
        first, probability = self._hand_out(_List(question.id, answered, worths, "none", 0, nets))
        choices = np.full((len(self.panelist), len(question.items)), -1)
        generator = self._scores.generator(f"ranks:{question.id}")
        for group, row in zip(answered, worths, strict=True):
            repeated = np.repeat(row[None], len(group.rows), axis=0)
            choices[group.rows] = draw_rankings(repeated, first[group.rows], generator)
        status = self._start_status(failed)
        status[first >= 0] = Status.ANSWERED
        return Answers(status, choices, probability)

    def _draw_maxdiff(self, question: MaxDiff, groups: Sequence[_Group]) -> Answers:
        sets = list_sets(self._study, question)
        choices = np.full((len(self.panelist), len(sets), 2), -1)
        probability = np.full((len(self.panelist), len(sets)), np.nan)
        lost = np.zeros(len(self.panelist), dtype=bool)
        for n in range(len(sets)):
            answered, cells, failed = self._split(question, str(n + 1), groups)
            lost[failed] = True
            if answered:
                joint, probability[:, n] = self._draw_set(question, n, answered, cells)
                asked = joint >= 0
                choices[asked, n] = np.stack(np.divmod(joint[asked], question.per_set), axis=1)
        status = self._start_status(np.flatnonzero(lost))
        status[(choices >= 0).any(axis=(1, 2))] = Status.ANSWERED
        return Answers(status, choices, probability)

    def _draw_set(
        self, question: MaxDiff, number: int, groups: Sequence[_Group], cells: Sequence[Elicited]
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return for each person the best item's place × the size of the set + the worst item's place."""
        size = question.per_set
        best = np.clip([cell.shares[0] for cell in cells], 0, None)
        worst = np.clip([cell.shares[1] for cell in cells], 0, None)
        best, worst = best / best.sum(axis=1, keepdims=True), worst / worst.sum(axis=1, keepdims=True)
        for n in range(len(cells)):
            worst[n], is_lowered = settle_worst(best[n], worst[n])
            if is_lowered:
                self._flags["worst_lowered", question.id] = None
        shares = join_margins(best, worst).reshape(len(cells), size * size)
        name = f"{question.id}:{number}"
        people = np.array([len(group.rows) for group in groups], dtype=np.float64)
        # Only the margins have to be exact, so a single entry may be off by one.
        table_of_sets = Table(shares * people[:, None], slack=1)
        numbers = np.arange(shares.size).reshape(len(groups), size, size)
        table_of_sets.layers.append(
            [Sum(one.ravel().tolist(), n, n) for one, n in zip(numbers, people.tolist(), strict=True)]
            + [Sum([int(one[i, i])], 0, 0) for one in numbers for i in range(size)]
        )
        table_of_sets.add_layer([one[i].tolist() for one in numbers for i in range(size)])
        table_of_sets.add_layer([one[:, i].tolist() for one in numbers for i in range(size)])
        table_of_sets.add_layer([numbers[:, i].ravel().tolist() for i in range(size)])
        table_of_sets.add_layer([numbers[:, :, i].ravel().tolist() for i in range(size)])
        counts = round_table(table_of_sets, self._scores.generator(f"round:{name}"))
        choices = np.full(len(self.panelist), -1)
        probability = np.full(len(self.panelist), np.nan)
        noise = self._scores.noise(f"noise:{name}")
        for group, row, chances in zip(groups, counts, shares, strict=True):
            rows = group.rows[np.argsort(noise[group.rows], kind="stable")]
            choices[rows] = np.repeat(np.arange(size * size), row)
            probability[rows] = chances[choices[rows]]
        return choices, probability

    def _draw_conjoint(self, question: Conjoint, groups: Sequence[_Group]) -> Answers:
        tasks = list_tasks(self._study, question)
        columns, chances = [], []
        lost = np.zeros(len(self.panelist), dtype=bool)
        for n in range(len(tasks)):
            answered, cells, failed = self._split(question, str(n + 1), groups)
            lost[failed] = True
            shares = self._shares(question, cells)
            choices, probability = self._hand_out(_List(f"{question.id}:{n}", answered, shares, "none"))
            columns.append(choices)
            chances.append(probability)
        choices = np.stack(columns, axis=1)
        status = self._start_status(np.flatnonzero(lost))
        status[(choices >= 0).any(axis=1)] = Status.ANSWERED
        return Answers(status, choices, np.stack(chances, axis=1))

    def _draw_texts(self, question: OpenEnded, groups: Sequence[_Group]) -> Answers:
        """Spread the verbatims of a cell evenly over its rows."""
        answered, cells, failed = self._split(question, None, groups)
        texts: dict[str, int] = {}
        choices = np.full(len(self.panelist), -1)
        generator = self._scores.generator(f"texts:{question.id}")
        for group, cell in zip(answered, cells, strict=True):
            places = [texts.setdefault(text, len(texts)) for text in cell.texts]
            if places:
                order = generator.permutation(len(places))
                spread = np.array(places)[order][np.arange(len(group.rows)) % len(places)]
                choices[group.rows] = generator.permutation(spread)
        status = self._start_status(failed)
        status[choices >= 0] = Status.ANSWERED
        return Answers(status, choices, np.full(len(choices), np.nan), texts=tuple(texts))
