"""Turn numbers of numpy into Python's where results are encoded: encoders take no others."""

from typing import Any, TypeVar

import msgspec
import numpy as np

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return `value` as dicts, lists and numbers of Python."""
    return msgspec.to_builtins(value, enc_hook=replace_number)


def rebuild_plain(value: T) -> T:
    """Return a Struct that is equal to `value` and has numbers of Python only."""
    return msgspec.convert(to_plain(value), type(value))


def replace_number(value: Any) -> Any:
    """Return the Python number that equals `value`. Raises NotImplementedError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} is no number of numpy")
