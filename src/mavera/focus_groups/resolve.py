"""
Turn the raw reading of a cell into its corrected distribution. Pure.

    Reading + position priors  →  Elicited
    Elicited + sentence        →  Elicited, mixed with the rating of the sentence
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavera.focus_groups.choice_draws import settle_worst
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.positions import average_orders
from mavera.focus_groups.readings import PositionPrior, Read, Reading
from mavera.focus_groups.similarity import list_calibrated
from mavera.focus_groups.study import Conjoint, MaxDiff, MultipleChoice, OpenEnded, Question
from mavera.focus_groups.ticks import settle_ticks
from mavera.reading.anchors import to_shares

# A larger gap between two orders gets a flag. At this gap, the odds differ by a factor of 4.5.
LARGE_ORDER_GAP = 1.5
# The letters alone count, because the sentence of the cell failed.
SENTENCE_MISSING = "similarity_missing"


def resolve(
    cell: CellId, question: Question, reading: Reading, priors: Mapping[int, PositionPrior]
) -> Elicited:
    """Return the distribution in `reading`, in the shape that `elicited.py` lists."""
    if isinstance(question, OpenEnded):
        return Elicited(cell, np.empty(0), texts=tuple(read.text for read in reading.reads))
    parts = [(about, *average_orders(reads, priors)) for about, reads in _by_subject(reading.reads)]
    gaps = [gap for _, _, gap in parts if gap is not None]
    gap = max(gaps) if gaps else None
    flags = []
    if gap is not None and gap > LARGE_ORDER_GAP:
        flags.append(f"order_gap {gap:.2f}")
    if any(read.kind == "shares" for read in reading.reads):
        flags.append("read_as_shares")
    shares: NDArray[Any]
    match question:
        case MultipleChoice(multiple=True):
            ticked = np.array([share[0] for _, share, _ in parts])  # yes comes first
            settled = settle_ticks(question, ticked)
            shares = settled.shares
            flags += [f"{flag} {ticked.sum():.2f} to {shares.sum():.2f}" for flag in settled.flags]
        case MaxDiff():
            best, worst = (share for _, share, _ in parts)
            fitting, is_lowered = settle_worst(best, worst)
            shares = np.array([best, fitting])
            if is_lowered:
                flags.append(f"worst_lowered {worst.max():.2f} to {fitting.max():.2f}")
        case Conjoint() | _:
            shares = parts[0][1]
    return Elicited(cell, shares, gap, tuple(flags))


def mix_rating(found: Elicited, sentence: Read | None) -> Elicited:
    """
    Mix the shares by letters with the rating of a sentence. The shares of missing answers stay.

    Without a sentence, or without a calibration, the letters alone count, and the result has a flag.
    """
    calibrated = None if sentence is None else list_calibrated().get(len(sentence.cosines[0]))
    if sentence is None or calibrated is None:
        return replace(found, flags=(*found.flags, SENTENCE_MISSING))
    points, weight = calibrated.points, calibrated.weight
    rated = np.asarray(to_shares(np.array(sentence.cosines), calibrated.sharpness))
    shares = found.shares.copy()
    shares[:points] = (1 - weight) * shares[:points] + weight * shares[:points].sum() * rated
    return replace(found, shares=shares)


def merge_wordings(found: Sequence[Elicited]) -> Elicited:
    """Return one distribution for all wordings of a cell: their mean, and the distribution of each."""
    first = found[0]
    if len(found) == 1:
        return first
    gaps = [one.order_gap for one in found if one.order_gap is not None]
    return Elicited(
        first.cell,
        np.mean([one.shares for one in found], axis=0),
        max(gaps) if gaps else None,
        tuple(dict.fromkeys(flag for one in found for flag in one.flags)),
        tuple(text for one in found for text in one.texts),
        tuple(one.shares for one in found),
    )


def _by_subject(reads: Sequence[Read]) -> list[tuple[str, list[Read]]]:
    return [(about, list(group)) for about, group in groupby(reads, key=lambda read: read.about)]
