"""Letters of banner tables: tests against scipy and statsmodels, Holm's family, and names of columns."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mavera.focus_groups.letters import (
    assign_letters,
    correct_by_holm,
    find_order_p,
    find_paired_p,
    find_pooled_p,
    name_columns,
    pool_order_variance,
)


def test_equal_weights_give_the_paired_t_test_of_scipy() -> None:
    random = np.random.default_rng(1)
    first, second = random.random(8), random.random(8)

    assert find_paired_p(first, second, np.full(8, 3.0)) == pytest.approx(
        stats.ttest_rel(first, second).pvalue
    )


def test_equal_weights_give_the_pooled_t_test_of_scipy() -> None:
    random = np.random.default_rng(2)
    first, second = random.random(4), random.random(6)

    found = find_pooled_p([first, second], [np.ones(4), np.ones(6)])

    assert found == {(0, 1): pytest.approx(stats.ttest_ind(first, second).pvalue)}


def test_columns_of_single_personas_have_no_pooled_test() -> None:
    assert find_pooled_p([np.array([0.1]), np.array([0.9])], [np.ones(1), np.ones(1)]) == {}


def test_a_failed_cell_leaves_its_pair() -> None:
    first, second = np.array([0.1, np.nan, 0.3, 0.2]), np.array([0.2, 0.9, 0.5, 0.2])

    assert find_paired_p(first, second, np.ones(4)) == pytest.approx(
        stats.ttest_rel([0.1, 0.3, 0.2], [0.2, 0.5, 0.2]).pvalue
    )


def test_equal_columns_never_differ() -> None:
    same = np.array([0.3, 0.3, 0.3])

    assert find_paired_p(same, same + 1e-16, np.ones(3)) == 1


def test_single_personas_differ_if_the_gap_exceeds_the_orders() -> None:
    pooled = pool_order_variance([0.2, 0.3, 0.1, 0.2])

    assert pooled is not None
    assert pooled == pytest.approx((0.045 / 4, 4))
    assert find_order_p(0.5, 0.8, *pooled) < 0.01
    assert find_order_p(0.5, 0.51, *pooled) > 0.5
    assert pool_order_variance([]) is None


def test_the_correction_is_holms() -> None:
    p_values = {(0, 1): 0.01, (0, 2): 0.04, (1, 2): 0.03}

    corrected = correct_by_holm(p_values)

    assert list(corrected.values()) == pytest.approx(
        multipletests([0.01, 0.03, 0.04], method="holm")[1].tolist()
    )


def test_the_larger_column_gets_the_letter_in_the_case_of_its_level() -> None:
    p_values = {(0, 1): 0.001, (0, 2): 0.045, (1, 2): 0.8}

    assert assign_letters([0.2, 0.6, 0.5], p_values, ["A", "B", "C"]) == ["", "A", "a"]


def test_columns_are_named_beyond_the_alphabet() -> None:
    names = name_columns(28)

    assert names[:2] == ["A", "B"]
    assert names[25:] == ["Z", "AA", "AB"]
