"""Rectification: errors and coverage in simulation, useless predictions, and shares that keep their sum."""

import numpy as np
import pytest

from mavera.focus_groups.human import find_share_interval
from mavera.focus_groups.rectify import count_effective_people, rectify_means, tune_share

TRIALS = 4_000


def _simulate(people: int, correlation: float) -> tuple[float, float, float]:
    """Return the squared errors of the rectified and the plain mean, and the coverage of the interval."""
    random = np.random.default_rng(people)
    errors, plain, covered = [], [], 0
    for _ in range(TRIALS):
        predictions = random.normal(0, correlation, (people, 1))
        answers = predictions + random.normal(0, np.sqrt(1 - correlation**2), (people, 1))
        if correlation == 0:
            predictions = random.normal(0, 1, (people, 1))
        found = rectify_means(answers, predictions, np.zeros(1))
        errors.append(float(found.estimates[0]) ** 2)
        plain.append(float(found.people[0]) ** 2)
        covered += bool(found.low[0] <= 0 <= found.high[0])
    return float(np.mean(errors)), float(np.mean(plain)), covered / TRIALS


@pytest.mark.parametrize("people", [30, 100])
def test_useless_predictions_cost_at_most_5_per_cent(people: int) -> None:
    error, plain, coverage = _simulate(people, 0.0)

    assert error <= 1.05 * plain
    assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("people", [30, 100])
def test_predictions_with_a_correlation_of_one_half_save_15_per_cent(people: int) -> None:
    error, plain, coverage = _simulate(people, 0.5)

    assert error <= 0.85 * plain
    assert 0.93 <= coverage <= 0.97


def _cover_share(share: float, people: int, spread: float) -> float:
    """Return how often the interval of a share contains it. Predictions are chances around the share."""
    random = np.random.default_rng(people)
    strength = 1 / spread**2 - 1
    covered = 0
    for _ in range(TRIALS // 4):
        chances = random.beta(share * strength, (1 - share) * strength, people)
        answers = (random.random(people) < chances).astype(float)
        found = rectify_means(
            np.stack([answers, 1 - answers], axis=1),
            np.stack([chances, 1 - chances], axis=1),
            np.array([share, 1 - share]),
        )
        both = min(max(float(found.estimates[0]), 0.0), 1.0)
        low, high = find_share_interval(both, float(count_effective_people(found)[0]))
        covered += low <= share <= high
    return covered / (TRIALS // 4)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.4])
@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_intervals_of_rare_shares_hold_the_share(share: float, spread: float) -> None:
    assert 0.925 <= _cover_share(share, 30, spread) <= 0.985


def test_an_answer_that_nobody_gave_has_an_interval() -> None:
    answers = np.array([[0.0, 1.0]] * 30)
    predictions = np.linspace(0, 0.3, 30)

    found = rectify_means(answers, np.stack([predictions, 1 - predictions], axis=1), np.array([0.1, 0.9]))

    people = float(count_effective_people(found)[0])
    assert find_share_interval(0.0, people)[1] == pytest.approx(0.114, abs=0.01)


def test_perfect_predictions_of_a_few_people_are_not_taken_for_certain() -> None:
    answers = np.array([[1.0, 0.0]] * 15 + [[0.0, 1.0]] * 15)

    found = rectify_means(answers, answers, np.array([0.5, 0.5]))

    assert 30 < count_effective_people(found)[0] < 200


def test_without_predictions_the_people_stand_alone() -> None:
    answers = np.array([[1.0], [0], [1], [1]])

    found = rectify_means(answers, None, np.array([0.1]))

    assert found.share_of_simulation == 0
    assert found.estimates == found.people == pytest.approx([0.75])
    assert found.low == found.people_low


def test_predictions_that_are_the_same_for_everybody_add_nothing() -> None:
    assert tune_share(np.array([[1.0], [0.0], [1.0]]), np.full((3, 1), 0.4)) == 0


def test_a_contrary_prediction_is_cut_to_nothing_and_a_timid_one_to_one() -> None:
    answers = np.array([[0.0], [1.0], [2.0]])

    assert tune_share(answers, -answers) == 0
    assert tune_share(answers, answers / 10) == 1


def test_rectified_shares_sum_to_one() -> None:
    random = np.random.default_rng(1)
    answers = np.eye(3)[random.integers(0, 3, 40)]
    predictions = random.dirichlet(np.ones(3), 40) * 0.5 + answers * 0.5

    found = rectify_means(answers, predictions, np.full(3, 1 / 3))

    assert found.estimates.sum() == pytest.approx(1)
    assert 0 < found.share_of_simulation <= 1


def test_two_people_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 people"):
        rectify_means(np.ones((2, 1)), None, np.ones(1))
