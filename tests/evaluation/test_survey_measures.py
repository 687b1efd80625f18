"""The distances between distributions, on examples that a person can compute."""

import math

import numpy as np
import pytest

from mavera.evaluation.measures import Share
from mavera.evaluation.survey_measures import (
    average,
    average_surveys,
    compare_groups,
    count_needed_hits,
    find_difference,
    make_mode,
    make_uniform,
    measure_halves,
    measure_ks,
    measure_total_variation,
    measure_variance_ratio,
)


def test_the_distances_of_a_small_example() -> None:
    shares, people = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])

    assert measure_total_variation(shares, people) == pytest.approx(0.3)
    assert measure_ks(shares, people) == pytest.approx(0.3)
    # The same answers in another order: as far apart at each option, and closer on the scale.
    assert measure_total_variation(np.array([0.5, 0.0, 0.5]), np.array([0.0, 0.5, 0.5])) == 0.5
    assert measure_ks(np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])) == 0.5
    assert measure_ks(np.array([0.4, 0.2, 0.4]), np.array([0.3, 0.4, 0.3])) == pytest.approx(0.1)


def test_the_variance_ratio_says_how_much_wider_a_scale_is_used() -> None:
    people = np.array([0.25, 0.5, 0.25])  # variance 0.5

    assert measure_variance_ratio(np.array([0.5, 0.0, 0.5]), people) == pytest.approx(2)
    assert measure_variance_ratio(np.array([0.0, 1.0, 0.0]), people) == 0
    assert math.isnan(measure_variance_ratio(people, np.array([0.0, 1.0, 0.0])))


def test_uniform_and_mode_are_the_guesses_without_a_model() -> None:
    people = np.array([0.2, 0.7, 0.1])

    assert measure_total_variation(make_uniform(3), people) == pytest.approx(0.7 - 1 / 3)
    assert measure_total_variation(make_mode(people), people) == pytest.approx(0.3)


def test_halves_differ_less_the_more_people_there_are() -> None:
    few, many = measure_halves(np.array([20, 20])), measure_halves(np.array([2000, 2000]))

    assert 0 < many < few < 0.3
    assert measure_halves(np.array([40, 0])) == 0
    assert math.isnan(measure_halves(np.array([1, 0])))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_difference_has_the_sign_of_the_group_that_says_it_more_often(ordered: bool) -> None:
    first, second = np.array([20, 80]), np.array([60, 40])
    found = find_difference(first, second, ordered=ordered)
    turned = find_difference(second, first, ordered=ordered)

    assert found is not None
    assert turned is not None
    assert found.is_significant
    assert turned.p_value == pytest.approx(found.p_value)
    # A simulation that goes the same way has a difference of the same sign, whichever option is compared.
    leaning = compare_groups(found, np.array([0.3, 0.7]), np.array([0.4, 0.6]))
    assert leaning * found.sign == pytest.approx(0.1)
    assert compare_groups(turned, np.array([0.3, 0.7]), np.array([0.4, 0.6])) * turned.sign < 0


def test_chi_squared_of_a_table_by_hand() -> None:
    # Expected counts are all 50, so chi-squared is 4 · 10² / 50 = 8 with one degree of freedom: p = .0047.
    found = find_difference(np.array([60, 40]), np.array([40, 60]), ordered=False)

    assert found is not None
    assert found.p_value == pytest.approx(0.004678, abs=1e-6)


def test_an_option_that_nobody_chose_and_a_small_group_are_no_difference() -> None:
    assert find_difference(np.array([19, 0]), np.array([0, 500]), ordered=True) is None
    assert find_difference(np.array([50, 0, 0]), np.array([70, 0, 0]), ordered=False) is None
    unchosen = find_difference(np.array([60, 0, 40]), np.array([40, 0, 60]), ordered=False)
    assert unchosen is not None
    assert unchosen.p_value == pytest.approx(0.004678, abs=1e-6)
    certain = find_difference(np.array([50, 0]), np.array([0, 50]), ordered=True)
    assert certain is not None
    assert (certain.p_value, certain.sign) == (0, -1)


def test_a_mean_leaves_out_what_is_unknown_and_its_interval_holds_it() -> None:
    found = average([0.1, 0.2, math.nan, 0.6])

    assert found.value == pytest.approx(0.3)
    assert found.cases == 3
    assert 0.1 <= found.interval[0] < 0.3 < found.interval[1] <= 0.6
    assert average([0.4, 0.4]).interval == pytest.approx((0.4, 0.4))
    assert average([]).cases == 0


def test_surveys_are_resampled_from_five_on() -> None:
    shares = {str(number): Share(number, 5) for number in range(5)}

    found = average_surveys(shares)

    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.cases == 5
    assert found.interval[0] < 0.4 < found.interval[1]
    assert average_surveys({**shares, "4": Share(0, 0)}) is None


def test_the_hits_that_a_lower_bound_above_a_half_needs() -> None:
    assert count_needed_hits(3) is None
    assert count_needed_hits(4) == 4
    needed = count_needed_hits(50)
    assert needed is not None
    assert Share(needed, 50).interval[0] > 0.5 >= Share(needed - 1, 50).interval[0]
