"""
Compute how far an estimate would move with other personas, and with other wordings.

    p̂   = Σ w p                           the estimate, with weights that sum to 1
    s²  = Σ w (p − p̂)² / (1 − Σ w²)        the variance between personas
    SE  = √(s² Σ w²)
    logit(p̂) ± t(m − 1) · SE / (p̂ (1 − p̂))   a share, transformed back
    p̂ ± t(m − 1) · SE                      a score or a mean, cut at the ends of its scale

This is the *simulation interval*. It is not a margin of error, because personas are chosen and not drawn. It
does not depend on the number of respondents. `find_share_interval` and `find_mean_interval` accept leading
axes, so that a simulation can check their coverage in one call.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtrit

from mavera.focus_groups.mixtures import Floats

FEWEST_PERSONAS = 3
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard error of an estimate, and its degrees of freedom."""

    estimate: float
    error: float
    freedom: float


def find_share_interval(
    shares: Floats, weights: Floats | None = None, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """
    Return the ends of the simulation interval of a share. The last axis of `shares` is the persona.

    If a share is 0 or 1 in every persona, its interval has no width. Raises ValueError with fewer than
    three personas.
    """
    estimate, error, freedom = _spread_of_personas(shares, weights)
    half_width = stdtrit(freedom, (1 + level) / 2) * error
    return _transform_share(estimate, half_width)


def find_mean_interval(
    values: Floats, low: float, high: float, weights: Floats | None = None, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """
    Return the ends of the simulation interval of a mean or a score, cut at `low` and `high`.

    Raises ValueError with fewer than three personas.
    """
    estimate, error, freedom = _spread_of_personas(values, weights)
    half_width = stdtrit(freedom, (1 + level) / 2) * error
    return np.clip(estimate - half_width, low, high), np.clip(estimate + half_width, low, high)


def find_spread(values: Floats, weights: Floats) -> Spread:
    """Return the spread between personas. Personas without weight do not count."""
    kept = weights > 0
    estimate, error, freedom = _spread_of_personas(values[kept], weights[kept])
    return Spread(float(estimate), float(error), float(freedom))


def find_wording_spread(values: Floats, weights: Floats) -> Spread:
    """
    Return the spread between personas and wordings of `values` with the shape (personas, wordings).

    The variance of the estimate is s²(personas) + s²(wordings) − s²(interaction), but at least the larger of
    the first two. The degrees of freedom are Satterthwaite's. Raises ValueError with fewer than three
    personas or fewer than two wordings.
    """
    kept = weights > 0
    values, weights = values[kept], weights[kept] / weights[kept].sum()
    personas, wordings = values.shape
    if wordings < 2:
        raise ValueError("a spread of wordings needs two wordings or more")
    by_persona, by_wording = values.mean(axis=1), weights @ values
    estimate, persona_error, persona_freedom = _spread_of_personas(by_persona, weights)
    of_personas = float(persona_error) ** 2
    of_wordings = float(by_wording.var(ddof=1)) / wordings
    rest = values - by_persona[:, None] - by_wording[None, :] + float(estimate)
    squares = float(weights @ (rest**2).sum(axis=1)) / (wordings - 1)
    concentration = float((weights**2).sum())
    of_both = squares / (1 - concentration) * concentration / wordings
    variance = max(of_personas + of_wordings - of_both, of_personas, of_wordings)
    parts = (
        of_personas**2 / float(persona_freedom)
        + of_wordings**2 / (wordings - 1)
        + of_both**2 / ((personas - 1) * (wordings - 1))
    )
    freedom = variance**2 / parts if parts > 0 else float(personas + wordings - 2)
    return Spread(float(estimate), variance**0.5, max(1.0, freedom))


def to_share_interval(spread: Spread, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the interval of a share, computed on the logit scale."""
    half_width = stdtrit(spread.freedom, (1 + level) / 2) * spread.error
    low, high = _transform_share(np.array(spread.estimate), np.array(half_width))
    return float(low), float(high)


def to_mean_interval(spread: Spread, low: float, high: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the interval of a mean or a score, cut at the ends of its scale."""
    half_width = float(stdtrit(spread.freedom, (1 + level) / 2)) * spread.error
    return (
        float(min(max(spread.estimate - half_width, low), high)),
        float(min(max(spread.estimate + half_width, low), high)),
    )


def find_jackknife_spread(estimate: Floats, without_one: Floats, weights: Floats) -> tuple[Floats, int]:
    """
    Return the standard errors of estimates that are not means, and their degrees of freedom.

    Row i of `without_one` is the estimate without persona i. For a weighted mean the result equals the result
    of `find_spread`.
    """
    kept = weights > 0
    scaled = (weights[kept] / weights[kept].sum())[:, None]
    influence = (estimate - without_one[kept]) * (1 - scaled) / scaled
    concentration = float((scaled**2).sum())
    errors: Floats = np.sqrt((scaled * influence**2).sum(axis=0) * concentration / (1 - concentration))
    return errors, int(kept.sum()) - 1


def _spread_of_personas(values: Floats, weights: Floats | None) -> tuple[Floats, Floats, int]:
    personas = values.shape[-1]
    if personas < FEWEST_PERSONAS:
        raise ValueError(f"a simulation interval needs {FEWEST_PERSONAS} personas or more")
    scaled = np.full(personas, 1 / personas) if weights is None else weights / weights.sum()
    concentration = float((scaled**2).sum())
    estimate: Floats = np.asarray(values @ scaled)
    variance = ((values - estimate[..., None]) ** 2) @ scaled / (1 - concentration)
    error: Floats = np.sqrt(variance * concentration)
    return estimate, error, personas - 1


def _transform_share(estimate: Floats, half_width: Floats) -> tuple[Floats, Floats]:
    centre = np.clip(estimate, 1e-12, 1 - 1e-12)
    reach = half_width / (centre * (1 - centre))
    low, high = expit(logit(centre) - reach), expit(logit(centre) + reach)
    fixed = (estimate <= 0) | (estimate >= 1)
    return np.where(fixed, estimate, low), np.where(fixed, estimate, high)
