"""
Measure the places that a model prefers, and correct its reads for them.

    a dozen neutral lists × every rotation  →  PositionPrior (mean log-bias of each place)
    reads of a cell − prior, averaged over their orders as logarithms  →  shares

A neutral list has no right answer. If one place gets more than the others over all rotations, this is the
model's habit. The habit is measured once for each model, language and number of places (after PriDe,
arXiv 2309.03882). Without this correction, two orders cancel a habit for two answers only.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mavera.focus_groups.asks import LETTERS, Ask, Order, rotate_order
from mavera.focus_groups.phrases import phrases_of
from mavera.focus_groups.readings import PositionPrior, Read

NEUTRAL_ITEMS = 12
# Words for everyday things, in no order. Each neutral list is a run of these words from a different start.
_WORDS = [
    "lamp",
    "river",
    "window",
    "basket",
    "pencil",
    "garden",
    "bottle",
    "ladder",
    "pillow",
    "button",
    "candle",
    "mirror",
    "bucket",
    "carpet",
    "hammer",
    "ribbon",
    "saddle",
    "tunnel",
    "blanket",
    "feather",
    "kettle",
    "marble",
    "needle",
    "paddle",
]


def plan_prior(places: int, language: str) -> tuple[Ask, ...]:
    """Return the reads that measure a prior: 12 lists in each rotation."""
    phrases = phrases_of(language)
    return tuple(
        Ask(
            "letters",
            str(item),
            order,
            "\n".join(
                (
                    phrases.drawn_word,
                    *(
                        f"{LETTERS[place]}) {_WORDS[(2 * item + number) % len(_WORDS)]}"
                        for place, number in enumerate(order)
                    ),
                    phrases.by_letter,
                )
            ),
        )
        for item in range(NEUTRAL_ITEMS)
        for order in rotate_order(tuple(range(places)), [False] * places)
    )


def count_prior_reads(places: int) -> int:
    return NEUTRAL_ITEMS * places


def compute_prior(model: str, language: str, reads: Sequence[Read]) -> PositionPrior:
    """Return the prior in the reads of `plan_prior`, which put every answer once at each place."""
    logs = np.array([read.logprobs for read in reads])
    mean = (logs - logs.mean(axis=1, keepdims=True)).mean(axis=0)
    return PositionPrior(model, language, tuple(round(float(value), 6) for value in mean))


def digest_priors(priors: Mapping[int, PositionPrior]) -> str:
    """Return a short name of the priors that were applied."""
    rows = sorted((places, prior.version, prior.bias) for places, prior in priors.items())
    return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()[:16]


def average_orders(
    reads: Sequence[Read], priors: Mapping[int, PositionPrior]
) -> tuple[NDArray[Any], float | None]:
    """
    Return the shares of the answers, and the largest gap between two orders on the logit scale.

    `reads` are the reads of one list in several orders, or one read of shares. Each read is corrected by the
    prior for its number of places, if there is one. The gap is None for one order.
    """
    if reads[0].kind == "shares":
        return np.array(reads[0].shares), None
    by_answer = []
    for read in reads:
        corrected = np.array(read.logprobs)
        prior = priors.get(len(read.order))
        if prior is not None:
            corrected = corrected - np.array(prior.bias)
        by_answer.append(_to_answers(corrected, read.order))
    logs = np.array(by_answer)
    shares = _normalise(logs.mean(axis=0))
    if len(reads) < 2:
        return shares, None
    logits = np.array([_logit(_normalise(row)) for row in logs])
    return shares, float((logits.max(axis=0) - logits.min(axis=0)).max())


def _to_answers(values: NDArray[Any], order: Order) -> NDArray[Any]:
    answers = np.empty(len(order))
    answers[list(order)] = values
    return answers


def _normalise(logs: NDArray[Any]) -> NDArray[Any]:
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _logit(shares: NDArray[Any]) -> NDArray[Any]:
    kept = np.clip(shares, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(kept) - np.log1p(-kept))
