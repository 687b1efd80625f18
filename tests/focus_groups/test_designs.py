"""Designs: balance of MaxDiff sets, D-error of conjoint tasks, orders that keep fixed entries."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.focus_groups.designs import compute_d_error, list_sets, list_tasks, shuffle_order
from mavera.focus_groups.study import NPS, Attribute, Conjoint, MaxDiff
from tests.focus_groups.studies import make_study

STUDY = make_study(NPS(id="q", text="?"))


def make_conjoint(*levels: int, tasks: int = 10, alternatives: int = 3, none: bool = False) -> Conjoint:
    attributes = tuple(
        Attribute(name=f"a{n}", levels=tuple(f"{n}.{level}" for level in range(count)))
        for n, count in enumerate(levels)
    )
    return Conjoint(
        id="q", text="?", attributes=attributes, tasks=tasks, alternatives=alternatives, none=none
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 6), st.integers(1, 12), st.integers(0, 8))
def test_every_item_is_shown_about_equally_often(size: int, more: int, extra: int) -> None:
    items = size + more
    sets = list_sets(
        STUDY,
        MaxDiff(
            id="q",
            text="?",
            items=tuple(map(str, range(items))),
            per_set=size,
            sets=-(-items // size) + extra if extra else None,
        ),
    )

    counts = np.bincount(np.concatenate(sets), minlength=items)
    assert all(len(set(one)) == size for one in sets)
    assert counts.max() - counts.min() <= 1
    assert counts.min() >= (1 if extra else 3)


@pytest.mark.parametrize(("items", "size"), [(5, 4), (8, 4), (12, 4), (13, 4), (20, 5)])
def test_pairs_and_places_are_balanced(items: int, size: int) -> None:
    sets = list_sets(STUDY, MaxDiff(id="q", text="?", items=tuple(map(str, range(items))), per_set=size))

    pairs = np.zeros((items, items), dtype=int)
    places = np.zeros((items, size), dtype=int)
    for one in sets:
        for a, b in combinations(sorted(one), 2):
            pairs[a, b] += 1
        for place, item in enumerate(one):
            places[item, place] += 1
    met = pairs[np.triu_indices(items, 1)]
    # The best that whole numbers allow is 0 or 1; every design is within one of it.
    assert met.max() - met.min() <= 2
    assert places.max() - places.min() <= 2


@pytest.mark.parametrize(
    ("levels", "tasks", "alternatives", "none"),
    [
        ((3, 3, 4), 10, 3, False),
        ((4, 4, 2, 5), 12, 3, True),
        ((2, 2, 2), 8, 2, False),
        ((6, 5, 4, 3), 15, 4, True),
    ],
)
def test_the_tasks_are_better_than_the_best_of_random_ones(
    levels: tuple[int, ...], tasks: int, alternatives: int, none: bool
) -> None:
    question = make_conjoint(*levels, tasks=tasks, alternatives=alternatives, none=none)
    generator = np.random.default_rng(1)

    found = list_tasks(STUDY, question)

    random = [
        tuple(
            tuple(tuple(int(generator.integers(count)) for count in levels) for _ in range(alternatives))
            for _ in range(tasks)
        )
        for _ in range(200)
    ]
    error = compute_d_error(question, found)
    assert error < 0.9 * min(compute_d_error(question, one) for one in random)
    assert all(len(set(task)) == alternatives for task in found)


def test_two_alternatives_with_two_levels_reach_the_known_optimum() -> None:
    # Foldover pairs of the full factorial: every task differs in every attribute, so that the information is
    # the number of tasks on the diagonal, and the D-error 1 / 4.
    question = make_conjoint(2, 2, 2, tasks=4, alternatives=2)

    assert compute_d_error(question, list_tasks(STUDY, question)) == pytest.approx(1 / 4)


def test_a_design_depends_on_the_shape_of_its_question_only() -> None:
    first = make_conjoint(3, 3, 3)
    renamed = Conjoint(
        id="other", text="Other?", attributes=tuple(reversed(first.attributes)), tasks=10, alternatives=3
    )

    assert list_tasks(STUDY, first) == list_tasks(make_study(NPS(id="x", text="?")), renamed)


def test_too_few_tasks_have_no_error_to_compare() -> None:
    question = make_conjoint(5, 5, 5, tasks=2, alternatives=2)

    assert compute_d_error(question, list_tasks(STUDY, question)) == float("inf")


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 99))
def test_fixed_entries_keep_their_places(is_fixed: list[bool], seed: int) -> None:
    order = shuffle_order(is_fixed, np.random.default_rng(seed))

    assert sorted(order) == list(range(len(is_fixed)))
    assert all(order[n] == n for n, fixed in enumerate(is_fixed) if fixed)
