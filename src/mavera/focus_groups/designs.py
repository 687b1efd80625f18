"""
Design the sets of a MaxDiff and the tasks of a conjoint, and shuffle orders.

    list_sets(study, question)    sets of item numbers: items, pairs and places as equally often as possible
    list_tasks(study, question)   tasks of alternatives of level numbers: coordinate exchange, D-criterion
    compute_d_error               how precisely the tasks tell the effects apart; smaller is better
    shuffle_order                 an order in which fixed entries keep their places

A design depends only on the shape of its question. It does not depend on the seed, so that a copy with
another seed asks for the same cells, nor on the machine. All personas see the same design.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mavera.focus_groups.study import Conjoint, MaxDiff, Study

Sets = tuple[tuple[int, ...], ...]
Tasks = tuple[tuple[tuple[int, ...], ...], ...]

# Each item is shown this often if the file does not name the number of sets.
_SHOWN = 3
_SETS_MIN = 4
_SWAPS = 3_000
_PASSES = 6
# The approximate number of determinants computed for a design, over all its starts.
_EVALUATIONS = 10_000
_STARTS = 8
# A smaller gain is a rounding error, which differs between machines.
_GAIN = 1e-7


def list_sets(study: Study, question: MaxDiff) -> Sets:
    """Return the sets of a MaxDiff question, each with the numbers of its items in the order to show."""
    items, size = len(question.items), question.per_set
    return _design_sets(items, size, question.sets or max(_SETS_MIN, -(-_SHOWN * items // size)))


def list_tasks(study: Study, question: Conjoint) -> Tasks:
    """Return the tasks of a conjoint, without "none": for each alternative, a level number by attribute."""
    levels = tuple(len(attribute.levels) for attribute in question.attributes)
    return _design_tasks(levels, question.tasks, question.alternatives, question.none)


def shuffle_order(is_fixed: Sequence[bool], generator: np.random.Generator) -> tuple[int, ...]:
    """Return the numbers of the entries in random order. Fixed entries keep their places."""
    moving = [n for n, fixed in enumerate(is_fixed) if not fixed]
    shuffled = iter(generator.permutation(moving).tolist())
    return tuple(n if fixed else next(shuffled) for n, fixed in enumerate(is_fixed))


# MaxDiff


@lru_cache(maxsize=256)
def _design_sets(items: int, size: int, sets: int) -> Sets:
    generator = np.random.default_rng([items, size, sets])
    members = _fill_sets(items, size, sets, generator)
    _balance_pairs(members, items, generator)
    return _balance_places(members, items)


def _fill_sets(items: int, size: int, sets: int, generator: np.random.Generator) -> list[list[int]]:
    """Fill sets with the items shown least often. Ties go to the items that met the others least often."""
    shown = np.zeros(items)
    met = np.zeros((items, items))
    members: list[list[int]] = []
    for _ in range(sets):
        chosen: list[int] = []
        for _ in range(size):
            score = shown * 1_000 + met[:, chosen].sum(axis=1) + generator.random(items) / 2
            score[chosen] = np.inf
            chosen.append(int(np.argmin(score)))
        shown[chosen] += 1
        met[np.ix_(chosen, chosen)] += 1
        members.append(chosen)
    return members


def _balance_pairs(members: list[list[int]], items: int, generator: np.random.Generator) -> None:
    """Exchange items between sets while this lowers the sum of squares of the pair counts."""
    met = np.zeros((items, items), dtype=np.int64)
    for chosen in members:
        met[np.ix_(chosen, chosen)] += 1
    size = len(members[0])
    draws = generator.integers([len(members), len(members), size, size], size=(_SWAPS, 4))
    for one, other, i, j in draws.tolist():
        a, b = members[one][i], members[other][j]
        if a in members[other] or b in members[one]:
            continue
        left = [item for item in members[one] if item != a]
        right = [item for item in members[other] if item != b]
        change = (
            (met[b, left] - met[a, left]).sum()
            + (met[a, right] - met[b, right]).sum()
            + len(left)
            + len(right)
        )
        if change < 0:
            for item, lost, gained in (*((x, a, b) for x in left), *((x, b, a) for x in right)):
                met[item, lost] -= 1
                met[lost, item] -= 1
                met[item, gained] += 1
                met[gained, item] += 1
            members[one][i], members[other][j] = b, a


def _balance_places(members: list[list[int]], items: int) -> Sets:
    """Order the items of each set so that each item stands at each place about equally often."""
    stood = np.zeros((items, len(members[0])))
    found = []
    for chosen in members:
        ordered = sorted(chosen)
        rows, places = linear_sum_assignment(stood[ordered] ** 2 + stood[ordered])
        stood[np.array(ordered)[rows], places] += 1
        found.append(tuple(ordered[row] for row in rows[np.argsort(places)]))
    return tuple(found)


# Conjoint


@lru_cache(maxsize=256)
def _design_tasks(levels: tuple[int, ...], tasks: int, alternatives: int, has_none: bool) -> Tasks:
    generator = np.random.default_rng([*levels, tasks, alternatives, has_none])
    blocks = [_code_effects(count) for count in levels]
    cost = tasks * alternatives * sum(levels)
    best: NDArray[np.int64] | None = None
    least = np.inf
    for _ in range(max(1, min(_STARTS, _EVALUATIONS // cost))):
        design = np.stack([_draw_task(levels, alternatives, generator) for _ in range(tasks)])
        error = _exchange_coordinates(design, blocks, has_none)
        if error < least * (1 - _GAIN) or best is None:
            best, least = design, error
    assert best is not None  # noqa: S101 - there is at least one start
    _replace_twins(best, levels, generator)
    return tuple(tuple(map(tuple, task)) for task in best.tolist())


def _draw_task(levels: Sequence[int], alternatives: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the levels of alternatives that overlap as little as possible."""
    columns = []
    for count in levels:
        rounds = -(-alternatives // count)
        column = np.concatenate([generator.permutation(count) for _ in range(rounds)])
        columns.append(column[:alternatives])
    return np.stack(columns, axis=1)


def _code_effects(count: int) -> NDArray[np.float64]:
    return np.vstack([np.eye(count - 1), -np.ones(count - 1)])


def _code_task(
    task: NDArray[np.int64], blocks: Sequence[NDArray[np.float64]], has_none: bool
) -> NDArray[np.float64]:
    """Return the coded rows of a task, with a row for "none" if the question offers it."""
    rows = np.hstack([block[task[:, n]] for n, block in enumerate(blocks)])
    if has_none:
        rows = np.pad(rows, ((0, 1), (0, 1)))
        rows[-1, -1] = 1
    return rows


def _measure(rows: NDArray[np.float64]) -> NDArray[Any]:
    """Return the information of coded rows about their effects if all alternatives are equally likely."""
    centred = rows - rows.mean(axis=-2, keepdims=True)
    return np.asarray(centred.swapaxes(-1, -2) @ centred / rows.shape[-2])


def _exchange_coordinates(
    design: NDArray[np.int64], blocks: Sequence[NDArray[np.float64]], has_none: bool
) -> float:
    """Change one level of one alternative at a time while the D-error falls. Return the error."""
    coded = [_code_task(task, blocks, has_none) for task in design]
    starts = np.cumsum([0, *(block.shape[1] for block in blocks)])
    # A ridge, so that a design that cannot tell all effects apart can still be improved.
    information = sum(_measure(rows) for rows in coded) + np.eye(coded[0].shape[1]) * 1e-6
    for _ in range(_PASSES):
        has_changed = False
        for task, rows in zip(design, coded, strict=True):
            others = information - _measure(rows)
            # The determinant with a task is the determinant of the others times a small one.
            inverse = np.linalg.inv(others)
            known = _gauge(rows[None], inverse)[0]
            for place in np.ndindex(task.shape):
                alternative, attribute = place
                block = blocks[attribute]
                trials = np.repeat(rows[None], len(block), axis=0)
                trials[:, alternative, starts[attribute] : starts[attribute + 1]] = block
                logs = _gauge(trials, inverse)
                chosen = int(np.flatnonzero(logs >= logs.max() - _GAIN)[0])
                if logs[chosen] > known + _GAIN:
                    task[place], known, has_changed = chosen, logs[chosen], True
                    rows[:] = trials[chosen]
            information = others + _measure(rows)
        if not has_changed:
            break
    return float(np.exp(-np.linalg.slogdet(information)[1] / len(information)))


def _gauge(trials: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[Any]:
    """Return the logarithm by which each trial of a task raises the determinant of the other tasks."""
    centred = (trials - trials.mean(axis=1, keepdims=True)) / np.sqrt(trials.shape[1])
    small = centred @ inverse @ centred.swapaxes(1, 2)
    return np.asarray(np.linalg.slogdet(np.eye(trials.shape[1]) + small)[1])


def _replace_twins(design: NDArray[np.int64], levels: Sequence[int], generator: np.random.Generator) -> None:
    """Change a level of each alternative that repeats another alternative of its task."""
    for task in design:
        while len(np.unique(task, axis=0)) < len(task):
            pairs = combinations(range(len(task)), 2)
            second = next(b for a, b in pairs if (task[a] == task[b]).all())
            attribute = int(generator.integers(len(levels)))
            task[second, attribute] = generator.integers(levels[attribute])


def compute_d_error(question: Conjoint, tasks: Tasks) -> float:
    """Return det(information)^(−1/effects) for one answer to each task, all alternatives equally likely."""
    blocks = [_code_effects(len(attribute.levels)) for attribute in question.attributes]
    coded = [_code_task(np.array(task), blocks, question.none) for task in tasks]
    sign, log = np.linalg.slogdet(sum(_measure(rows) for rows in coded))
    return float(np.exp(-log / coded[0].shape[1])) if sign > 0 else float("inf")
