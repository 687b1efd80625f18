"""Raking: against weightipy run to convergence, from given weights, and targets that cannot be met."""

import numpy as np
import pandas as pd
import pytest
import weightipy

from mavera.focus_groups.raking import RakingError, measure_efficiency, rake_weights


def test_weights_agree_with_weightipy_run_to_convergence() -> None:
    random = np.random.default_rng(5)
    ages = random.choice(["18-34", "35-54", "55+"], 400, p=[0.5, 0.3, 0.2])
    regions = random.choice(["north", "south"], 400, p=[0.7, 0.3])
    targets = {"age": {"18-34": 30.0, "35-54": 35.0, "55+": 35.0}, "region": {"north": 45.0, "south": 55.0}}

    ours = rake_weights({"age": list(ages), "region": list(regions)}, targets)

    frame = pd.DataFrame({"age": ages, "region": regions})
    scheme = weightipy.scheme_from_dict(targets, rim_params={"convcrit": 1e-14, "max_iterations": 100_000})
    theirs = weightipy.weight(frame, scheme).to_numpy()
    assert ours.weights == pytest.approx(theirs, abs=1e-6)
    assert ours.weights[ages == "55+"].sum() == pytest.approx(140)
    assert ours.efficiency == pytest.approx(measure_efficiency(theirs))


def test_raking_starts_from_the_given_weights() -> None:
    raked = rake_weights({"age": ["a", "a", "b"]}, {"age": {"a": 0.5, "b": 0.5}}, np.array([1.0, 3, 4]))

    assert raked.weights == pytest.approx([1, 3, 4])


@pytest.mark.parametrize(
    ("attributes", "targets", "message"),
    [
        ({"age": ["a"]}, {"town": {"a": 1.0}}, "no persona has the attribute 'town'"),
        ({"age": ["a", "b"]}, {"age": {"a": 1.0}}, "no target for 'b'"),
        ({"age": ["a"]}, {"age": {"a": 1.0, "b": 1.0}}, "nobody has age 'b'"),
        ({"age": ["a", "b"]}, {"age": {"a": -1.0, "b": 2.0}}, "not positive"),
        (
            {"age": ["a", "b"], "town": ["x", "y"]},
            {"age": {"a": 50.0, "b": 50.0}, "town": {"x": 10.0, "y": 90.0}},
            "contradict",
        ),
    ],
)
def test_targets_that_cannot_be_reached_are_named(
    attributes: dict[str, list[str]], targets: dict[str, dict[str, float]], message: str
) -> None:
    with pytest.raises(RakingError, match=message):
        rake_weights(attributes, targets)
