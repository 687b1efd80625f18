"""Apply changes to the members of a study. Pure."""

from collections.abc import Mapping
from typing import Any


def change_members(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `members` with `changes`. A change of the sample leaves its other members as they are."""
    changed = {**members, **changes}
    before, after = members.get("sample"), changes.get("sample")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        changed["sample"] = {**before, **after}
    return changed
