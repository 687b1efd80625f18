"""
Read YAML and JSON texts into trees that know their lines.

    text  →  read_tree  →  Node(value, line, source)
    plain data of a request  →  grow_tree  →  the same, without lines

YAML is read as version 1.2, so `yes` and `no` are words. Aliases, anchors and tags are errors, so that
nothing is expanded or constructed, and a small file cannot become a large study. Sizes are bounded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import yaml

CHARACTERS_MAX = 4_000_000
NODES_MAX = 20_000
DEPTH_MAX = 20

# Characters that XML and Postgres refuse, and that terminals obey.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_JSON = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+')


class SourceError(Exception):
    """A text that cannot be read. `line` counts from 1. It is None if the mistake is in no single line."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value of a tree. `source` is the text of a scalar, because 3.50 and 3.5 differ as texts."""

    value: Any
    line: int | None
    source: str = ""

    def to_plain(self) -> Any:
        """Return the value as plain data."""
        if isinstance(self.value, dict):
            return {key: node.to_plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.to_plain() for node in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class _Mark:
    """One step of a text: `{`, `[` or their end, or a scalar with its value."""

    kind: str
    line: int | None
    value: Any = None
    source: str = ""


def read_tree(text: str) -> Node:
    """Return the tree of a YAML or JSON text. Raises SourceError."""
    if len(text) > CHARACTERS_MAX:
        raise SourceError(f"The text has {len(text):,} characters. The limit is {CHARACTERS_MAX:,}.")
    is_json = text.lstrip().startswith(("{", "["))
    return _build(_scan_json(text) if is_json else _scan_yaml(text))


def grow_tree(value: Any) -> Node:
    """Return the tree of plain data, as a JSON decoder returns it."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise SourceError("A text has half of a character (a lone surrogate). Remove it.") from error
    return _build(replace(mark, line=None) for mark in _scan_json(text))


def _scan_yaml(text: str) -> Iterator[_Mark]:
    documents = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise SourceError("Anchors and aliases (& and *) are not allowed. Write the value out.", line)
            if getattr(event, "tag", None) not in (None, "!"):
                raise SourceError(f"The tag {event.tag!r} is not allowed. Leave it out.", line)
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise SourceError("The file has more than one document. Remove '---'.", line)
                case yaml.MappingStartEvent():
                    yield _Mark("{", line)
                case yaml.SequenceStartEvent():
                    yield _Mark("[", line)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    yield _Mark("end", line)
                case yaml.ScalarEvent():
                    is_plain = event.style in (None, "")
                    yield _Mark(
                        "scalar", line, _resolve(event.value) if is_plain else event.value, event.value
                    )
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        hint = " Put texts with ': ', '#', '{' or '[' into quotation marks."
        raise SourceError(
            f"This is not valid YAML: {error.problem}.{hint}", place.line + 1 if place else None
        ) from error
    except yaml.YAMLError as error:
        raise SourceError(f"This is not valid YAML: {str(error).splitlines()[0]}.") from error


def _resolve(text: str) -> Any:
    """Return the value of a plain scalar, by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _scan_json(text: str) -> Iterator[_Mark]:
    # The decoder checks the text, and the scan below only has to find lines.
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        yield from _scan_flow(text, error)
        return
    line, seen = 1, 0
    for found in _JSON.finditer(text):
        line += text.count("\n", seen, found.start())
        seen = found.start()
        token = found[0]
        if token in ("{", "["):
            yield _Mark(token, line)
        elif token in ("}", "]"):
            yield _Mark("end", line)
        elif token not in (",", ":"):
            yield _Mark("scalar", line, msgspec.json.decode(token), token)


def _scan_flow(text: str, error: Exception) -> Iterator[_Mark]:
    """Read a text that begins like JSON but is not JSON: YAML in one pair of braces, or a mistake."""
    try:
        yield from _scan_yaml(text)
    except SourceError as wrong:
        raise SourceError(f"This is not valid JSON: {error}.", wrong.line) from error


def _build(marks: Iterator[_Mark]) -> Node:
    root: list[Node] = []
    # Each entry: the collection that is open, and the key that waits for its value.
    stack: list[tuple[dict[str, Node] | list[Node], list[str]]] = []
    for count, mark in enumerate(marks):
        if count >= NODES_MAX:
            raise SourceError(f"The file has more than {NODES_MAX:,} values.", mark.line)
        if mark.kind == "end":
            stack.pop()
            continue
        if isinstance(mark.value, str) and (found := _UNPRINTABLE.search(mark.value)):
            raise SourceError(
                f"A text has the control character U+{ord(found[0]):04X}. Remove it.", mark.line
            )
        value = {"{": {}, "[": []}.get(mark.kind, mark.value)
        node = Node(value, mark.line, mark.source)
        _place(node, root, stack)
        if mark.kind in ("{", "["):
            stack.append((value, []))
            if len(stack) > DEPTH_MAX:
                raise SourceError(f"The file is nested in more than {DEPTH_MAX} levels.", mark.line)
    return root[0] if root else Node(None, 1)


def _place(node: Node, root: list[Node], stack: list[tuple[dict[str, Node] | list[Node], list[str]]]) -> None:
    if not stack:
        root.append(node)
        return
    collection, waiting = stack[-1]
    if isinstance(collection, list):
        collection.append(node)
    elif waiting:
        collection[waiting.pop()] = node
    else:
        if isinstance(node.value, dict | list):
            raise SourceError("A name is expected here, not a list. Put it into quotation marks.", node.line)
        key = node.value if isinstance(node.value, str) else node.source
        if key in collection:
            raise SourceError(f"'{key}' is given twice. Remove one of them.", node.line)
        waiting.append(key)
