"""
Read a CSV file with a line for each question.

    id,type,text,options,points,labels,rows,items,multiple,max,order,missing,screen_out,show_if,attributes
    q1,nps,How likely are you to recommend it?
    q2,multiple_choice,Why?,Taste|Price|None of these,,,,,yes,2

Lists are separated by "|" or line breaks. Attributes of a conjoint are "brand: Oatly|Alpro; price:
3.49|4.49". Without a type, a question with options is a choice and any other one is open. Unknown columns
go into the report.
"""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

from mavera.focus_groups.imports.report import Carrier, Imported, ImportRefused, check_count

_TYPES = {
    "yesno": "yes_no",
    "boolean": "yes_no",
    "single": "multiple_choice",
    "single_choice": "multiple_choice",
    "choice": "multiple_choice",
    "multiple": "multiple_choice",
    "multi": "multiple_choice",
    "checkbox": "multiple_choice",
    "radio": "multiple_choice",
    "open": "open_ended",
    "text": "open_ended",
    "scale": "rating",
    "differential": "semantic_differential",
    "max_diff": "maxdiff",
    "rank": "ranking",
    "grid": "matrix",
}
_SEVERAL = frozenset({"multiple", "multi", "checkbox"})
_NAMES = {"question": "text", "label": "text", "name": "id", "choices": "options", "answers": "options"}
_YES = frozenset({"yes", "true", "1", "x", "y"})
_MEMBERS: dict[str, tuple[str, ...]] = {
    "nps": ("labels",),
    "likert": ("points", "labels"),
    "rating": ("points", "labels"),
    "yes_no": ("labels",),
    "multiple_choice": ("options", "multiple", "max", "order"),
    "open_ended": ("verbatims", "rounds"),
    "ranking": ("items", "order"),
    "slider": ("labels",),
    "matrix": ("rows", "points", "labels", "order"),
    "semantic_differential": ("poles", "points"),
    "conjoint": ("attributes", "tasks", "alternatives", "none", "price"),
    "maxdiff": ("items", "per_set", "sets"),
}
_SHARED = ("missing", "screen_out", "show_if", "direction")


def read_questionnaire(text: str) -> Imported:
    """Return the study of a CSV file. Raises ImportRefused."""
    try:
        dialect = csv.Sniffer().sniff(text.partition("\n")[0], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    try:
        lines = [row for row in csv.reader(io.StringIO(text), dialect) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ImportRefused(f"The file is not CSV: {error}.") from error
    if len(lines) < 2:
        raise ImportRefused(
            "The file has no questions. Begin with a line of column names, such as id,type,text."
        )
    header = [
        _NAMES.get(name, name) for name in (cell.strip().lower().replace(" ", "_") for cell in lines[0])
    ]
    if "text" not in header:
        raise ImportRefused(
            "The file has no column 'text'. Name the columns in the first line: id,type,text,…"
        )
    check_count(len(lines) - 1)
    return _read_lines(header, lines[1:])


def _read_lines(header: list[str], lines: list[list[str]]) -> Imported:
    carrier = Carrier()
    known = {"id", "type", "text", *_SHARED, *(name for names in _MEMBERS.values() for name in names)}
    for name in header:
        if name and name not in known:
            carrier.note("", f"The column '{name}' is unknown and was not carried over.")
    for number, line in enumerate(lines, 1):
        cells = {name: cell.strip() for name, cell in zip(header, line, strict=False) if cell.strip()}
        name = cells.get("id") or f"q{number}"
        question = _convert(carrier, name, cells)
        if question is not None:
            carrier.add(name, question)
            given = carrier.ids.get(name)
            if given is not None and given != name and "id" in cells:
                carrier.note(name, f"Its id became '{given}'. Conditions that name it must be changed.")
    return carrier.finish("Imported study")


def _convert(carrier: Carrier, name: str, cells: dict[str, str]) -> dict[str, Any] | None:
    written = cells.get("type", "multiple_choice" if "options" in cells else "open_ended")
    written = re.sub(r"[\s-]+", "_", written.lower())
    kind = _TYPES.get(written, written)
    if kind not in _MEMBERS:
        carrier.note(name, f"The type '{written}' is unknown. It was left out.")
        return None
    if kind in ("ranking", "maxdiff") and "items" not in cells and "options" in cells:
        cells["items"] = cells.pop("options")
    question: dict[str, Any] = {"type": kind, "text": cells.get("text", name)}
    for member in (*_MEMBERS[kind], *_SHARED):
        if member in cells:
            value = _READERS[member](cells[member])
            if value is None:
                carrier.note(name, f"Its {member} '{cells[member][:60]}' is not understood. It was left out.")
            else:
                question[member] = value
    if written in _SEVERAL:
        question["multiple"] = True
    for member in cells:
        if member in _READERS and member not in (*_MEMBERS[kind], *_SHARED):
            carrier.note(name, f"A question of the type {kind} has no '{member}'. It was left out.")
    return _complete(carrier, name, question)


def _complete(carrier: Carrier, name: str, question: dict[str, Any]) -> dict[str, Any] | None:
    """Return a question that has what its type needs, or None."""
    needs = {
        "multiple_choice": "options",
        "ranking": "items",
        "maxdiff": "items",
        "matrix": "rows",
        "semantic_differential": "poles",
        "conjoint": "attributes",
    }
    needed = needs.get(question["type"])
    if needed is not None and needed not in question:
        carrier.note(name, f"A question of the type {question['type']} needs '{needed}'. It was left out.")
        return None
    if question["type"] == "semantic_differential" and len(question["poles"]) != 2:
        carrier.note(name, "A semantic differential needs two poles. It was left out.")
        return None
    if "rows" in question:
        question["rows"] = [{"id": f"r{at}", "text": text} for at, text in enumerate(question["rows"], 1)]
    if question["type"] != "multiple_choice" or not question.get("multiple"):
        question.pop("multiple", None)
        if question.pop("max", None) is not None:
            carrier.note(name, "Only a question with several answers has a maximum. It was left out.")
    return question


def _read_list(text: str) -> list[str] | None:
    return [part.strip() for part in re.split(r"\||\n", text) if part.strip()] or None


def _read_whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,4}", text) else None


def _read_flag(text: str) -> bool:
    return text.lower() in _YES


def _read_attributes(text: str) -> dict[str, list[str]] | None:
    found = {}
    for part in text.split(";"):
        name, colon, levels = part.partition(":")
        if not colon or not name.strip():
            return None
        found[name.strip()] = _read_list(levels) or []
    return found


def _read_order(text: str) -> str | None:
    return text.lower() if text.lower() in ("fixed", "random") else None


def _read_direction(text: str) -> str | None:
    return text.lower() if text.lower() in ("normal", "reversed", "none") else None


_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("options", "labels", "rows", "items", "poles", "missing", "screen_out"), _read_list),
    **dict.fromkeys(
        ("points", "max", "tasks", "alternatives", "per_set", "sets", "verbatims", "rounds"), _read_whole
    ),
    **dict.fromkeys(("multiple", "none"), _read_flag),
    **dict.fromkeys(("show_if", "price"), str),
    "attributes": _read_attributes,
    "order": _read_order,
    "direction": _read_direction,
}
