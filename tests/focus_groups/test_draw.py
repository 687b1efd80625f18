"""Drawn respondents against the distributions that they come from: counts, rules, correlation, seeds."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.designs import list_sets
from mavera.focus_groups.draw import draw_reference, draw_respondents, measure_passing
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.expressions import TRUE, evaluate
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.readings import Read, Reading
from mavera.focus_groups.resolve import resolve
from mavera.focus_groups.respondents import Draw, Status
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
    Question,
    Quota,
    Ranking,
    Rating,
    Row,
    Sample,
    Slider,
    Study,
    YesNo,
)
from mavera.focus_groups.ticks import settle_ticks
from tests.focus_groups.books import Book, make_book, make_shares
from tests.focus_groups.studies import make_panel, make_study

ARMS = (Arm(id="a"), Arm(id="b"))
OPTIONS = tuple(Option(text=text) for text in ("Taste", "Price", "Look", "Feel"))
NONE = Option(text="None of these", exclusive=True)
EPSILON = 1e-6


def find_shares(book: Book, study: Study, panel: Panel, question: Question, part: str | None = None) -> Any:
    """Return the shares by persona and arm of a question that is asked of everybody."""
    arms: list[str | None] = [arm.id for arm in study.cells] or [None]
    return np.array([[book[CellId(question.id, part, p.id, arm)].shares for arm in arms] for p in panel])


def check_counts(choices: NDArray[Any], shares: NDArray[Any], panelist: Any, arm: Any, size: float) -> None:
    """Check that each answer was given as often as expected, within one, by group and in all."""
    personas, arms, answers = shares.shape
    total = np.zeros(answers)
    for p in range(personas):
        for a in range(arms):
            rows = choices[(panelist == p) & (arm == a)]
            counts = np.bincount(rows[rows >= 0], minlength=answers)
            expected = len(rows) * shares[p, a]
            assert np.abs(counts - expected).max() < 1 + EPSILON
            total += expected
    found = np.bincount(choices[choices >= 0], minlength=answers)
    assert np.abs(found - total).max() < 1 + EPSILON


ONE_ANSWER: list[Question] = [
    NPS(id="q1", text="?", missing=("Don't know",)),
    Rating(id="q1", text="?", points=5),
    YesNo(id="q1", text="?"),
    MultipleChoice(id="q1", text="?", options=OPTIONS),
    Slider(id="q1", text="?"),
]


@pytest.mark.parametrize("question", ONE_ANSWER, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("size", "personas"), [(7, 3), (200, 10), (2000, 10)])
def test_counts_are_within_one_in_every_group_and_in_total(
    question: Question, size: int, personas: int
) -> None:
    study = make_study(question, personas=personas, cells=ARMS, sample=Sample(size=size, seed=3))
    panel = make_panel(personas)
    book = make_book(study, panel, seed=size)

    rows = draw_respondents(study, panel, book).completes

    assert len(rows) == size
    shares = find_shares(book, study, panel, question)
    check_counts(rows.answers["q1"].choices, shares, rows.panelist, rows.arm, size)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 150), st.integers(1, 6), st.integers(0, 10_000), st.booleans())
def test_counts_agree_with_the_exact_mixture_whatever_the_weights(
    size: int, personas: int, seed: int, has_arms: bool
) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(personas))
    question = Likert(id="q1", text="?", points=5)
    study = make_study(
        question, personas=personas, cells=ARMS if has_arms else (), sample=Sample(size=size, seed=seed)
    )
    panel = make_panel(personas, list(weights))
    book = make_book(study, panel, seed)

    rows = draw_respondents(study, panel, book).completes

    shares = find_shares(book, study, panel, question)
    arms = 2 if has_arms else 1
    counts = np.zeros((personas, arms))
    np.add.at(counts, (rows.panelist, rows.arm), 1)
    expected = np.repeat(weights[:, None] / arms, arms, axis=1) * size
    assert np.abs(counts - expected).max() < 1 + EPSILON
    assert np.abs(counts.sum(axis=1) - weights * size).max() < 1 + EPSILON
    check_counts(rows.answers["q1"].choices, shares, rows.panelist, rows.arm, size)


def test_totals_agree_with_the_mixture_of_the_exact_weights() -> None:
    # 200 respondents of 7 personas: no persona has a whole number of them.
    study = make_study(NPS(id="q1", text="?"), personas=7, sample=Sample(size=200))
    panel = make_panel(7)
    book = make_book(study, panel)

    rows = draw_respondents(study, panel, book).completes

    mixture = 200 * find_shares(book, study, panel, study.questions[0]).mean(axis=(0, 1))
    assert np.abs(np.bincount(rows.answers["q1"].choices, minlength=11) - mixture).max() < 1 + EPSILON


# Routing


def make_routed() -> Study:
    return make_study(
        NPS(id="q1", text="?"),
        YesNo(id="q2", text="?", missing=("Don't know",)),
        Rating(id="q3", text="Why {q1}?"),
        Likert(id="q4", text="?", show_if="q1 >= 7 and q1 <= 8"),
        YesNo(id="q5", text="?", show_if="q1 >= 9"),
        Rating(id="q6", text="?", show_if="q2 == yes"),
        personas=10,
        cells=ARMS,
        sample=Sample(size=200, seed=5),
    )


@pytest.mark.parametrize("size", [200, 2000])
def test_routed_counts_are_within_one_by_group_and_within_two_in_total(size: int) -> None:
    study = msgspec.structs.replace(make_routed(), sample=Sample(size=size, seed=5))
    panel = make_panel(10)
    book = make_book(study, panel)
    rows = draw_respondents(study, panel, book).completes

    for question in study.questions[2:]:
        conditions = conditions_of(study, question)
        given = rows.answers[question.id]
        placed = rows.condition[question.id]
        answers = len(next(iter(book[c].shares for c in book if c.question == question.id)))
        total = np.zeros(answers)
        ideal = np.zeros(answers)
        for p, one in enumerate(panel):
            for a, arm in enumerate(study.cells):
                for c, condition in enumerate(conditions):
                    here = (rows.panelist == p) & (rows.arm == a) & (placed == c)
                    shares = book[CellId(question.id, None, one.id, arm.id, condition.key)].shares
                    counts = np.bincount(given.choices[here], minlength=answers)
                    assert np.abs(counts - here.sum() * shares).max() < 1 + EPSILON
                    total += here.sum() * shares
                    for match in [condition.expression]:
                        earlier = book[CellId(match.question, None, one.id, arm.id)].shares  # type: ignore[union-attr]
                        chance = earlier[sorted(match.answers)].sum()  # type: ignore[union-attr]
                        ideal += size / 20 * chance * shares
        found = np.bincount(given.choices[given.choices >= 0], minlength=answers)
        assert np.abs(found - total).max() < 1 + EPSILON
        assert np.abs(found - ideal).max() < 2


def test_a_question_is_answered_by_those_it_is_shown_to_and_by_nobody_else() -> None:
    study = make_routed()
    panel = make_panel(10)
    rows = draw_respondents(study, panel, make_book(study, panel)).completes

    for question in study.questions[2:]:
        shown = np.zeros(len(rows), dtype=bool)
        for condition in conditions_of(study, question):
            assert condition.expression is not None
            shown |= evaluate(condition.expression, rows.answers, study) == TRUE
        given = rows.answers[question.id]
        assert ((given.choices >= 0) == shown).all()
        assert (given.status[~shown] == Status.SKIPPED).all()
    missing = rows.answers["q2"].status == Status.MISSING
    assert missing.any()
    assert (rows.answers["q6"].status[missing] == Status.SKIPPED).all()


# Several answers


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(1, 3), st.integers(0, 10_000), st.booleans())
def test_no_row_breaks_the_rules_of_several_answers(size: int, most: int, seed: int, has_none: bool) -> None:
    options = (*OPTIONS, *([NONE] if has_none else []))
    question = MultipleChoice(id="q1", text="?", multiple=True, max=most, options=options)
    study = make_study(question, personas=2, sample=Sample(size=size, seed=seed))
    panel = make_panel(2)
    book = make_book(study, panel, seed)

    rows = draw_respondents(study, panel, book).completes

    ticks = rows.answers["q1"].choices
    assert ticks.sum(axis=1).max(initial=0) <= most
    if has_none:
        assert not (ticks[:, -1] & ticks[:, :-1].any(axis=1)).any()
    total = np.zeros(len(options))
    for p in range(2):
        here = ticks[rows.panelist == p]
        expected = len(here) * settle_ticks(question, book[CellId("q1", None, f"p{p}", None)].shares).shares
        assert np.abs(here.sum(axis=0) - expected).max(initial=0) < 1 + EPSILON
        total += expected
    assert np.abs(ticks.sum(axis=0) - total).max() < 1 + EPSILON


def test_probabilities_that_fit_are_left_alone_and_others_are_flagged() -> None:
    question = MultipleChoice(id="q1", text="?", multiple=True, max=2, options=(*OPTIONS, NONE))

    fitting = settle_ticks(question, np.array([0.3, 0.4, 0.2, 0.1, 0.2]))
    crowded = settle_ticks(question, np.array([0.9, 0.8, 0.7, 0.6, 0.3]))

    assert (fitting.flags, fitting.shares.tolist()) == ((), [0.3, 0.4, 0.2, 0.1, 0.2])
    assert crowded.flags == ("exclusive_lowered", "max_applied")
    assert crowded.shares[-1] == pytest.approx(0.1)
    assert crowded.shares[:-1].sum() == pytest.approx(2 * 0.9)
    # One constant for all log-odds.
    moved = np.log(np.array([0.9, 0.8, 0.7, 0.6]) / (1 - np.array([0.9, 0.8, 0.7, 0.6])))
    moved -= np.log(crowded.shares[:-1] / (1 - crowded.shares[:-1]))
    assert np.ptp(moved) < 1e-6


def test_what_had_to_be_lowered_is_a_notice() -> None:
    question = MultipleChoice(id="q1", text="?", multiple=True, max=1, options=OPTIONS)
    study = make_study(question)
    panel = make_panel(3)
    book = make_book(study, panel, make=lambda q, g: np.full(4, 0.9))

    assert any("'q1'" in notice for notice in draw_respondents(study, panel, book).notices)


# Latent correlation


def find_latent_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """
    Return the correlation of two scores that were cut in the middle: sin(π/2 · (4·P(both high) − 1)).

    It is exact for two normal scores with medians as cuts.
    """
    both = float((first & second).mean())
    return float(np.sin(np.pi / 2 * (4 * both - 1)))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_latent_correlation_is_recovered(correlation: float) -> None:
    questions = [YesNo(id=f"q{n}", text="?") for n in range(6)]
    study = make_study(
        *questions, personas=10, latent_correlation=correlation, sample=Sample(size=2000, seed=11)
    )
    panel = make_panel(10)
    book = make_book(study, panel, make=lambda q, g: np.array([0.5, 0.5]))

    rows = draw_respondents(study, panel, book).completes

    yes = [rows.answers[f"q{n}"].choices == 0 for n in range(6)]
    found = [find_latent_correlation(yes[i], yes[j]) for i in range(6) for j in range(i)]
    assert np.mean(found) == pytest.approx(correlation, abs=0.015)


def test_pairs_of_scores_have_the_correlation_within_a_persona() -> None:
    questions = [NPS(id=f"q{n}", text="?") for n in range(5)]
    study = make_study(*questions, personas=4, sample=Sample(size=2000, seed=1))
    panel = make_panel(4)
    # Answers that are the quantiles of a normal score keep its correlation apart from the cuts.
    book = make_book(study, panel, make=lambda q, g: np.full(11, 1 / 11))

    rows = draw_respondents(study, panel, book).completes

    scores = np.array([rows.answers[f"q{n}"].choices for n in range(5)], dtype=float)
    # Spearman's correlation of two normal scores: 6/π · asin(ρ/2).
    expected = 6 / np.pi * np.arcsin(0.3 / 2)
    found = np.mean([np.corrcoef(scores[:, rows.panelist == p]) for p in range(4)], axis=0)
    assert np.abs(found[np.triu_indices(5, 1)] - expected).max() < 0.03


def test_direction_turns_the_score_and_none_takes_it_away() -> None:
    study = make_study(
        NPS(id="q1", text="?"),
        NPS(id="q2", text="?", direction="reversed"),
        NPS(id="q3", text="?", direction="none"),
        latent_correlation=0.6,
        sample=Sample(size=1500),
    )
    panel = make_panel(3)
    book = make_book(study, panel, make=lambda q, g: np.full(11, 1 / 11))

    rows = draw_respondents(study, panel, book).completes

    first, second, third = (rows.answers[f"q{n}"].choices for n in (1, 2, 3))
    assert np.corrcoef(first, second)[0, 1] < -0.5
    assert abs(np.corrcoef(first, third)[0, 1]) < 0.1


# Other types


def test_best_and_worst_keep_their_margins_and_are_never_the_same() -> None:
    question = MaxDiff(id="q1", text="?", items=tuple("ABCDEF"), per_set=4)
    study = make_study(question, personas=5, sample=Sample(size=200))
    panel = make_panel(5)

    def make(one: Question, generator: np.random.Generator) -> Any:
        return generator.dirichlet(np.full(4, 6.0), size=2)

    book = make_book(study, panel, make=make)
    rows = draw_respondents(study, panel, book).completes

    choices = rows.answers["q1"].choices
    assert choices.shape == (200, len(list_sets(study, question)), 2)
    assert (choices[..., 0] != choices[..., 1]).all()
    for n in range(choices.shape[1]):
        shares = find_shares(book, study, panel, question, str(n + 1))
        for side in (0, 1):
            check_counts(choices[:, n, side], shares[:, :, side], rows.panelist, rows.arm, 200)


def test_an_item_that_is_best_and_worst_too_often_is_lowered_and_noted() -> None:
    question = MaxDiff(id="q1", text="?", items=tuple("ABCDE"), per_set=4)
    study = make_study(question)
    panel = make_panel(3)
    polar = np.array([[0.7, 0.1, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]])
    draw = draw_respondents(study, panel, make_book(study, panel, make=lambda q, g: polar))

    choices = draw.completes.answers["q1"].choices
    assert (choices[..., 0] != choices[..., 1]).all()
    assert any("'q1'" in notice for notice in draw.notices)


def test_first_choices_of_a_ranking_are_within_one_and_the_rest_follows_the_worths() -> None:
    question = Ranking(id="q1", text="?", items=OPTIONS)
    study = make_study(question, personas=1, sample=Sample(size=4000))
    panel = make_panel(1)
    worths = np.array([0.4, 0.3, 0.2, 0.1])
    rows = draw_respondents(study, panel, make_book(study, panel, make=lambda q, g: worths)).completes

    ranks = rows.answers["q1"].choices
    assert (np.sort(ranks, axis=1) == np.arange(4)).all()
    assert np.bincount(ranks[:, 0]).tolist() == [1600, 1200, 800, 400]
    second = np.bincount(ranks[ranks[:, 0] == 0, 1], minlength=4) / 1600
    assert np.abs(second - [0, 0.5, 1 / 3, 1 / 6]).max() < 0.04


def test_tasks_of_a_conjoint_are_within_one() -> None:
    question = Conjoint(
        id="q1",
        text="?",
        attributes=(Attribute(name="a", levels=("x", "y", "z")), Attribute(name="b", levels=("x", "y"))),
        tasks=4,
        none=True,
    )
    study = make_study(question, sample=Sample(size=100))
    panel = make_panel(3)
    book = make_book(study, panel)
    rows = draw_respondents(study, panel, book).completes

    for n in range(4):
        shares = find_shares(book, study, panel, question, str(n + 1))
        check_counts(rows.answers["q1"].choices[:, n], shares, rows.panelist, rows.arm, 100)


def test_a_slider_keeps_its_mean_and_its_range() -> None:
    study = make_study(Slider(id="q1", text="?", missing=("Don't know",)), sample=Sample(size=500))
    panel = make_panel(3)
    answers = draw_respondents(study, panel, make_book(study, panel)).completes.answers["q1"]

    numbers = answers.numbers
    assert numbers is not None
    known = answers.status == Status.ANSWERED
    assert numbers[known].sum() == pytest.approx(10 * answers.choices[known].sum())
    assert numbers[known].min() >= 0
    assert numbers[known].max() <= 100
    assert len(np.unique(numbers[known])) > 30
    assert (numbers[answers.choices == 10] == 100).all()
    assert np.isnan(numbers[~known]).all()


def test_rows_of_a_matrix_are_within_one_and_go_together() -> None:
    question = Matrix(id="q1", text="?", points=7, rows=(Row(id="r1", text="x"), Row(id="r2", text="y")))
    study = make_study(question, sample=Sample(size=900))
    panel = make_panel(3)
    book = make_book(study, panel)
    rows = draw_respondents(study, panel, book).completes

    choices = rows.answers["q1"].choices
    for n, row in enumerate(("r1", "r2")):
        shares = find_shares(book, study, panel, question, row)
        check_counts(choices[:, n], shares, rows.panelist, rows.arm, 900)


def test_verbatims_are_spread_evenly_over_their_own_condition() -> None:
    study = make_study(NPS(id="q1", text="?"), OpenEnded(id="q2", text="Why {q1}?"), sample=Sample(size=300))
    panel = make_panel(3)
    rows = draw_respondents(study, panel, make_book(study, panel)).completes

    given = rows.answers["q2"]
    keys = [one.key for one in conditions_of(study, study.questions[1])]
    for p in range(3):
        for c, key in enumerate(keys):
            here = given.choices[(rows.panelist == p) & (rows.condition["q2"] == c)]
            texts = [given.texts[n] for n in here]
            assert all(text.startswith(f"p{p} {key} ") for text in texts)
            counts = [texts.count(text) for text in set(texts)]
            assert max(counts) - (min(counts) if len(counts) == 5 else 0) <= 1


# Screening, quotas, failures


def draw_screened(*, screener: Question | None = None, size: int = 200) -> tuple[Study, Panel, Book, Draw]:
    first = screener or YesNo(id="s1", text="?", screen_out=("no",), missing=("Don't know",))
    study = make_study(
        first, NPS(id="q1", text="?"), sample=Sample(size=size, seed=2), cells=ARMS, personas=4
    )
    panel = make_panel(4)
    book = make_book(study, panel, seed=4)
    return study, panel, book, draw_respondents(study, panel, book)


def test_a_screened_out_respondent_is_replaced() -> None:
    study, panel, book, draw = draw_screened()

    completes, screened = draw.completes, draw.screened
    assert len(completes) == 200
    assert not (completes.answers["s1"].choices == 1).any()
    assert (completes.answers["q1"].status == Status.ANSWERED).all()
    # Personas have completes as their weight times their probability to pass.
    passing = 1 - find_shares(book, study, panel, study.questions[0])[:, :, 1]
    assert measure_passing(study, panel, book) == pytest.approx(passing)
    expected = 200 * passing / passing.sum()
    counts = np.zeros((4, 2))
    np.add.at(counts, (completes.panelist, completes.arm), 1)
    assert np.abs(counts - expected).max() < 1 + EPSILON
    # As many were interviewed as it takes.
    assert abs(len(screened) - 200 * (1 / passing.mean() - 1)) < 5
    assert (screened.answers["s1"].choices == 1).all()
    assert (screened.answers["q1"].status == Status.SCREENED).all()
    assert (screened.answers["q1"].choices == -1).all()


def test_several_answers_can_screen_out() -> None:
    screener = MultipleChoice(id="s1", text="?", multiple=True, options=OPTIONS, screen_out=("Price",))
    _, _, _, draw = draw_screened(screener=screener)

    assert len(draw.completes) == 200
    assert not draw.completes.answers["s1"].choices[:, 1].any()
    assert draw.screened.answers["s1"].choices[:, 1].all()


def test_nobody_is_left_if_everybody_is_screened_out() -> None:
    study = make_study(YesNo(id="s1", text="?", screen_out=("no",)), NPS(id="q1", text="?"))
    panel = make_panel(3)
    book = make_book(study, panel)
    for cell in list(book):
        if cell.question == "s1":
            book[cell] = Elicited(cell, np.array([0.0, 1.0]))

    draw = draw_respondents(study, panel, book)

    assert len(draw.completes) == 0
    assert len(draw.screened) == 200
    assert any("Everybody is screened out" in notice for notice in draw.notices)


def test_quotas_are_met_exactly() -> None:
    panel = make_panel(4, age=["young", "young", "old", "old"], sex=["f", "m", "f", "m"])
    quotas = (Quota(where={"age": "young"}, size=33), Quota(where={"sex": "f"}, size=71))
    study = make_study(
        YesNo(id="s1", text="?", screen_out=("no",)),
        personas=4,
        cells=ARMS,
        sample=Sample(size=101, quotas=quotas),
    )

    rows = draw_respondents(study, panel, make_book(study, panel)).completes

    counts = np.bincount(rows.panelist, minlength=4)
    assert len(rows) == 101
    assert counts[0] + counts[1] == 33
    assert counts[0] + counts[2] == 71


def test_quotas_that_leave_a_persona_nobody_are_met() -> None:
    panel = make_panel(3, age=["young", "old", "old"], sex=["f", "f", "m"])
    quotas = (Quota(where={"age": "young"}, size=60), Quota(where={"sex": "f"}, size=60))
    study = make_study(NPS(id="q1", text="?"), sample=Sample(size=100, quotas=quotas))

    rows = draw_respondents(study, panel, make_book(study, panel)).completes

    assert np.bincount(rows.panelist, minlength=3).tolist() == [60, 0, 40]


def test_a_failed_cell_fails_its_rows_and_no_others() -> None:
    study = make_study(NPS(id="q1", text="?"), YesNo(id="q2", text="?", show_if="q1 >= 5"))
    panel = make_panel(3)
    book = make_book(study, panel)
    del book[CellId("q1", None, "p1", None)]

    rows = draw_respondents(study, panel, book).completes

    failed = rows.panelist == 1
    assert (rows.answers["q1"].status[failed] == Status.FAILED).all()
    assert (rows.answers["q1"].status[~failed] == Status.ANSWERED).all()
    # What depends on an answer that is not known is not asked.
    assert (rows.answers["q2"].status[failed] == Status.SKIPPED).all()


def everything() -> Study:
    return make_study(
        YesNo(id="s1", text="?", screen_out=("no",)),
        NPS(id="q1", text="?"),
        MultipleChoice(id="q2", text="?", multiple=True, max=2, options=(*OPTIONS, NONE)),
        Matrix(id="q3", text="?", rows=(Row(id="r1", text="x"), Row(id="r2", text="y"))),
        Ranking(id="q4", text="?", items=OPTIONS, show_if="q1 >= 7 or q2 == Taste"),
        MaxDiff(id="q5", text="?", items=tuple("ABCDE"), per_set=3),
        Slider(id="q6", text="?"),
        OpenEnded(id="q7", text="Why {q1}?"),
        cells=ARMS,
        sample=Sample(size=120, seed=9),
    )


def list_bytes(draw: Draw) -> list[bytes]:
    return [
        array.tobytes()
        for rows in (draw.completes, draw.screened)
        for one in rows.answers.values()
        for array in (one.status, one.choices, one.probability, one.numbers)
        if array is not None
    ]


def test_the_same_seed_gives_the_same_rows_and_another_one_does_not() -> None:
    study, panel = everything(), make_panel(3)
    book = make_book(study, panel)
    other = msgspec.structs.replace(study, sample=Sample(size=120, seed=10))

    assert list_bytes(draw_respondents(study, panel, book)) == list_bytes(
        draw_respondents(study, panel, book)
    )
    assert list_bytes(draw_respondents(study, panel, book)) != list_bytes(
        draw_respondents(other, panel, book)
    )


def test_another_question_at_the_end_does_not_change_the_rows_before() -> None:
    study, panel = everything(), make_panel(3)
    longer = msgspec.structs.replace(study, questions=(*study.questions, NPS(id="q8", text="?")))
    book = make_book(longer, panel)

    short, long = draw_respondents(study, panel, book), draw_respondents(longer, panel, book)

    assert list_bytes(short)[:7] == list_bytes(long)[:7]


def test_the_reference_draw_does_not_depend_on_size_or_seed() -> None:
    study = make_study(NPS(id="q1", text="?"), YesNo(id="q2", text="?", show_if="q1 >= 7"), personas=2)
    panel = make_panel(2)
    book = make_book(study, panel)
    other = msgspec.structs.replace(study, sample=Sample(size=10, seed=99))

    first, second = draw_reference(study, panel, book), draw_reference(other, panel, book)

    assert np.bincount(first.completes.panelist).tolist() == [20_000, 20_000]
    assert list_bytes(first) == list_bytes(second)


def test_probabilities_are_those_of_the_answers_given() -> None:
    study = make_study(NPS(id="q1", text="?"), personas=2, sample=Sample(size=50))
    panel = make_panel(2)
    book = make_book(study, panel, make=make_shares)
    rows = draw_respondents(study, panel, book).completes

    given = rows.answers["q1"]
    shares = find_shares(book, study, panel, study.questions[0])
    assert given.probability == pytest.approx(shares[rows.panelist, 0, given.choices])


def test_elicited_shares_keep_the_rules_already_and_say_what_was_changed() -> None:
    question = MultipleChoice(id="q1", text="?", multiple=True, max=1, options=OPTIONS)
    yes = tuple(
        Read("letters", str(n), (0, 1), (float(np.log(share)), float(np.log(1 - share))), 1.0)
        for n, share in enumerate((0.9, 0.5, 0.5, 0.1))
    )
    sets = MaxDiff(id="q2", text="?", items=tuple("ABCD"), per_set=3)
    polar = (float(np.log(0.8)), float(np.log(0.1)), float(np.log(0.1)))
    pair = tuple(Read("letters", about, (0, 1, 2), polar, 1.0) for about in ("best", "worst"))

    ticks = resolve(CellId("q1", None, None, None), question, Reading(yes), {})
    worst = resolve(CellId("q2", "1", None, None), sets, Reading(pair), {})

    assert ticks.shares.sum() == pytest.approx(1)
    assert ticks.flags == ("max_applied 2.00 to 1.00",)
    assert worst.shares.sum(axis=0).max() == pytest.approx(1)
    assert worst.flags == ("worst_lowered 0.80 to 0.40",)


def test_the_notices_of_the_study_reach_the_reader() -> None:
    study = make_study(NPS(id="q1", text="?"), language="fi")
    panel = make_panel(3)

    assert any("'fi'" in notice for notice in draw_respondents(study, panel, make_book(study, panel)).notices)
