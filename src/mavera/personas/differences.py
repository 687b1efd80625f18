"""
Find what changed between two versions of a persona, field by field.

    list_differences(before, after)  →  Difference("details.pains", removed, added), …
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mavera.personas.custom import Sheet


class Difference(msgspec.Struct, frozen=True):
    """
    A field that changed, as texts. A list has the entries that left and those that came.

    If only the order of a list changed, all its entries are in both.
    """

    field: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


def list_differences(before: Sheet, after: Sheet) -> tuple[Difference, ...]:
    """Return the fields that differ. Equal sheets have none."""
    old, new = dict(_flatten(_to_members(before))), dict(_flatten(_to_members(after)))
    found = []
    for field in dict.fromkeys([*old, *new]):
        one, other = old.get(field, ()), new.get(field, ())
        if one == other:
            continue
        removed = tuple(text for text in one if text not in other)
        added = tuple(text for text in other if text not in one)
        found.append(Difference(field, removed, added) if removed or added else Difference(field, one, other))
    return tuple(found)


def _to_members(sheet: Sheet) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(sheet, name)) for name in Sheet.__struct_fields__}


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each field with its texts. Sample turns and weights count as lists of texts."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        yield path, tuple(_write(one) for one in value)
    elif value is not None and value != "":
        yield path, (_write(value),)


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " · ".join(_write(one) for one in value.values())
    return str(value)
