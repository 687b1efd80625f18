"""
Define the corrected distributions, from which results, tables and draws are computed.

    cell (question, part, persona, arm, condition)  →  Elicited: shares, order gap, flags, texts

The shape of `shares` depends on the type of the question:

    one answer, scales, nps, slider   a probability for each of `scale_of(question).answers`; the sum is 1
    matrix                            the same, in a cell for each row (`part` is the row's id)
    several answers                   a probability for each option, in the order of the file
    ranking                           Plackett–Luce worths of the items; the sum is 1
    maxdiff                           (2, items of the set): best and worst, each with the sum 1
    conjoint                          a probability for each alternative, "none" last
    open_ended                        empty; `texts` has the verbatims

A set of maxdiff and a task of conjoint is a cell of its own, and `part` is its number, from "1".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CellId:
    """
    Names a distribution.

    `part` is a matrix row, or the number of a MaxDiff set or of a conjoint task. `persona` is None for the
    baseline without a persona. `arm` is None if the study has no cells. `condition` is the key of a
    condition, and "" if the question is asked of everybody in the same way.
    """

    question: str
    part: str | None
    persona: str | None
    arm: str | None
    condition: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Elicited:
    """
    The distribution of a cell.

    `order_gap` is the largest difference of a share between the two orders, on the logit scale. It is None if
    there was only one order. With several wordings, `shares` is their mean, and `by_wording` has the
    distribution of each.
    """

    cell: CellId
    shares: NDArray[Any]
    order_gap: float | None = None
    flags: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    by_wording: tuple[NDArray[Any], ...] = ()


Book = Mapping[CellId, Elicited]
# The cells without an answer, with the reason. No Book has them.
Failures = Mapping[CellId, str]
