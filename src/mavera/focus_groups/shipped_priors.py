"""
Ship the position priors of the embedded model, so that nobody has to measure them.

`priors.json` beside this file was written by `python -m evals.measure_priors`.
"""

from functools import cache
from pathlib import Path

import msgspec

from mavera.focus_groups.readings import PositionPrior

_FILE = Path(__file__).with_name("priors.json")


@cache
def _load() -> tuple[PositionPrior, ...]:
    if not _FILE.exists():
        return ()
    return msgspec.json.decode(_FILE.read_bytes(), type=tuple[PositionPrior, ...])


def find_shipped_priors(model_digest: str, language: str) -> dict[int, PositionPrior]:
    """Return the shipped priors of a model by their number of places."""
    return {
        prior.places: prior for prior in _load() if prior.model == model_digest and prior.language == language
    }
