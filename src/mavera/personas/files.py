"""
Read and write personas as files: TOML in the form of the library, and CSV of segment descriptions.

    to_toml(sheet)     name, category, description, expert · the profile's fields · [details]
    from_toml(data)    the same, or a file of the library, whose id and time are ignored
    from_csv(data)     one persona per row: name, and any of description, category, type, details
"""

import codecs
import csv
import difflib
import io
import tomllib
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, get_args

import msgspec
import tomli_w

from mavera.errors import APIError, ConfigurationError
from mavera.personas.custom import Details, Pipeline, Sheet, Words
from mavera.personas.persona import Persona, Profile

_OWN = ("name", "category", "description", "expert", "pipeline_type", "type")
_ASIDE = frozenset({"id", "created_at", "version"})
_PROFILE = Profile.__struct_fields__
_LISTS = frozenset(field.name for field in msgspec.structs.fields(Details) if Words in get_args(field.type))
_COLUMNS = ("name", "description", "category", "type", *Details.__struct_fields__)
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# Separates the texts of a list in a cell of a CSV file.
SEPARATOR = ";"


def to_sheet(persona: Persona) -> Sheet:
    """Convert a persona of the library to a sheet, for a file."""
    profile = Profile(**{name: getattr(persona, name) for name in _PROFILE})
    return Sheet(
        name=persona.name,
        category=persona.category,
        description=persona.description,
        expert=persona.expert,
        pipeline_type="advanced",
        profile=profile,
    )


def to_toml(sheet: Sheet) -> str:
    members: dict[str, Any] = {name: getattr(sheet, name) for name in _OWN}
    if sheet.profile is not None:
        members |= msgspec.to_builtins(sheet.profile)
    if sheet.details != Details():
        members["details"] = msgspec.to_builtins(sheet.details)
    return tomli_w.dumps(_without_none(members))


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out members that are None, because TOML has no null."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in members.items()
        if value is not None
    }


def from_toml(data: bytes, name: str) -> Sheet:
    """Return the sheet in the file `name`. Raises ConfigurationError, which names the fault."""
    try:
        members = tomllib.loads(data.decode("utf-8-sig"))
    # A number of 5,000 digits raises ValueError, and deeply nested brackets raise RecursionError.
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} cannot be read as TOML: {error}") from error
    known = (*_OWN, *_PROFILE, *_ASIDE, "details")
    _refuse_unknown(members, known, name)
    profile = {key: members[key] for key in _PROFILE if key in members}
    own = {key: members[key] for key in _OWN if key in members}
    return _to_sheet(
        {
            "pipeline_type": "advanced",
            "category": "Lifestyle",
            "description": "",
            **own,
            "details": members.get("details", {}),
            "profile": profile or None,
        },
        name,
    )


def from_csv(data: bytes, name: str) -> list[Sheet]:
    """Return a sheet for each row. Raises ConfigurationError, which names the line at fault."""
    text = _decode_csv(data, name)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    sheets: list[Sheet] = []
    try:
        columns = _match_columns(next(reader, []), name)
        for cells in reader:
            if any(map(str.strip, cells)):
                sheets.append(_from_row(columns, cells, f"{name}, line {reader.line_num}"))
    except csv.Error as error:
        raise ConfigurationError(f"{name}, line {reader.line_num}: {error}") from error
    if not sheets:
        raise ConfigurationError(f"{name} has no rows below its first line.")
    return sheets


def _decode_csv(data: bytes, name: str) -> str:
    """Decode UTF-8, or a spreadsheet's UTF-16 with a byte order mark, and normalise the line ends."""
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not UTF-8. Save it as CSV UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _match_columns(cells: list[str], name: str) -> list[str]:
    columns = [cell.strip().lower().replace(" ", "_") for cell in cells]
    if "name" not in columns:
        raise ConfigurationError(f"{name} has no column 'name' in its first line.")
    named = [column for column in columns if column]
    _refuse_unknown(dict.fromkeys(named), _COLUMNS, name)
    for column in named:
        if named.count(column) > 1:
            raise ConfigurationError(f"{name} has the column '{column}' twice.")
    return columns


def _from_row(columns: list[str], row: list[str], place: str) -> Sheet:
    cells: dict[str, str] = {}
    for column, cell in zip_longest(columns, map(str.strip, row), fillvalue=""):
        if column:
            cells[column] = cell
        elif cell:
            raise ConfigurationError(f"{place} has a cell under no column: '{cell[:40]}'.")
    details = {
        column: _read_cell(column, cells[column], place)
        for column in Details.__struct_fields__
        if cells.get(column)
    }
    kind = cells.get("type", "").upper() or None
    pipeline: Pipeline = "intermediate" if kind else "advanced"
    return _to_sheet(
        {
            "pipeline_type": pipeline,
            "name": cells["name"],
            "description": cells.get("description", ""),
            "category": cells.get("category") or ("Professional" if kind == "B2B" else "Lifestyle"),
            "type": kind,
            "details": details,
        },
        place,
    )


def _read_cell(column: str, cell: str, place: str) -> Any:
    if column == "mcda_weights":
        try:
            pairs = [pair.split("=") for pair in cell.split(SEPARATOR)]
            return {key.strip(): int(weight) for key, weight in pairs}
        except ValueError as error:
            raise ConfigurationError(f"{place}: write 'mcda_weights' as in price=3;risk=5.") from error
    if column == "is_localized":
        if cell.lower() not in _FLAGS:
            raise ConfigurationError(f"{place}: 'is_localized' must be yes or no.")
        return _FLAGS[cell.lower()]
    return [part.strip() for part in cell.split(SEPARATOR)] if column in _LISTS else cell


def _to_sheet(members: dict[str, Any], place: str) -> Sheet:
    try:
        return Sheet.from_members(**members)
    except APIError as error:
        at = f" ({error.param})" if error.param else ""
        raise ConfigurationError(f"{place} is not valid{at}: {error.message}") from error


def _refuse_unknown(members: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    for member in members:
        if member not in known:
            near = difflib.get_close_matches(member, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ConfigurationError(f"{name} has '{member}', which is not a field of personas.{hint}")
