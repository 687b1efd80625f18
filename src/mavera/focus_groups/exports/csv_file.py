"""
Write respondents as a wide CSV file with codes, and the codebook as a second one.

No cell starts a formula: a text that begins with =, +, -, @, a tab or a line break gets an apostrophe in
front, as spreadsheets write it for "this is text". Numbers are never changed.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from mavera.core.text import escape_formula
from mavera.focus_groups.exports import ExportFile, name_file
from mavera.focus_groups.exports.variables import (
    Variable,
    describe_type,
    format_number,
    list_statuses,
    list_variables,
)
from mavera.focus_groups.orders import Place, find_places
from mavera.focus_groups.respondents import Status
from mavera.focus_groups.results import build_method
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import Matrix, MultipleChoice, Question, Ranking

OWN_WORDS = "Asks for own words. None are drawn."
_HEADS = (
    "variable",
    "label",
    "type",
    "question",
    "code",
    "code_label",
    "user_missing",
    "shown_order",
    "note",
)
_STATUSES = np.array([status.name.lower() for status in sorted(Status)])
# Spreadsheets take UTF-8 for it only behind this mark.
_MARK = b"\xef\xbb\xbf"


def build_csv(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return the rows of the respondents, and the codebook."""
    variables = list_variables(simulation)
    statuses = list_statuses(simulation)
    header = [one.name for one in variables] + [f"{one.question_id}_status" for one in statuses]
    columns = [_format_values(one) for one in variables]
    columns += [list(_STATUSES[one.status]) for one in statuses]
    rows = write_rows([header, *zip(*columns, strict=True)])
    book = write_rows(_list_codes(simulation, variables))
    return (
        ExportFile(name_file(simulation, ".csv"), "text/csv; charset=utf-8", rows),
        ExportFile(name_file(simulation, "-codebook.csv"), "text/csv; charset=utf-8", book),
    )


def write_rows(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as CSV, in UTF-8 with a byte order mark, with formulas made harmless."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return _MARK + buffer.getvalue().encode()


def _format_values(variable: Variable) -> list[str]:
    if variable.kind == "text":
        return [escape_formula(text) for text in variable.values]
    return [format_number(value, variable.places) for value in variable.values]


def _list_codes(simulation: Simulation, variables: Sequence[Variable]) -> Iterable[Sequence[str]]:
    yield [*_HEADS]
    method = build_method(simulation)
    facts = {
        "synthetic": simulation.list_notices()[0],
        "study": simulation.study.name,
        "model": method.model,
        "elicitation": method.elicitation,
        "seed": str(method.seed),
        "date": simulation.date.date().isoformat(),
        "study_hash": method.study_hash,
        **method.details,
    }
    for name, fact in facts.items():
        yield ["", escape_formula(fact), "method", "", "", name, "", "", ""]
    places = find_places(simulation.study)
    for question_id, group in groupby(variables, key=lambda one: one.question and one.question.id):
        for number, one in enumerate(group):
            is_entry = one.group is not None and isinstance(one.question, MultipleChoice | Matrix | Ranking)
            yield from _list_variable(one, places.get(question_id or ""), number if is_entry else None)


def _list_variable(one: Variable, place: Place | None, entry: int | None) -> Iterable[Sequence[str]]:
    """Yield the lines of a variable. `entry` numbers the option or row that the variable is about."""
    question_id = "" if one.question is None else one.question.id
    head = [one.name, escape_formula(one.label), describe_type(one) or one.kind, question_id]
    if not one.codes:
        yield [*head, "", "", "", "" if place is None else place.describe(entry), ""]
    for at, code in enumerate(one.codes):
        is_option = entry is None and isinstance(one.question, MultipleChoice) and not code.is_missing
        shown = at if is_option else entry
        yield [
            *head,
            str(code.number),
            escape_formula(code.label),
            "yes" if code.is_missing else "no",
            "" if place is None else place.describe(shown),
            _describe_option(one.question, shown),
        ]


def _describe_option(question: Question | None, entry: int | None) -> str:
    """Return what a reader of the codebook has to know about an option."""
    match question:
        case MultipleChoice(options=options) if entry is not None and options[entry].specify:
            return OWN_WORDS
        case _:
            return ""
