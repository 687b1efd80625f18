"""Nets of several answers: quadrature against simulation, and its limits."""

import numpy as np
import pytest
from scipy.special import ndtri

from mavera.focus_groups.assumed import REFERENCE_ROWS, build_reference_study, find_net
from tests.support.simulations import build_panel, build_study


def test_without_correlation_options_are_independent() -> None:
    assert find_net(np.array([0.5, 0.2]), 0.0) == pytest.approx(0.6)


def test_with_full_correlation_the_largest_option_is_the_net() -> None:
    assert find_net(np.array([0.5, 0.2]), 1.0) == 0.5


def test_the_net_agrees_with_a_simulation() -> None:
    random = np.random.default_rng(1)
    shares = np.array([0.5, 0.2, 0.35])
    factor = random.normal(size=(400_000, 1))
    scores = np.sqrt(0.3) * factor + np.sqrt(0.7) * random.normal(size=(400_000, 3))

    assert find_net(shares, 0.3) == pytest.approx((scores > ndtri(1 - shares)).any(axis=1).mean(), abs=0.003)


def test_certain_options_have_a_certain_net() -> None:
    assert find_net(np.array([[0.0, 0.0], [1.0, 0.0]]), 0.3) == pytest.approx([0, 1])


def test_the_reference_study_does_not_depend_on_the_size() -> None:
    small, large = build_study(size=20), build_study(size=2000)

    first, panel = build_reference_study(small, build_panel(small))
    second, _ = build_reference_study(large, build_panel(large))

    assert first == second
    assert first.sample.size == REFERENCE_ROWS * len(panel)
    assert first.sample.weights == {}
