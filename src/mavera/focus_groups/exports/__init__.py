"""
Write a study into files that researchers use.

    csv       one row for each respondent, and a codebook           csv_file.py
    xlsx      banner tables, verbatims, method                      workbook.py
    sav       SPSS data, and a syntax file                          spss.py
    triples   Triple-S 2.0: a ZIP of XML and CSV                triples.py
    json      the wire object                                       json_file.py
    cells     the raw record, a JSON object in each line            json_file.py
    html      a self-contained report with SVG charts               report.py

Every file says that the answers are synthetic. The same study gives the same bytes: no file carries the
clock, a path or a random number. `build_export` imports a format's libraries when it is asked for, because
pandas takes seconds.
"""

import importlib
import io
import zipfile
from dataclasses import dataclass
from typing import Literal, get_args

from mavera.focus_groups.simulation import Simulation

Format = Literal["csv", "xlsx", "sav", "triples", "json", "cells", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)

_MODULES: dict[str, str] = {
    "csv": "csv_file",
    "xlsx": "workbook",
    "sav": "spss",
    "triples": "triples",
    "json": "json_file",
    "cells": "json_file",
    "html": "report",
}
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of an export."""

    name: str
    media_type: str
    content: bytes


def build_export(simulation: Simulation, file_format: Format) -> tuple[ExportFile, ...]:
    """
    Return the files of a format. The first one has the answers; codebooks and syntax files follow.

    Blocks for up to seconds: call it in a thread. Raises ModuleNotFoundError without the extra `research`.
    """
    module = importlib.import_module(f"mavera.focus_groups.exports.{_MODULES[file_format]}")
    files: tuple[ExportFile, ...] = getattr(module, f"build_{file_format}")(simulation)
    return files


def pack_files(files: tuple[ExportFile, ...], name: str) -> ExportFile:
    """Return one ZIP archive of several files, or the file if there is only one. Its bytes carry no clock."""
    if len(files) == 1:
        return files[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.content)
    return ExportFile(f"{name}.zip", "application/zip", buffer.getvalue())


def name_file(simulation: Simulation, ending: str) -> str:
    """Return a file name: the id of the study, then `ending`."""
    return f"{simulation.id}{ending}"
