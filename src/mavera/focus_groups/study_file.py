"""
Read a study file, YAML or JSON, into a checked Study.

    text  →  read_study_file  →  StudyFile(study, lines)  or  StudyError with every fault
    members of a request  →  check_members  →  the same, without lines

Short forms are written out: a persona's id, an option or a row as a text, a stimulus as a text, one answer
of `screen_out`, the attributes of a conjoint as a mapping. Labels that the file leaves out come from the
language of the study. `study_checks.py` checks the rules that types cannot express.
"""

import difflib
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from mavera.core.text import format_count
from mavera.focus_groups.faults import Faults, StudyError
from mavera.focus_groups.source import Node, SourceError, grow_tree, read_tree
from mavera.focus_groups.study import (
    NPS,
    Attribute,
    Conjoint,
    Likert,
    Matrix,
    Option,
    PersonaChoice,
    Question,
    Row,
    Stimulus,
    Study,
    YesNo,
)
from mavera.focus_groups.study_checks import PRICE_NAMES, check_study, read_price
from mavera.focus_groups.wording import words_of

QUESTION_TYPES: dict[str, type[Any]] = {
    str(kind.__struct_config__.tag): kind for kind in typing.get_args(Question)
}
_SHORT_FORMS: dict[type[Any], str] = {PersonaChoice: "id", Option: "text", Row: "text", Stimulus: "text"}
_INVALID: Any = object()


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A checked study, and the line of each of its fields by path. A request has no lines."""

    study: Study
    lines: Mapping[str, int]


def read_study_file(data: bytes | str) -> StudyFile:
    """Return the study that a YAML or JSON text describes. Raises StudyError, which lists every fault."""
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise _fail("The file is not UTF-8. Save it as UTF-8.") from error
    try:
        return _read(read_tree(text))
    except SourceError as error:
        raise _fail(error.message, error.line) from error


def check_members(members: Any) -> StudyFile:
    """Return the study that plain data describes, as a JSON decoder returns them. Raises StudyError."""
    try:
        return _read(grow_tree(members))
    except SourceError as error:
        raise _fail(error.message) from error


def _fail(message: str, line: int | None = None) -> StudyError:
    faults = Faults({"": line} if line else {})
    faults.add("", message)
    return StudyError(faults.found)


def _read(tree: Node) -> StudyFile:
    reader = _Reader()
    if not isinstance(tree.value, dict):
        raise _fail("A study is a mapping of fields. Begin with 'study: 1' and 'name: …'.")
    study = reader.read(tree, Study, "")
    if isinstance(study, Study):
        study = msgspec.structs.replace(
            study, questions=tuple(_complete(question, study.language) for question in study.questions)
        )
        reader.faults.kept = reader.kept
        check_study(study, reader.faults)
    reader.faults.raise_any()
    return StudyFile(study, reader.lines)


def _complete(question: Question, language: str) -> Question:
    """Return a question with the labels that the file left out."""
    words = words_of(language)
    match question:
        case Likert(labels=()):
            labels = words.agreement if question.points == 5 else (words.agreement[0], words.agreement[-1])
            return msgspec.structs.replace(question, labels=labels)
        case NPS(labels=()):
            return msgspec.structs.replace(question, labels=words.likelihood)
        case YesNo(labels=("Yes", "No")):
            return msgspec.structs.replace(question, labels=(words.yes, words.no))
        case _:
            return question


@lru_cache(maxsize=64)
def _hints_of(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


class _Reader:
    """
    Converts nodes to the types of `study.py`.

    `lines` collects the line of each path, and `given` the paths in the file. A faulty entry of a list is
    left out, so that the rest is still checked. `kept` has the numbers of the other entries.
    """

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.given: set[str] = set()
        self.kept: dict[str, list[int]] = {}
        self.faults = Faults(self.lines)

    def read(self, node: Node, kind: Any, path: str) -> Any:
        self.given.add(path)
        if node.line is not None:
            self.lines[path] = node.line
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind == Question:
            return self._read_question(node, path)
        if origin in (typing.Union, types.UnionType):
            inner = [one for one in arguments if one is not type(None)]
            return None if node.value is None else self.read(node, inner[0], path)
        if origin is Literal:
            if node.value in arguments:
                return node.value
            return self._refuse(path, f"{_show(node)} is unknown. It must be one of: {', '.join(arguments)}.")
        if origin is tuple:
            return self._read_tuple(node, arguments, path)
        if origin is dict:
            return self._read_mapping(node, arguments[1], path)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._read_struct(node, kind, path)
        return self._read_scalar(node, kind, path)

    def _refuse(self, path: str, message: str) -> Any:
        self.faults.add(path, message)
        return _INVALID

    def _read_scalar(self, node: Node, kind: type[Any], path: str) -> Any:
        value = node.value
        if kind is str and isinstance(value, str):
            return value.strip()
        if kind is str and isinstance(value, bool | int | float):
            return node.source
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        names = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
        return self._refuse(path, f"{names[kind].capitalize()} is expected, not {_show(node)}.")

    def _read_tuple(self, node: Node, arguments: tuple[Any, ...], path: str) -> Any:
        nodes = node.value
        if not isinstance(nodes, list):
            if path.endswith((".screen_out", ".missing")) and nodes is not None:
                nodes = [node]
            else:
                return self._refuse(path, f"A list is expected, not {_show(node)}.")
        if arguments[-1] is ...:
            found = [self.read(one, arguments[0], f"{path}[{n}]") for n, one in enumerate(nodes)]
            if _INVALID in found:
                self.kept[path] = [n for n, one in enumerate(found) if one is not _INVALID]
            return tuple(one for one in found if one is not _INVALID)
        if len(nodes) != len(arguments):
            return self._refuse(
                path, f"Give {format_count(len(arguments), 'entry', 'entries')}, not {len(nodes)}."
            )
        found = [
            self.read(one, kind, f"{path}[{n}]")
            for n, (one, kind) in enumerate(zip(nodes, arguments, strict=True))
        ]
        return _INVALID if _INVALID in found else tuple(found)

    def _read_mapping(self, node: Node, kind: Any, path: str) -> Any:
        if not isinstance(node.value, dict):
            return self._refuse(path, f"Names with values are expected, not {_show(node)}.")
        found = {key: self.read(one, kind, f"{path}.{key}") for key, one in node.value.items()}
        return {key: one for key, one in found.items() if one is not _INVALID}

    def _read_struct(self, node: Node, kind: type[Any], path: str, skip: tuple[str, ...] = ()) -> Any:
        members = node.value
        short = _SHORT_FORMS.get(kind)
        if not isinstance(members, dict) and short and members is not None and not isinstance(members, list):
            members = {short: node}
        if not isinstance(members, dict):
            return self._refuse(path, f"Fields are expected, not {_show(node)}.")
        fields = {one.encode_name: one for one in msgspec.structs.fields(kind)}
        prefix = f"{path}." if path else ""
        found: dict[str, Any] = {}
        for name, one in members.items():
            if name in fields:
                found[name] = self._read_member(one, kind, name, f"{prefix}{name}")
            elif name not in skip:
                self._refuse_unknown(one, name, (*fields, *skip), f"{prefix}{name}")
        if kind is Row and "id" not in found:
            found["id"] = _row_id(path)
        is_whole = True
        for name, one_field in fields.items():
            if found.get(name) is _INVALID:
                del found[name]
                is_whole &= not one_field.required
            elif one_field.required and name not in found:
                self.faults.add(path, f"'{name}' is missing.")
                is_whole = False
        return kind(**found) if is_whole else _INVALID

    def _read_member(self, node: Node, kind: Any, name: str, path: str) -> Any:
        if kind is Conjoint and name == "attributes":
            return self._read_attributes(node, path)
        return self.read(node, _hints_of(kind)[name], path)

    def _refuse_unknown(self, node: Node, name: str, known: tuple[str, ...], path: str) -> None:
        if node.line is not None:
            self.lines[path] = node.line
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known are: {', '.join(known)}."
        self.faults.add(path, f"'{name}' is not a field here. {hint}")

    def _read_question(self, node: Node, path: str) -> Any:
        if not isinstance(node.value, dict):
            return self._refuse(path, f"A question has fields (id, type, text), but this is {_show(node)}.")
        chosen = node.value.get("type")
        name = chosen.value if chosen is not None else None
        if name not in QUESTION_TYPES:
            said = f"The type {_show(chosen)} is unknown." if chosen is not None else "'type' is missing."
            return self._refuse(f"{path}.type", f"{said} It must be one of: {', '.join(QUESTION_TYPES)}.")
        kind = QUESTION_TYPES[name]
        question = self._read_struct(node, kind, path, skip=("type",))
        if (
            isinstance(question, Likert | Matrix)
            and f"{path}.points" not in self.given
            and len(question.labels) > 2
        ):
            return msgspec.structs.replace(question, points=len(question.labels))
        if isinstance(question, Conjoint) and f"{path}.price" not in self.given:
            price = next(
                (one.name for one in question.attributes if one.name.casefold() in PRICE_NAMES), None
            )
            question = msgspec.structs.replace(question, price=price)
        return question

    def _read_attributes(self, node: Node, path: str) -> Any:
        """Read `{brand: [A, B], price: [3.49, 4.49]}`, or the stored form: a list of names and levels."""
        if isinstance(node.value, list):
            found = self.read(node, tuple[Attribute, ...], path)
        else:
            levels = self._read_mapping(node, tuple[str, ...], path)
            if levels is _INVALID:
                return _INVALID
            found = tuple(Attribute(name=name, levels=one) for name, one in levels.items())
        return tuple(msgspec.structs.replace(one, prices=_read_prices(one.levels)) for one in found)


def _read_prices(levels: tuple[str, ...]) -> tuple[float, ...]:
    prices = [read_price(level) for level in levels]
    return tuple(price for price in prices if price is not None) if None not in prices else ()


def _row_id(path: str) -> str:
    """Return the default id of a row: r1 for the first row."""
    return f"r{int(path.rpartition('[')[2].rstrip(']')) + 1}"


def _show(node: Node) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    return "nothing" if node.value is None else f"'{node.source[:40]}'"
