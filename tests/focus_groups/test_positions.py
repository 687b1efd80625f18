"""A model's preference for a place is measured, and taken away from what it reads."""

import numpy as np
import pytest

from mavera.focus_groups.asks import Order, reverse_order, rotate_order
from mavera.focus_groups.positions import average_orders, compute_prior, plan_prior
from mavera.focus_groups.readings import Read


def list_rotations(places: int) -> tuple[Order, ...]:
    return rotate_order(tuple(range(places)), [False] * places)


def list_both_orders(places: int) -> tuple[Order, ...]:
    return reverse_order(tuple(range(places)), [False] * places)


def read_with_bias(shares: np.ndarray, order: tuple[int, ...], bias: np.ndarray) -> Read:
    logs = np.log(shares)[list(order)] + bias
    logs -= np.log(np.exp(logs).sum())
    return Read("letters", "", order, tuple(logs), 1.0)


@pytest.mark.parametrize("places", [2, 4, 7])
def test_a_planted_bias_on_the_first_place_is_removed(places: int) -> None:
    bias = np.zeros(places)
    bias[0] = 2.0
    rng = np.random.default_rng(places)
    neutral = [rng.dirichlet(np.ones(places) * 5) for _ in range(12)]
    prior = compute_prior(
        "m",
        "en",
        [read_with_bias(shares, order, bias) for shares in neutral for order in list_rotations(places)],
    )
    for shares in (np.full(places, 1 / places), rng.dirichlet(np.ones(places))):
        reads = [read_with_bias(shares, order, bias) for order in list_both_orders(places)]
        found, gap = average_orders(reads, {places: prior})
        assert found == pytest.approx(shares, abs=0.01)
        assert gap == pytest.approx(0, abs=0.01)


def test_without_a_prior_two_orders_leave_the_middle_short() -> None:
    bias = np.array([2.0, 0, 0, 0])
    reads = [read_with_bias(np.full(4, 0.25), order, bias) for order in list_both_orders(4)]
    found, gap = average_orders(reads, {})
    assert found == pytest.approx([0.37, 0.13, 0.13, 0.37], abs=0.01)
    assert gap is not None
    assert gap > 1


def test_the_neutral_lists_show_every_word_once_at_each_place() -> None:
    asks = plan_prior(4, "en")
    assert len(asks) == 48
    first = [ask for ask in asks if ask.about == "0"]
    for place in range(4):
        lines = {ask.text.splitlines()[1 + place].split(") ")[1] for ask in first}
        assert len(lines) == 4
