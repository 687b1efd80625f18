"""Identify the model and the engine that a state on disk belongs to."""

import hashlib
import importlib.metadata
from functools import lru_cache
from pathlib import Path

ENGINE = "xllamacpp"


def compute_identity(model: Path) -> str:
    """Return an id of the model's file together with this engine. It is empty if the file is gone."""
    try:
        found = model.stat()
        return _digest(model.name, found.st_size, found.st_mtime_ns, importlib.metadata.version(ENGINE))
    except (OSError, importlib.metadata.PackageNotFoundError):
        return ""


@lru_cache(maxsize=8)
def _digest(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
