"""Simulation intervals: their formula, their coverage, and the intervals of wordings."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from mavera.focus_groups.intervals import (
    Spread,
    find_jackknife_spread,
    find_mean_interval,
    find_share_interval,
    find_spread,
    find_wording_spread,
    to_mean_interval,
    to_share_interval,
)

TRIALS = 20_000


def _cover(personas: int, mean: float, deviation: float) -> float:
    random = np.random.default_rng(20_000 + personas)
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(200)
    truth = float((1 / (1 + np.exp(-mean - deviation * nodes))) @ node_weights / node_weights.sum())
    logits = random.normal(mean, deviation, (TRIALS, personas))
    low, high = find_share_interval(1 / (1 + np.exp(-logits)))
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("deviation", [0.5, 1.0])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("personas", [3, 5, 10])
def test_the_interval_covers_93_to_97_per_cent(personas: int, mean: float, deviation: float) -> None:
    assert 0.93 <= _cover(personas, mean, deviation) <= 0.97


def test_the_interval_follows_the_formula() -> None:
    shares, weights = np.array([0.2, 0.5, 0.6, 0.4]), np.array([0.1, 0.2, 0.3, 0.4])
    estimate = float(weights @ shares)
    variance = float(weights @ (shares - estimate) ** 2) / (1 - float(weights @ weights))
    error = np.sqrt(variance * float(weights @ weights))
    reach = student_t.ppf(0.975, 3) * error / (estimate * (1 - estimate))
    centre = np.log(estimate / (1 - estimate))

    low, high = find_share_interval(shares, weights * 7)

    assert [low, high] == pytest.approx(
        [1 / (1 + np.exp(-centre + reach)), 1 / (1 + np.exp(-centre - reach))]
    )
    assert to_share_interval(find_spread(shares, weights)) == pytest.approx((float(low), float(high)))


def test_two_personas_have_no_interval() -> None:
    with pytest.raises(ValueError, match="3 personas"):
        find_share_interval(np.array([0.2, 0.5]))


def test_a_certain_share_has_no_width() -> None:
    low, high = find_share_interval(np.zeros(3))

    assert (float(low), float(high)) == (0, 0)


def test_a_score_is_cut_at_the_ends_of_its_scale() -> None:
    low, high = find_mean_interval(np.array([-100.0, 90, 100]), -100, 100)

    assert (float(low), float(high)) == (-100, 100)
    assert to_mean_interval(find_spread(np.array([-100.0, 90, 100]), np.ones(3)), -100, 100) == (-100, 100)


def test_a_persona_without_weight_does_not_count() -> None:
    with_it = find_spread(np.array([0.2, 0.9, 0.5, 0.4]), np.array([1.0, 0, 1, 1]))

    assert with_it == find_spread(np.array([0.2, 0.5, 0.4]), np.ones(3))


def test_the_jackknife_of_a_mean_is_the_spread_of_personas() -> None:
    values, weights = np.array([0.2, 0.5, 0.9, 0.4]), np.array([0.1, 0.2, 0.3, 0.4])
    without_one = np.array(
        [[np.delete(weights, at) @ np.delete(values, at) / np.delete(weights, at).sum()] for at in range(4)]
    )

    errors, freedom = find_jackknife_spread(np.array([weights @ values]), without_one, weights)

    assert errors == pytest.approx([find_spread(values, weights).error])
    assert freedom == 3


def test_wordings_without_an_effect_leave_the_spread_of_personas() -> None:
    values = np.repeat(np.array([[0.2], [0.5], [0.7]]), 3, axis=1)

    spread = find_wording_spread(values, np.ones(3))

    assert spread.error == pytest.approx(find_spread(values[:, 0], np.ones(3)).error)
    assert spread.freedom == pytest.approx(2)


def test_the_interval_of_wordings_covers_an_effect_that_all_personas_share() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(2000):
        values = (
            10 + random.normal(0, 1, (5, 1)) + random.normal(0, 1, (1, 5)) + random.normal(0, 0.5, (5, 5))
        )
        low, high = to_mean_interval(find_wording_spread(values, np.ones(5)), 0, 20)
        covered += low <= 10 <= high

    assert 0.93 <= covered / 2000 <= 0.98


def test_an_interval_that_is_cut_by_the_scale_can_be_encoded() -> None:
    """Scales come from arrays. Their ends are numbers of numpy, which JSON encoders refuse."""
    low, high = np.array([1.0, 5.0])

    cut = to_mean_interval(Spread(3.0, 10.0, 2.0), low, high)

    assert [type(end) for end in cut] == [float, float]
    assert cut == (1.0, 5.0)
