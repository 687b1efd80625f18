"""
Write a Triple-S 2.0 archive: a definition in XML, and the data as CSV, one field for each variable.

    fg_….sss   <variable ident="5" type="single"> name, label, position (the field's number), values
    fg_….csv   a line of names, then a line for each respondent

A question with several answers is one variable of type `multiple`, whose field has a 0 or 1 for each
option. The case weight and the respondent's number carry their `use`. A field without an answer is empty.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from mavera.core.text import escape_formula
from mavera.focus_groups.exports import ExportFile, name_file, pack_files
from mavera.focus_groups.exports.csv_file import write_rows
from mavera.focus_groups.exports.variables import Variable, format_number, list_variables
from mavera.focus_groups.simulation import SYNTHETIC, Simulation

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE sss PUBLIC "-//triple-s//DTD Survey Interchange v2.0//EN" '
    '"http://www.triple-s.org/dtd/sss_v20.dtd">\n'
)
_USES = {"respondent_id": "serial", "weight": "weight"}


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """A variable of the archive, and its text for each respondent."""

    name: str
    label: str
    type: str
    values: tuple[str, ...]
    texts: Sequence[str]


def build_triples(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return one ZIP archive with the definition and the data."""
    fields = list(_list_fields(list_variables(simulation)))
    definition = ExportFile(
        name_file(simulation, ".sss"), "application/xml", _write_definition(simulation, fields).encode()
    )
    rows = [[one.name for one in fields], *zip(*(one.texts for one in fields), strict=True)]
    # Triple-S readers take the mark for a part of the first name.
    data = ExportFile(
        name_file(simulation, ".csv"), "text/csv", write_rows(rows).removeprefix(b"\xef\xbb\xbf")
    )
    return (pack_files((definition, data), f"{simulation.id}-triples"),)


def _list_fields(variables: Sequence[Variable]) -> Iterator[_Field]:
    ticks: dict[str, list[Variable]] = {}
    for one in variables:
        if one.kind == "tick":
            ticks.setdefault(str(one.group), []).append(one)
    for one in variables:
        if one.kind != "tick":
            yield _to_field(one)
        elif one is ticks[str(one.group)][0]:
            yield _join_ticks(ticks[str(one.group)])


def _to_field(variable: Variable) -> _Field:
    if variable.kind == "text":
        texts = [escape_formula(" ".join(text.split())) for text in variable.values]
        size = max([1, *map(len, texts)])
        return _Field(variable.name, variable.label, "character", (f"<size>{size}</size>",), texts)
    texts = [format_number(value, variable.places) for value in variable.values]
    values = [f'<value code="{code.number}">{escape(code.label)}</value>' for code in variable.codes]
    if variable.kind == "single":
        return _Field(variable.name, variable.label, "single", _wrap_values(values), texts)
    known = np.array(variable.values)[~np.isnan(variable.values)]
    missing = {code.number for code in variable.codes}
    known = known[[value not in missing for value in known]]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    ends = format_number(low, variable.places), format_number(high, variable.places)
    codes = [
        f'<value code="{format_number(float(code.number), variable.places)}">{escape(code.label)}</value>'
        for code in variable.codes
    ]
    span = f'<range from="{ends[0]}" to="{ends[1]}"/>'
    return _Field(variable.name, variable.label, "quantity", _wrap_values([span, *codes]), texts)


def _join_ticks(ticks: Sequence[Variable]) -> _Field:
    question = ticks[0].question
    text = question.text if question is not None else ""
    labels = [one.label.removesuffix(f" – {text}") for one in ticks]
    values = [f'<value code="{at}">{escape(label)}</value>' for at, label in enumerate(labels, 1)]
    rows = np.array([one.values for one in ticks]).T
    texts = ["" if np.isnan(row).any() else "".join(str(int(tick)) for tick in row) for row in rows]
    name = ticks[0].name.rsplit("_", 1)[0]
    return _Field(name, text, "multiple", _wrap_values(values), texts)


def _wrap_values(values: Sequence[str]) -> tuple[str, ...]:
    return ("<values>", *(f"  {value}" for value in values), "</values>")


def _to_comment(text: str) -> str:
    """Return a text that may stand in a comment of XML, which has no double hyphen."""
    return re.sub("-(?=-|$)", "- ", text)


def _write_definition(simulation: Simulation, fields: Sequence[_Field]) -> str:
    moment = simulation.date
    lines = [
        '<sss version="2.0">',
        f"<date>{moment:%Y-%m-%d}</date>",
        f"<time>{moment:%H:%M:%S}</time>",
        "<origin>mavera</origin>",
        *(f"<!-- {_to_comment(notice)} -->" for notice in simulation.list_notices()),
        "<survey>",
        f"  <name>{escape(simulation.id)}</name>",
        f"  <title>{escape(f'{simulation.study.name} ({SYNTHETIC})')}</title>",
        f'  <record ident="A" href={quoteattr(name_file(simulation, ".csv"))} format="csv" skip="1">',
    ]
    for number, one in enumerate(fields, 1):
        use = f' use="{_USES[one.name]}"' if one.name in _USES else ""
        lines += [
            f'    <variable ident="{number}" type="{one.type}"{use}>',
            f"      <name>{escape(one.name)}</name>",
            f"      <label>{escape(' '.join(one.label.split()))}</label>",
            f'      <position start="{number}"/>',
            *(f"      {value}" for value in one.values),
            "    </variable>",
        ]
    lines += ["  </record>", "</survey>", "</sss>", ""]
    return _HEAD + "\n".join(lines)
