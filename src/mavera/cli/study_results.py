"""
Run the commands of `mavera study` that read a finished or running study: show, export, human, compare.

`study.py` lists all commands. The drawings are in `study_drawing.py`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, RenderableType

from mavera.cli.options import AsJSON, DataDir, print_json, print_line
from mavera.cli.study_drawing import draw_comparison, draw_human, draw_results
from mavera.cli.study_files import make_folder, read_text, write_file
from mavera.cli.study_office import Office, StudyId, compute_results, find_study, read_record, use_office
from mavera.errors import ConfigurationError
from mavera.focus_groups.desk import load_study_module
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.study import Row, Study

# The study ended, and some of its cells failed.
FAILED_CELLS = 3
FORMATS = ("csv", "xlsx", "sav", "triples", "json", "cells", "html")


def show(study: StudyId = "last", as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Draw the results of a study, complete or so far."""

    async def compute(office: Office) -> tuple[StudyRow, dict[str, Any]]:
        row = await find_study(office, study)
        return row, await compute_results(office, row)

    row, results = use_office(data_dir, compute)
    print_results(results, as_json=as_json)
    exit_for(row, results)


def export(
    study: StudyId = "last",
    out: Annotated[Path, typer.Option(help="The folder to write into.", file_okay=False)] = Path("."),
    kind: Annotated[
        str | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}. The default is all of them.")
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Write the files of a study: CSV, Excel, SPSS, Triple-S, JSON, raw cells, HTML report."""
    if kind is not None and kind not in FORMATS:
        raise ConfigurationError(f"There is no format '{kind}'. Formats: {', '.join(FORMATS)}.")
    written = write_exports(data_dir, study, out, FORMATS if kind is None else (kind,))
    if as_json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        print_line(str(path), err=True)


def human(
    study: StudyId,
    answers: Annotated[
        Path,
        typer.Argument(
            help="A CSV file with a row for each person, and columns named by the questions.",
            exists=True,
            dir_okay=False,
        ),
    ],
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Add the answers of real people to a study, and combine them with the simulation."""
    text = read_text(answers)

    async def add(office: Office) -> dict[str, Any]:
        row = await find_study(office, study)
        checked = load_study_module("reports").check_human(await read_record(office, row), text)
        row = await office.service.add_human(office.principal, row.id, checked)
        return await compute_results(office, row)

    results = use_office(data_dir, add)
    if as_json:
        print_json(results["human"])
        return
    _print(draw_human(results))


def compare(
    studies: Annotated[list[str], typer.Argument(help="The ids of two to five studies.")],
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Put studies side by side, question by question: waves, models, versions."""
    if not 2 <= len(studies) <= 5:
        raise ConfigurationError("Name two to five studies.")

    async def read(office: Office) -> dict[str, Any]:
        rows = [await find_study(office, one) for one in studies]
        if len({row.id for row in rows}) < len(rows):
            raise ConfigurationError("Name two to five different studies.")
        records = [await read_record(office, row) for row in rows]
        compared: dict[str, Any] = msgspec.to_builtins(load_study_module("reports").compare(records))
        for question in compared["questions"]:
            if question.get("row_id"):
                question["row_text"] = _find_row_text(records[0].row.study, question)
        return compared

    compared = use_office(data_dir, read)
    if as_json:
        print_json(compared)
        return
    _print(draw_comparison(compared))


def _find_row_text(study: Study, compared: dict[str, Any]) -> str:
    """Return the text of the row of a matrix that a compared question is about."""
    question = next(one for one in study.questions if one.id == compared["question_id"])
    rows: Sequence[Row] = getattr(question, "rows", ())
    return next(row.text for row in rows if row.id == compared["row_id"])


def write_exports(data_dir: Path | None, study: str, out: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Write files of a study into a folder, which is made if need be, and return their paths."""

    async def read(office: Office) -> Any:
        return await read_record(office, await find_study(office, study))

    record = use_office(data_dir, read)
    make_folder(out)
    reports = load_study_module("reports")
    paths = []
    for kind in kinds:
        file = reports.export(record, kind)
        paths.append(out / file.name)
        write_file(paths[-1], file.content)
    return paths


def print_results(results: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    _print(draw_results(results))


def _print(parts: Iterable[RenderableType]) -> None:
    # Labels and names of studies are texts of the user: brackets and colons in them mean nothing.
    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part)


def exit_for(row: StudyRow, results: dict[str, Any]) -> None:
    """End with 3 if cells failed, and with 1 if the study did."""
    if row.status == "FAILED":
        raise ConfigurationError(row.error or "The study failed.")
    failed = [one["question_id"] for one in results["results"] if one["failed"]]
    if row.status == "COMPLETED" and any("cells failed" in notice for notice in row.notices):
        print_line(
            f"Cells failed ({', '.join(failed)}). Ask them again: mavera study retry {row.id}", err=True
        )
        raise typer.Exit(FAILED_CELLS)
