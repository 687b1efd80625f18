"""
Allocate respondents to personas and arms.

    weights, quotas          →  share_sample           →  the expected share of each persona
    × probability to pass    →  allocate_completes     →  whole completes for each persona and arm
    ÷ probability to pass    →  allocate_interviews    →  the interviews that lead to them

A persona that the screeners stop more often has fewer completes, unless there are quotas. The replacement of
a screened-out respondent may belong to any persona.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from mavera.focus_groups.panel import Panel
from mavera.focus_groups.panel_checks import find_members
from mavera.focus_groups.raking import RakingError, rake_weights
from mavera.focus_groups.rounding import Counts, Sum, Table, round_sum, round_table
from mavera.focus_groups.study import Study

Floats = NDArray[np.float64]

INTERVIEWS_MAX = 200_000


def share_sample(study: Study, panel: Panel) -> Floats:
    """
    Return the expected share of each persona in the sample: its weight, moved as little as the quotas need.

    Raises RakingError if the quotas contradict each other.
    """
    weights = np.array([one.weight for one in panel])
    weights = np.asarray(weights / weights.sum())
    if not study.sample.quotas:
        return weights
    attributes: dict[str, list[str]] = {}
    targets: dict[str, dict[str, float]] = {}
    for number, quota in enumerate(study.sample.quotas, 1):
        name = f"quota {number}"
        attributes[name] = ["in" if fits else "out" for fits in find_members(panel, quota.where)]
        sizes = {"in": float(quota.size), "out": float(study.sample.size - quota.size)}
        targets[name] = {key: size for key, size in sizes.items() if key in attributes[name] or size > 0}
    try:
        return np.asarray(rake_weights(attributes, targets, weights).weights)
    except RakingError:
        # Raking meets quotas that leave a persona without respondents only in the limit.
        return _move_least(study, panel, weights)


def _move_least(study: Study, panel: Panel, weights: Floats) -> Floats:
    """Return the shares that meet the quotas with the smallest changes. Raises RakingError if none do."""
    personas = len(panel)
    members = [find_members(panel, quota.where) for quota in study.sample.quotas]
    rows = np.array([*members, np.ones(personas, dtype=bool)], dtype=float)
    sizes = np.array([*(quota.size for quota in study.sample.quotas), study.sample.size], dtype=float)
    # Shares, then how far each is above and below its weight.
    found = linprog(
        np.repeat([0.0, 1.0, 1.0], personas),
        A_eq=np.block(
            [
                [rows, np.zeros((len(rows), 2 * personas))],
                [np.eye(personas), -np.eye(personas), np.eye(personas)],
            ]
        ),
        b_eq=np.concatenate([sizes / study.sample.size, weights]),
        bounds=(0, None),
    )
    if found.x is None:
        raise RakingError("the quotas contradict each other: no sample meets all of them")
    return np.asarray(found.x[:personas])


def allocate_completes(
    study: Study, panel: Panel, passing: Floats, generator: np.random.Generator
) -> tuple[Counts, Floats]:
    """
    Return whole and expected completes, both (personas, arms). All are 0 if nobody can pass.

    `passing` has the probability that a persona in an arm passes the screeners.
    """
    arms = passing.shape[1]
    expected = np.repeat(share_sample(study, panel)[:, None] / arms, arms, axis=1)
    expected = expected * (passing > 0 if study.sample.quotas else passing)
    total = float(expected.sum())
    if total <= 0:
        return np.zeros(expected.shape, dtype=np.int64), expected
    expected = np.asarray(expected * (study.sample.size / total))
    numbers = np.arange(expected.size).reshape(expected.shape)
    table = Table(expected)
    size = float(study.sample.size)
    table.layers.append([Sum(numbers.ravel().tolist(), size, size)])
    if study.sample.quotas:
        table.slack = study.sample.size
        table.layers.append(
            [
                Sum(
                    numbers[find_members(panel, quota.where)].ravel().tolist(),
                    float(quota.size),
                    float(quota.size),
                )
                for quota in study.sample.quotas
            ]
        )
    table.add_layer([row.tolist() for row in numbers])
    table.add_layer([column.tolist() for column in numbers.T])
    return round_table(table, generator), expected


def allocate_interviews(study: Study, panel: Panel, passing: Floats, completes: Floats) -> Counts:
    """
    Return the number of interviews that lead to the expected `completes`, by persona and arm.

    It includes screened-out interviews. The sum is at most INTERVIEWS_MAX.
    """
    if study.sample.quotas:
        begun = np.divide(completes, passing, out=np.zeros_like(completes), where=passing > 0)
    else:
        arms = passing.shape[1]
        shares = np.repeat(share_sample(study, panel)[:, None] / arms, arms, axis=1)
        chance = float((shares * passing).sum())
        begun = shares * (study.sample.size / chance if chance > 0 else study.sample.size)
    total = min(round(float(begun.sum())), INTERVIEWS_MAX)
    return round_sum(begun, total) if total else np.zeros(begun.shape, dtype=np.int64)
