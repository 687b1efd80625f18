"""
Write an SPSS file with labels and user-missing values, and a syntax file for what it cannot hold.

pyreadstat writes neither multiple-response sets nor the weight, so the syntax file defines both. The header
carries the time of writing; it is overwritten with the date of the study, so that the same study gives the
same bytes.

    header: 0 "$FL2" · 64 layout · 92 date "01 Jan 26" · 101 time "12:00:00" · 109 file label
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyreadstat

from mavera.focus_groups.exports import ExportFile, name_file
from mavera.focus_groups.exports.variables import Variable, list_variables
from mavera.focus_groups.simulation import SYNTHETIC, Simulation
from mavera.focus_groups.study import MultipleChoice

DATE_AT = 92
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# SPSS cuts labels of variables at 256 bytes, and those of values at 120.
_LABEL_BYTES = 255
_VALUE_LABEL_BYTES = 120
_NOTE_CHARACTERS = 80


def build_sav(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return the data file and its syntax."""
    variables = list_variables(simulation)
    return (
        ExportFile(
            name_file(simulation, ".sav"), "application/x-spss-sav", _write_data(simulation, variables)
        ),
        ExportFile(
            name_file(simulation, ".sps"), "text/plain; charset=utf-8", _write_syntax(simulation, variables)
        ),
    )


def _write_data(simulation: Simulation, variables: Sequence[Variable]) -> bytes:
    frame = pd.DataFrame({one.name: _to_column(one) for one in variables})
    labels: dict[str, str | None] = {one.name: _cut_bytes(one.label, _LABEL_BYTES) for one in variables}
    values: dict[str, dict[int | float, str]] = {
        one.name: {code.number: _cut_bytes(code.label, _VALUE_LABEL_BYTES) for code in one.codes}
        for one in variables
        if one.codes
    }
    missing: dict[str, Any] = {}
    for one in variables:
        numbers = [code.number for code in one.codes if code.is_missing]
        if numbers:
            missing[one.name] = [{"lo": min(numbers), "hi": max(numbers)}]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.sav"
        pyreadstat.write_sav(
            frame,
            str(path),
            file_label=_cut_bytes(f"SYNTHETIC - {simulation.study.name}", 64),
            column_labels=labels,
            variable_value_labels=values,
            missing_ranges=missing,
            variable_measure={one.name: _find_measure(one) for one in variables},
            variable_format={one.name: _find_format(one) for one in variables if one.kind != "text"},
            note=[line for notice in simulation.list_notices() for line in _wrap_note(notice)],
        )
        data = bytearray(path.read_bytes())
    _overwrite_clock(data, simulation)
    return bytes(data)


def _to_column(variable: Variable) -> Any:
    if variable.kind == "text":
        return [str(text) for text in variable.values]
    return np.asarray(variable.values, dtype=np.float64)


def _find_measure(variable: Variable) -> str:
    if variable.kind == "number":
        return "scale"
    scaled = ("nps", "likert", "rating", "matrix", "semantic_differential", "ranking")
    is_ordered = variable.question is not None and variable.question.__struct_config__.tag in scaled
    return "ordinal" if is_ordered else "nominal"


def _find_format(variable: Variable) -> str:
    return f"F12.{variable.places}" if variable.places else "F8.0"


def _cut_bytes(text: str, size: int) -> str:
    """Return a text of at most `size` bytes in UTF-8, without a broken character at its end."""
    return text.encode()[:size].decode(errors="ignore")


def _wrap_note(text: str) -> list[str]:
    plain = text.encode("ascii", "replace").decode()
    return [plain[at : at + _NOTE_CHARACTERS] for at in range(0, len(plain), _NOTE_CHARACTERS)]


def _overwrite_clock(data: bytearray, simulation: Simulation) -> None:
    moment = simulation.date
    # strftime would write the month in the language of the machine.
    date = f"{moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year % 100:02d}{moment:%H:%M:%S}"
    data[DATE_AT : DATE_AT + len(date)] = date.encode("ascii")


def _write_syntax(simulation: Simulation, variables: Sequence[Variable]) -> bytes:
    return "\n".join(_list_syntax(simulation, variables)).encode() + b"\n"


def _list_syntax(simulation: Simulation, variables: Sequence[Variable]) -> Iterator[str]:
    yield "* Encoding: UTF-8."
    yield f"* {SYNTHETIC}"
    yield f"* {_to_comment(simulation.study.name)}. Model {_to_comment(simulation.method.model)}."
    yield "* Open the data file, then run this file."
    yield ""
    for question in simulation.study.questions:
        if not (isinstance(question, MultipleChoice) and question.multiple):
            continue
        names = [one.name for one in variables if one.group == question.id]
        yield "MRSETS"
        yield f"  /MDGROUP NAME=${_to_set_name(names)} LABEL={_quote(simulation.text_of(question))}"
        yield "   CATEGORYLABELS=VARLABELS"
        yield from _wrap_names(f"   VARIABLES={' '.join(names)} VALUE=1")
        yield f"  /DISPLAY NAME=[${_to_set_name(names)}]."
        yield ""
    yield "WEIGHT BY weight."
    yield "EXECUTE."


def _to_set_name(names: Sequence[str]) -> str:
    return names[0].rsplit("_", 1)[0]


def _wrap_names(line: str) -> Iterator[str]:
    """Yield a line in pieces of at most 200 characters. SPSS cuts lines above 256."""
    while len(line) > 200:
        at = line.rfind(" ", 0, 200)
        yield line[:at]
        line = f"    {line[at + 1 :]}"
    yield line


def _to_comment(text: str) -> str:
    """Return a text that cannot end a comment: it has no line break and no full stop at a line's end."""
    return " ".join(text.split()).rstrip(".")[:200]


def _quote(text: str) -> str:
    plain = " ".join(text.split()).replace("'", "''")
    return f"'{_cut_bytes(plain, 240)}'" if not _cut_bytes(plain, 240).endswith("'") else f"'{plain[:100]} '"
