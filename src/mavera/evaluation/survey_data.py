"""
Load surveys of real people: closed questions, answers, and the age and gender of each respondent.

    DIR/NAME/survey.toml, or declarations/NAME.toml of this room   which column is what
    DIR/NAME/*.csv                                                 the answers
    → Survey

A declaration lists the columns of a CSV file with the answers of each, so another survey is one TOML file
beside its CSV file. A declaration with `attributes` is one of stated choices. Column names and answers are
compared by their letters and digits only, because exports of survey tools are full of stray characters. An
answer that no list has is an error: a misspelled option would change every figure in silence.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from mavera.errors import ConfigurationError
from mavera.evaluation.survey_choices import ChoiceDeclaration, ChoiceSurvey, load_choices

Gender = Literal["female", "male"]
Answers = NDArray[np.int64]

GENDERS: tuple[Gender, ...] = get_args(Gender)
NO_ANSWER = -1
DECLARATION = "survey.toml"
_FOREIGN = re.compile(r"[^a-z0-9<>+$%]")
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3})|\+)")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a declaration."""


class AgeColumn(_Part, frozen=True, kw_only=True):
    """
    The column of ages. `groups` gives the years of each of its values, as in "18-29" or "61+".

    A value that is a number of years belongs to the group that holds it, or to none.
    """

    column: str
    groups: dict[str, str]


class GenderColumn(_Part, frozen=True, kw_only=True):
    """The column of genders, and what its values stand for."""

    column: str
    values: dict[str, Gender]


class Entry(_Part, frozen=True, kw_only=True):
    """
    A question, or one for each of `rows`, whose text replaces `{row}` in `column` and `text`.

    `text` is what people were asked, if it differs from the name of the column. `options` are the answers in
    the file and `labels` the same answers in words. `missing` are answers that count as none. `ordered` says
    that the options are the points of a scale.
    """

    id: str
    column: str
    options: tuple[str, ...]
    text: str | None = None
    labels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ordered: bool = False
    rows: tuple[str, ...] = ()


class Declaration(_Part, frozen=True, kw_only=True):
    """
    A survey. `head` is the number of header rows.

    A name of the first header row holds until the next one, and the name of the second row follows it.
    """

    file: str
    items: tuple[Entry, ...]
    age: AgeColumn
    gender: GenderColumn
    encoding: str = "utf-8"
    language: str = "en"
    head: Literal[1, 2] = 1


@dataclass(frozen=True, slots=True)
class Item:
    """A closed question with one answer."""

    id: str
    text: str
    options: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """Ages from `low` to `high`, both included."""

    low: int
    high: int

    def __contains__(self, age: int) -> bool:
        return self.low <= age <= self.high


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """
    The answers of one survey. `answers` has a row for each respondent and a column for each item.

    An answer is the number of its option, or NO_ANSWER. `ages` has the number of a respondent's group in
    `age_groups`, and `genders` that of the gender in GENDERS, or NO_ANSWER.
    """

    name: str
    language: str
    items: tuple[Item, ...]
    answers: Answers
    age_groups: tuple[AgeGroup, ...]
    ages: Answers
    genders: Answers


def load_surveys(data: Path, names: Sequence[str] = ()) -> tuple[Survey | ChoiceSurvey, ...]:
    """
    Return the surveys in the folder `data`, or those called `names`, in alphabetical order.

    A folder without a declaration is no survey. Raises ConfigurationError, which names the file.
    """
    known = find_declarations(data)
    lacking = [name for name in names if name not in known]
    if lacking or not known:
        found = ", ".join(known) or "none"
        wanted = f"no survey '{lacking[0]}'" if lacking else "no survey"
        raise ConfigurationError(f"{data} has {wanted}. The surveys there: {found}.")
    chosen = {name: text for name, text in known.items() if not names or name in names}
    surveys: list[Survey | ChoiceSurvey] = []
    for name, text in chosen.items():
        declaration = read_declaration(text, f"the declaration of {name}")
        if isinstance(declaration, ChoiceDeclaration):
            surveys.append(load_choices(data / name, declaration))
        else:
            surveys.append(load_survey(data / name, declaration))
    return tuple(surveys)


def find_declarations(data: Path) -> Mapping[str, bytes]:
    """Return the text of the declaration of each survey in `data`, by the survey's name."""
    shipped = resources.files("mavera.evaluation") / "declarations"
    found: dict[str, bytes] = {}
    for folder in sorted(data.iterdir()) if data.is_dir() else ():
        own, ours = folder / DECLARATION, shipped / f"{folder.name}.toml"
        if own.is_file():
            found[folder.name] = own.read_bytes()
        elif folder.is_dir() and ours.is_file():
            found[folder.name] = ours.read_bytes()
    return found


def read_declaration(text: bytes, name: str) -> Declaration | ChoiceDeclaration:
    """
    Return a declaration: of choices if it has `attributes`, and of closed questions otherwise.

    Raises ConfigurationError, which calls it `name`.
    """
    try:
        raw = msgspec.toml.decode(text)
        if "attributes" in raw:
            return msgspec.convert(raw, ChoiceDeclaration)
        declaration = msgspec.convert(raw, Declaration)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} is not valid: {error}") from error
    for entry in declaration.items:
        if len(set(map(_fold, entry.options))) != len(entry.options) or len(entry.options) < 2:
            raise ConfigurationError(f"{name}: item '{entry.id}' needs two or more different options.")
        if entry.labels and len(entry.labels) != len(entry.options):
            raise ConfigurationError(f"{name}: item '{entry.id}' needs a label for each option.")
    for years in declaration.age.groups.values():
        if not _RANGE.fullmatch(years):
            raise ConfigurationError(f"{name}: '{years}' is no age group. Write 18-29 or 61+.")
    return declaration


def load_survey(folder: Path, declaration: Declaration) -> Survey:
    """Return the survey of a folder. Raises ConfigurationError if its CSV file does not fit."""
    path = folder / declaration.file
    table = _Table(path, declaration)
    items, columns = [], []
    for entry in declaration.items:
        for item, column in _list_items(entry):
            items.append(item)
            found = table.read(column, entry.options, entry.missing)
            if not np.any(found >= 0):
                raise ConfigurationError(f"{path}: nobody answered '{column}'.")
            columns.append(found)
    years = dict.fromkeys(declaration.age.groups.values())
    groups = tuple(map(_read_group, years))
    ages = table.read_ages(declaration.age, list(years), groups)
    genders = table.read_as(declaration.gender.column, declaration.gender.values, GENDERS)
    return Survey(
        folder.name, declaration.language, tuple(items), np.column_stack(columns), groups, ages, genders
    )


class _Table:
    """The rows of a CSV file, read column by column."""

    def __init__(self, path: Path, declaration: Declaration) -> None:
        self._path = path
        try:
            text = path.read_bytes().decode(declaration.encoding)
        except (OSError, UnicodeDecodeError, LookupError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)]
        self._rows = rows[declaration.head :]
        self._places = {_fold(name): place for place, name in _name_columns(rows[: declaration.head])}

    def read(self, column: str, options: Sequence[str], missing: Sequence[str]) -> Answers:
        """Return the number of each respondent's option."""
        numbers = {_fold(option): number for number, option in enumerate(options)}
        return self._read(column, dict.fromkeys(map(_fold, missing), NO_ANSWER) | numbers)

    def read_as(self, column: str, meanings: Mapping[str, str], order: Sequence[str]) -> Answers:
        """Return the place in `order` of what each respondent's value means."""
        return self._read(column, {_fold(value): order.index(said) for value, said in meanings.items()})

    def read_ages(self, age: AgeColumn, order: Sequence[str], groups: Sequence[AgeGroup]) -> Answers:
        """Return the number of each respondent's age group."""

        def find_group(value: str) -> int | None:
            if not value.isdecimal():
                return None
            return next((n for n, group in enumerate(groups) if int(value) in group), NO_ANSWER)

        numbers = {_fold(value): order.index(years) for value, years in age.groups.items()}
        return self._read(age.column, numbers, find_group)

    def _read(
        self,
        column: str,
        numbers: Mapping[str, int],
        find_other: Callable[[str], int | None] = lambda _: None,
    ) -> Answers:
        place = self._places.get(_fold(column))
        if place is None:
            raise ConfigurationError(f"{self._path} has no column '{column}'.")
        found = []
        for row in self._rows:
            value = row[place].strip() if place < len(row) else ""
            number = numbers.get(_fold(value)) if value else NO_ANSWER
            if number is None:
                number = find_other(value)
            if number is None:
                raise ConfigurationError(
                    f"{self._path}, column '{column}': '{value}' is in no list of the declaration."
                )
            found.append(number)
        return np.array(found, dtype=np.int64)


def _name_columns(head: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    """Yield the place and the names of each column: the first header, and both headers together."""
    name = ""
    for place, first in enumerate(head[0] if head else ()):
        is_new = bool(first.strip())
        name = first if is_new else name
        if is_new:
            yield place, name
        if len(head) > 1 and place < len(head[1]):
            yield place, f"{name} {head[1][place]}"


def _list_items(entry: Entry) -> Iterator[tuple[Item, str]]:
    options = entry.labels or entry.options
    for number, row in enumerate(entry.rows or ("",), 1):
        column = entry.column.replace("{row}", row)
        text = (entry.text or entry.column).replace("{row}", row)
        item_id = f"{entry.id}.{number}" if entry.rows else entry.id
        yield Item(item_id, text, options, entry.ordered), column


def _read_group(years: str) -> AgeGroup:
    match: Any = _RANGE.fullmatch(years)
    return AgeGroup(int(match[1]), int(match[2] or 200))


def _fold(text: str) -> str:
    """Return the letters and digits of `text`, and the signs that tell groups apart, in lower case."""
    plain = text.casefold().strip()
    return _FOREIGN.sub("", plain) or plain
