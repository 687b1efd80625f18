"""
Compute figures that need two answers of one respondent, under the assumed latent correlation.

    a respondent ticks option j if   √ρ · factor + √(1 − ρ) · noise  >  Φ⁻¹(1 − p)

`find_net` integrates over the factor with Gauss–Hermite nodes. A question with `max` or an exclusive option
has no such formula. It comes from a reference draw, as do cross-tables of questions and compound
conditions: 20,000 rows a persona, with the same weights and seed for every study, so that nothing depends
on `size`. All these figures are marked `assumed`, because the correlation was not elicited.
"""

from functools import cache

import msgspec
import numpy as np
from scipy.special import ndtr, ndtri

from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.study import Sample, Study

REFERENCE_ROWS = 20_000
REFERENCE_SEED = 20_000
NODES = 101


def find_net(shares: Floats, correlation: float) -> Floats:
    """
    Return the probability that at least one option is ticked. The last axis of `shares` is the option.

    Options are ticked independently of each other, given a standard normal factor that explains the share
    `correlation` of the variance.
    """
    nodes, weights = _place_nodes()
    thresholds = ndtri(1 - np.clip(shares, 0.0, 1.0))[..., None]
    if correlation >= 1:
        return np.asarray(shares.max(axis=-1))
    silent = ndtr((thresholds - np.sqrt(correlation) * nodes) / np.sqrt(1 - correlation))
    net: Floats = 1 - silent.prod(axis=-2) @ weights
    return net


@cache
def _place_nodes() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return nodes, weights / weights.sum()


def build_reference_study(study: Study, panel: Panel) -> tuple[Study, Panel]:
    """
    Return the study and the panel of the reference draw: equal weights, no quotas, a fixed size and seed.
    """
    sample = Sample(size=REFERENCE_ROWS * len(panel), seed=REFERENCE_SEED)
    equal = tuple(
        type(one)(one.id, one.name, one.version, 1 / len(panel), one.attributes, one.prompt_digest)
        for one in panel
    )
    return msgspec.structs.replace(study, sample=sample), equal
