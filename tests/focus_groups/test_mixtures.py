"""Mixtures of distributions: weights, failed cells, scales and scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.focus_groups.mixtures import (
    find_median,
    measure_entropy,
    mix_shares,
    scale_weights,
    score_each_nps,
    score_nps,
    summarise_scale,
)


def test_a_failed_cell_leaves_the_mixture_and_the_other_weights_are_scaled_up() -> None:
    shares = np.array([[0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]])

    mixture = mix_shares(shares, np.array([1.0, 5.0, 3.0]))

    assert mixture == pytest.approx([0.5, 0.5])


def test_no_answered_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="no answered cell"):
        scale_weights(np.ones(2), np.array([False, False]))


def test_missing_answers_leave_mean_median_and_deviation() -> None:
    summary = summarise_scale(np.array([0.1, 0.1, 0.3, 0.5]), np.array([1.0, 2.0, 3.0]), missing=1)

    assert summary is not None
    assert summary.mean == pytest.approx((0.1 + 0.2 + 0.9) / 0.5)
    assert summary.median == 3
    assert summary.answered == pytest.approx(0.5)
    assert summary.std_dev == pytest.approx(np.sqrt(np.average([1, 4, 9], weights=[1, 1, 3]) - 2.4**2))


def test_a_scale_with_nothing_but_missing_answers_has_no_summary() -> None:
    assert summarise_scale(np.array([0.0, 0.0, 1.0]), np.array([1.0, 2.0]), missing=1) is None


def test_the_score_of_a_uniform_answer_is_minus_45_and_a_half() -> None:
    score, promoters, passives, detractors = score_nps(np.full(11, 1 / 11))

    assert score == pytest.approx(-45.4545, abs=1e-4)
    assert promoters + passives + detractors == pytest.approx(1)
    assert score_each_nps(np.full((2, 11), 1 / 11)) == pytest.approx([score, score])


def test_half_of_the_answers_at_a_value_make_it_the_median() -> None:
    assert find_median(np.array([0.1 + 0.2, 0.2, 0.5]), np.array([3.0, 2.0, 1.0])) == 1


def test_entropy_is_one_for_a_uniform_and_zero_for_a_certain_answer() -> None:
    assert measure_entropy(np.array([[0.25] * 4, [1.0, 0, 0, 0]])) == pytest.approx([1, 0])


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=10))
def test_a_mixture_lies_between_its_parts(rows: list[list[float]]) -> None:
    shares = np.array(rows)
    shares /= shares.sum(axis=1, keepdims=True)

    mixture = mix_shares(shares, np.arange(1.0, len(rows) + 1))

    assert mixture.sum() == pytest.approx(1)
    assert (mixture >= shares.min(axis=0) - 1e-12).all()
    assert (mixture <= shares.max(axis=0) + 1e-12).all()
