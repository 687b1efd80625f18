"""
Draw questions with several answers. No row has more than `max`, or an exclusive option beside another.

    elicited probabilities  →  settle_ticks  →  probabilities that such rows can have
    whole counts and scores →  place_ticks   →  a row of ticks for each respondent
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from mavera.focus_groups.study import MultipleChoice

Floats = NDArray[np.float64]

EXCLUSIVE_LOWERED = "exclusive_lowered"
MAX_APPLIED = "max_applied"

# If a pass over all options leaves more than this share of the excess, there is no further pass.
_LITTLE_PROGRESS = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Probabilities that rows can have, and flags for the changes."""

    shares: Floats
    flags: tuple[str, ...] = ()


def settle_ticks(question: MultipleChoice, shares: Floats) -> Settled:
    """
    Return the probabilities of the options, changed as little as the question's rules need.

    Exclusive options are lowered until the likeliest other option fits beside them. If the others add up to
    more than `max` for those who tick any, one constant is subtracted from all their log-odds.
    """
    is_exclusive = np.array([option.exclusive for option in question.options])
    found = np.clip(np.asarray(shares, dtype=np.float64), 0.0, 1.0)
    flags = []
    alone = found[is_exclusive].sum()
    room = 1 - found[~is_exclusive].max(initial=0.0)
    if alone > room + 1e-12:
        found[is_exclusive] *= room / alone
        flags.append(EXCLUSIVE_LOWERED)
    most = question.max if question.max is not None else int((~is_exclusive).sum())
    limit = most * (1 - found[is_exclusive].sum())
    if found[~is_exclusive].sum() > limit + 1e-9:
        found[~is_exclusive] = _lower(found[~is_exclusive], float(limit))
        flags.append(MAX_APPLIED)
    return Settled(found, tuple(flags))


def _lower(shares: Floats, limit: float) -> Floats:
    """Subtract one constant from all log-odds, so that the probabilities add up to `limit`."""
    if limit <= 0:
        return np.zeros_like(shares)
    logits = logit(np.clip(shares, 1e-12, 1 - 1e-12))
    constant = brentq(lambda c: expit(logits - c).sum() - limit, 0.0, 100.0, xtol=1e-12)
    return np.asarray(expit(logits - constant))


def place_ticks(
    counts: NDArray[np.int64], scores: Floats, is_exclusive: NDArray[np.bool_], most: int
) -> NDArray[np.bool_]:
    """
    Return the ticks of the rows of one group, (rows, options). Option j is ticked in `counts[j]` rows.

    `scores` has a column for each option. The rows with the lowest tick scores get the exclusive options.
    """
    ticks = np.zeros(scores.shape, dtype=bool)
    alone = np.argsort(scores.mean(axis=1), kind="stable")[: int(counts[is_exclusive].sum())]
    start = 0
    for option in np.flatnonzero(is_exclusive):
        ticks[alone[start : start + counts[option]], option] = True
        start += counts[option]
    free = np.ones(len(scores), dtype=bool)
    free[alone] = False
    rows = np.flatnonzero(free)
    for option in np.flatnonzero(~is_exclusive):
        order = np.argsort(-scores[rows, option], kind="stable")
        ticks[rows[order[: counts[option]]], option] = True
    options = np.flatnonzero(~is_exclusive)
    block = ticks[np.ix_(rows, options)]
    _move_ticks(block, scores[np.ix_(rows, options)], most)
    ticks[np.ix_(rows, options)] = block
    return ticks


def _move_ticks(ticks: NDArray[np.bool_], scores: Floats, most: int) -> None:
    """
    Move ticks from rows with more than `most` to rows with room, each to the row whose score loses least.

    The ticks of an option are moved together, because one sort serves them all. Ticks that find no place in
    this way are moved one by one.
    """
    sums = ticks.sum(axis=1)
    excess = _count_excess(sums, most)
    while excess:
        for option in range(ticks.shape[1]):
            _move_option(ticks, scores, sums, option, most)
        before, excess = excess, _count_excess(sums, most)
        if excess > _LITTLE_PROGRESS * before:
            break
    for _ in range(excess):
        _move_any(ticks, scores, sums, most)


def _count_excess(sums: NDArray[np.int64], most: int) -> int:
    return int((sums - most).clip(0).sum())


def _move_option(
    ticks: NDArray[np.bool_], scores: Floats, sums: NDArray[np.int64], option: int, most: int
) -> None:
    """Move the ticks of one option out of the rows in which it is the weakest ticked option."""
    over = np.flatnonzero((sums > most) & ticks[:, option])
    if not len(over):
        return
    ranked = np.where(ticks[over], scores[over], np.inf)
    givers = over[ranked.argmin(axis=1) == option]
    takers = np.flatnonzero((sums < most) & ~ticks[:, option])
    number = min(len(givers), len(takers))
    givers = givers[np.argsort(scores[givers, option], kind="stable")[:number]]
    takers = takers[np.argsort(-scores[takers, option], kind="stable")[:number]]
    ticks[givers, option], ticks[takers, option] = False, True
    sums[givers] -= 1
    sums[takers] += 1


def _move_any(ticks: NDArray[np.bool_], scores: Floats, sums: NDArray[np.int64], most: int) -> None:
    """Move a tick from a full row to a row with room. The full row has more ticks, so such a tick exists."""
    giver, taker = int(np.argmax(sums)), int(np.argmin(sums))
    if sums[taker] >= most:
        raise ValueError("The counts do not fit into the rows.")
    gain = np.where(ticks[giver] & ~ticks[taker], scores[taker] - scores[giver], -np.inf)
    option = int(np.argmax(gain))
    ticks[giver, option], ticks[taker, option] = False, True
    sums[giver] -= 1
    sums[taker] += 1
