"""Classical tests of human answers, against statsmodels, scipy and published figures."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest

from mavera.focus_groups.human import (
    compare_means,
    compare_shares,
    correct_p_values,
    count_effectively,
    find_nps_interval,
    find_share_interval,
    has_small_base,
    measure_association,
)


def test_nobody_of_100_against_nobody_of_100_does_not_differ() -> None:
    assert compare_shares(0, 100, 0, 100) == 1


def test_two_shares_are_compared_as_in_statsmodels() -> None:
    expected = proportions_ztest([30, 45], [100, 110])[1]

    assert compare_shares(0.3, 100, 45 / 110, 110) == pytest.approx(expected)


def test_two_means_without_weights_are_compared_as_in_scipy() -> None:
    random = np.random.default_rng(4)
    first, second = random.normal(0, 1, 40), random.normal(0.5, 2, 60)

    p_value = compare_means(first, second, np.full(40, 2.0), np.ones(60))

    assert p_value == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)


def test_weights_lower_the_effective_number() -> None:
    assert count_effectively(np.ones(50)) == 50
    assert count_effectively(np.array([1.0, 1, 2])) == pytest.approx(16 / 6)
    assert has_small_base(count_effectively(np.array([1.0] * 29 + [5.0])))


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe (1998), table I: 81 of 263 has the score interval .2553 to .3662.
    assert find_share_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_interval_of_a_score_adds_three_people() -> None:
    low, high = find_nps_interval(0.4, 0.3, 100)
    share_high, share_low = 40.75 / 103, 30.75 / 103
    middle = share_high - share_low
    reach = stats.norm.ppf(0.975) * np.sqrt((share_high + share_low - middle**2) / 103)

    assert [low, high] == pytest.approx([100 * (middle - reach), 100 * (middle + reach)])


def test_nan_is_not_counted_as_a_test() -> None:
    assert correct_p_values([0.01, float("nan"), 0.02])[0] == pytest.approx(0.02)


def test_an_empty_column_leaves_the_table() -> None:
    with_it = measure_association(np.array([[10.0, 0, 20], [20, 0, 10]]))

    assert with_it == measure_association(np.array([[10.0, 20], [20, 10]]))
    assert with_it.cramers_v == pytest.approx(1 / 3)
    assert measure_association(np.array([[10.0, 20]])).p_value == 1
