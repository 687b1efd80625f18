"""Choice models: against statsmodels and choix run to convergence, a public conjoint, and planted worths."""

import itertools

import choix
import numpy as np
import pytest
from scipy.special import softmax
from statsmodels.discrete.conditional_models import ConditionalLogit

from mavera.focus_groups.choice_models import (
    NotIdentified,
    count_maxdiff,
    find_first_places,
    find_mean_ranks,
    find_reach,
    find_willingness_to_pay,
    fit_conditional_logit,
    fit_maxdiff,
    fit_rankings,
    measure_importance,
    simulate_shares,
)
from mavera.focus_groups.mixtures import Floats


def _choose(designs: Floats, worths: Floats, seed: int) -> Floats:
    """Draw one choice for each set, as shares of 0 and 1."""
    random = np.random.default_rng(seed)
    utilities = designs @ worths + random.gumbel(size=designs.shape[:2])
    chosen: Floats = np.eye(designs.shape[1])[utilities.argmax(axis=1)]
    return chosen


def _fit_by_statsmodels(designs: Floats, choices: Floats) -> tuple[Floats, Floats]:
    """Run statsmodels until it moves no more. Its defaults stop 1e-4 short of the maximum."""
    groups = np.repeat(np.arange(len(designs)), designs.shape[1])
    model = ConditionalLogit(choices.ravel(), designs.reshape(-1, designs.shape[2]), groups=groups)
    result = model.fit(method="newton", start_params=np.zeros(designs.shape[2]), tol=1e-12, disp=False)
    return np.asarray(result.params), np.asarray(result.bse)


def test_the_conditional_logit_agrees_with_statsmodels() -> None:
    designs = np.random.default_rng(1).normal(size=(60, 3, 3))
    choices = _choose(designs, np.array([0.5, -1.0, 0.3]), 2)

    fit = fit_conditional_logit(designs, choices)

    parameters, errors = _fit_by_statsmodels(designs, choices)
    assert fit.parameters == pytest.approx(parameters, abs=1e-6)
    assert fit.errors == pytest.approx(errors, abs=1e-5)


def test_expected_shares_give_the_planted_worths_back() -> None:
    designs = np.random.default_rng(3).normal(size=(10, 3, 4))
    planted = np.array([0.8, -0.4, 0.1, -1.2])

    for weight in (0.05, 1.0, 2000.0):
        fit = fit_conditional_logit(designs, weight * softmax(designs @ planted, axis=1))
        assert fit.parameters == pytest.approx(planted, abs=1e-9)


def test_200_respondents_give_the_planted_worths_back() -> None:
    designs = np.random.default_rng(4).normal(size=(10, 3, 6))
    planted = np.array([0.8, -0.4, 0.1, -1.2, 0.5, 0.0])
    many = np.tile(designs, (200, 1, 1))

    fit = fit_conditional_logit(many, _choose(many, planted, 5))

    assert np.corrcoef(fit.parameters, planted)[0, 1] >= 0.95


def test_an_alternative_that_a_set_lacks_counts_for_nothing() -> None:
    designs = np.random.default_rng(5).normal(size=(30, 3, 2))
    designs[:10, 2] = np.nan
    planted = np.array([1.0, -0.5])
    utilities = np.where(np.isnan(designs).any(axis=2), -np.inf, np.nan_to_num(designs) @ planted)

    fit = fit_conditional_logit(designs, softmax(utilities, axis=1))

    assert fit.parameters == pytest.approx(planted, abs=1e-9)


def test_a_design_that_leaves_a_worth_open_is_refused() -> None:
    designs = np.random.default_rng(6).normal(size=(10, 2, 2))
    designs[:, :, 1] = 1.0

    with pytest.raises(NotIdentified, match="do not determine"):
        fit_conditional_logit(designs, np.full((10, 2), 0.5))


def test_certain_choices_are_refused() -> None:
    designs = np.array([[[1.0], [0.0]]] * 5)

    with pytest.raises(NotIdentified):
        fit_conditional_logit(designs, np.array([[1.0, 0.0]] * 5))


def test_maxdiff_agrees_with_a_conditional_logit_of_statsmodels() -> None:
    random = np.random.default_rng(7)
    sets = [list(random.permutation(6)[:4]) for _ in range(80)]
    worths = np.array([1.0, 0.5, 0.2, -0.2, -0.5, -1.0])
    codes = np.vstack([np.eye(5), -np.ones(5)])
    designs = codes[np.array(sets)]
    best, worst = _choose(designs, worths[:5], 8), _choose(-designs, worths[:5], 9)

    fit = fit_maxdiff(sets, best, worst, 6)

    stacked = np.concatenate([designs, -designs])
    parameters, _ = _fit_by_statsmodels(stacked, np.concatenate([best, worst]))
    assert fit.parameters[:5] == pytest.approx(parameters, abs=1e-6)
    assert fit.parameters.sum() == pytest.approx(0, abs=1e-12)


def test_counts_of_maxdiff_are_shares_of_the_times_shown() -> None:
    best, worst, difference = count_maxdiff([[0, 1], [0, 2]], np.eye(2), np.eye(2)[::-1], 3)

    assert best == pytest.approx([0.5, 0, 1])
    assert worst == pytest.approx([0.5, 1, 0])
    assert difference == pytest.approx([0, -1, 1])


def test_unconnected_sets_of_maxdiff_are_refused() -> None:
    half = np.full((2, 2), 0.5)

    with pytest.raises(NotIdentified):
        fit_maxdiff([[0, 1], [2, 3]], half, half, 4)


def test_plackett_luce_agrees_with_the_likelihood_maximised_by_choix() -> None:
    random = np.random.default_rng(10)
    utilities = np.array([1.0, 0.3, 0.0, -0.8])
    rankings = [tuple(np.argsort(-(utilities + random.gumbel(size=4))).tolist()) for _ in range(80)]

    worths = fit_rankings(rankings, 4)

    reference = softmax(choix.opt_rankings(4, rankings, alpha=0.0, method="Newton-CG", tol=1e-12))
    assert worths == pytest.approx(reference, abs=1e-6)


def test_an_item_that_always_wins_has_no_worth() -> None:
    with pytest.raises(NotIdentified):
        fit_rankings([[0, 1, 2], [0, 2, 1]], 3)


def test_ranks_and_first_places_are_exact() -> None:
    worths = np.array([0.5, 0.3, 0.15, 0.05])
    chances = {
        order: float(
            np.prod([worths[item] / worths[list(order[at:])].sum() for at, item in enumerate(order)])
        )
        for order in itertools.permutations(range(4))
    }

    ranks = [sum(p * (order.index(item) + 1) for order, p in chances.items()) for item in range(4)]
    among_two = [sum(p for order, p in chances.items() if item in order[:2]) for item in range(4)]
    assert find_mean_ranks(worths) == pytest.approx(ranks)
    assert find_first_places(worths, 2) == pytest.approx(among_two)
    assert find_first_places(worths, 9) == pytest.approx(np.ones(4))


def test_importance_and_willingness_to_pay_follow_from_part_worths() -> None:
    assert measure_importance(np.array([1.0, 3.0])) == pytest.approx([0.25, 0.75])
    assert find_willingness_to_pay(np.array([0.2, 0.8]), -0.3) == pytest.approx([0, 2])
    assert find_willingness_to_pay(np.array([0.2, 0.8]), 0.1) is None


def test_the_share_simulator_is_a_logit() -> None:
    shares = simulate_shares(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([np.log(3), 0.0]))

    assert shares == pytest.approx([0.75, 0.25])


def test_reach_prefers_items_that_different_people_tick() -> None:
    ticks = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=bool)

    one, two, three = find_reach(ticks, np.ones(4), 5)

    assert (one.items, one.reach) == ((0,), 0.75)
    assert (two.items, two.reach, two.frequency) == ((0, 2), 1.0, 1.0)
    assert three.items == (0, 1, 2)
