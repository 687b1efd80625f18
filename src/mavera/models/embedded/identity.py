"""Which model and which engine a state on disk belongs to."""

import hashlib
import importlib.metadata
from functools import lru_cache
from pathlib import Path

ENGINE = "xllamacpp"


def identity_of(model: Path) -> str:
    """Return what tells a model's file, as this engine reads it, from every other; empty where it is gone."""
    try:
        found = model.stat()
        return _digest(model.name, found.st_size, found.st_mtime_ns, importlib.metadata.version(ENGINE))
    except (OSError, importlib.metadata.PackageNotFoundError):
        return ""


@lru_cache(maxsize=8)
def _digest(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
