r"""
Regular expressions of ECMA-262, spelled so that the engine which checks them understands them.

    [^]  [\b]  \0  [\w-.]  a{,3}  (?<year>\d\d)\k<year>

The engine knows look-around and most escapes by itself. Only spellings that it refuses are rewritten here.
"""

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"(?P<set>\[\^?(?:\\.|[^\]\\])*\])"
    r"|(?P<named>\(\?<(?![=!])(?P<name>[^>]*)>)"
    r"|(?P<group>\((?!\?))"
    r"|\\k<(?P<reference>[^>]*)>"
    r"|(?P<null>\\0(?!\d))"
    r"|\{\d+(?:,\d*)?\}|(?P<brace>[{}])"
    r"|\\[pPu]\{[^}]*\}|\\.|.",
    re.DOTALL,
)
_MEMBER: Final = re.compile(r"\\(?:[pPu]\{[^}]*\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[A-Za-z]|.)|.", re.DOTALL)
_NOTHING, _ANYTHING = "(?!)", r"[\s\S]"
_ESCAPED_IN_SETS: Final = frozenset("[&~")
_IN_SETS: Final = {r"\b": r"\x08", r"\0": r"\x00"}
# A look-around or a reference to a group. Such a pattern may take more than linear time.
_IRREGULAR: Final = re.compile(r"\(\?<?[=!]|\\[1-9]|\\k<")


def is_irregular(pattern: str) -> bool:
    """Whether `pattern` may look around or refer back. Some harmless patterns count as irregular too."""
    return _IRREGULAR.search(pattern) is not None


def portable_pattern(pattern: str) -> str:
    """Return `pattern` in spellings that the checking engine takes. An invalid pattern stays invalid."""
    groups = _group_numbers(pattern)
    return "".join(_convert(token, groups) for token in _TOKEN.finditer(pattern))


def _group_numbers(pattern: str) -> dict[str, int]:
    opened = [token for token in _TOKEN.finditer(pattern) if token["group"] or token["named"]]
    return {token["name"]: number for number, token in enumerate(opened, 1) if token["named"]}


def _convert(token: re.Match[str], groups: dict[str, int]) -> str:
    if token["set"]:
        return _convert_set(token["set"])
    if token["named"]:
        return "("
    if token["reference"] is not None:
        number = groups.get(token["reference"])
        # In a group of its own, because a digit may follow.
        return token[0] if number is None else rf"(?:\{number})"
    if token["null"]:
        return r"\x00"
    return "\\" + token[0] if token["brace"] else token[0]


def _convert_set(written: str) -> str:
    inner = written[2:-1] if written.startswith("[^") else written[1:-1]
    if not inner:
        return _ANYTHING if written.startswith("[^") else _NOTHING
    return written[: -len(inner) - 1] + "".join(_split_members(inner)) + "]"


def _split_members(inner: str) -> Iterator[str]:
    """Yield the members of a set; a hyphen beside a class, as in `[\\w-.]`, stands for itself."""
    members = [member[0] for member in _MEMBER.finditer(inner)]
    for n, member in enumerate(members):
        beside = (*members[max(n - 1, 0) : n], *members[n + 1 : n + 2])
        if member in _ESCAPED_IN_SETS or (member == "-" and any(_is_class(one) for one in beside)):
            yield "\\" + member
        else:
            yield _IN_SETS.get(member, member)


def _is_class(member: str) -> bool:
    return len(member) > 1 and member[1] in "dDwWsSpP"
