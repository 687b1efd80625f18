"""List the values that a field of a request may have, for the message of an error."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect

# A step of msgspec's path: `.name`, `[3]` of a list or `[...]` of an object.
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?:\d+|\.\.\.)\]")


def list_expected_values(kind: Any, path: str) -> tuple[str, ...]:
    """
    Return the values that the field at `path` of `kind` may have. A path is like `$.messages[3].role`.

    Returns an empty tuple if the field is not limited to a few values.
    """
    nodes = list(_list_alternatives(_find_root(kind)))
    for step in _STEP.finditer(path):
        nodes = [inner for node in nodes for inner in _list_inside(node, step["name"])]
    values = [value for node in nodes if isinstance(node, inspect.LiteralType) for value in node.values]
    return tuple(dict.fromkeys(str(value) for value in values))


@cache
def _find_root(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _list_alternatives(node: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the members of a union, or `node` itself."""
    if isinstance(node, inspect.Metadata):
        yield from _list_alternatives(node.type)
    elif isinstance(node, inspect.UnionType):
        for one in node.types:
            yield from _list_alternatives(one)
    else:
        yield node


def _list_inside(node: inspect.Type, name: str | None) -> Iterator[inspect.Type]:
    """Yield the types one step inside `node`: of a field called `name`, or of an element."""
    if name is None:
        if isinstance(node, inspect.ListType | inspect.VarTupleType):
            yield from _list_alternatives(node.item_type)
        elif isinstance(node, inspect.DictType):
            yield from _list_alternatives(node.value_type)
    elif isinstance(node, inspect.StructType):
        if name == node.tag_field:
            yield inspect.LiteralType((node.tag,))
        for field in node.fields:
            if field.encode_name == name:
                yield from _list_alternatives(field.type)
