"""
Run `mavera study`: write, check, run, read and export studies, without a server.

The commands work on the store of the data directory. A study that was interrupted goes on where it stopped
when the same file is run again. A server of the same store goes on with it too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mavera.accounts.credits.holds import Credits
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.principal import Principal
from mavera.accounts.sessions.links import address_of_server
from mavera.cli.options import AsJSON, DataDir, format_time, print_json, print_line
from mavera.cli.progress import wait_until_ready
from mavera.cli.study_drawing import draw_results
from mavera.cli.tables import Shown, print_table
from mavera.core.finish import finish
from mavera.core.text import format_count
from mavera.errors import ConfigurationError
from mavera.focus_groups import repository
from mavera.focus_groups.desk import digest_model, load_study_module
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.shares import MOST_SHARES, Share, Shares, path_of
from mavera.focus_groups.study import Study
from mavera.focus_groups.study_text import EXAMPLE
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.runs.images import ImageStep
from mavera.services import Components, open_store, open_study_parts
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.moment import moment_of

T = TypeVar("T")

# The study ended, and some of its cells failed.
FAILED_CELLS = 3
FORMATS = ("csv", "xlsx", "sav", "triples", "json", "cells", "html")
StudyFile = Annotated[Path, typer.Argument(help="The study file, YAML or JSON.", exists=True, dir_okay=False)]
StudyId = Annotated[str, typer.Argument(help="The study's id, or `last`.")]
StudyModel = Annotated[
    str | None, typer.Option("--model", help="The model that answers. It overrides the file's `model`.")
]

PastSurvey = Annotated[
    Path | None,
    typer.Option(
        "--calibrate",
        help="Correct the estimates by a past survey: a CSV file with the columns question, answer, share.",
        exists=True,
        dir_okay=False,
    ),
]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run studies with a panel of personas, and read their results.",
)
_COLUMNS = (
    Shown("study", is_text=True),
    Shown("status"),
    Shown("cells", is_number=True),
    Shown("id"),
    Shown("made", is_extra=True),
)


@dataclass(frozen=True, slots=True)
class Office:
    """The parts that the commands work with: the store, and the operator's own workspace."""

    database: Database
    settings: Settings
    service: Any
    principal: Principal


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml"),
) -> None:
    """Write an example study to begin with."""
    if path.exists():
        raise ConfigurationError(f"{path} exists already. Name another file.")
    path.write_text(EXAMPLE, encoding="utf-8")
    print_line(f"{path} is written. Next: mavera study check {path}")


@app.command()
def check(file: StudyFile, as_json: AsJSON = False) -> None:
    """Check a study file, and list every fault with its line."""
    faults = load_study_module("faults")
    try:
        study = _read(file)
    except faults.StudyError as error:
        if as_json:
            print_json({"ok": False, "faults": [msgspec.to_builtins(one) for one in error.faults]})
        else:
            for fault in error.faults:
                print_line(f"{file}: {fault}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        print_json({"ok": True, "study": study})
        return
    print_line(
        f"{file} is a valid study: {format_count(len(study.personas), 'persona')}, "
        f"{format_count(len(study.questions), 'question')}, {format_count(study.sample.size, 'respondent')}. "
        f"Next: mavera study estimate {file}"
    )


@app.command()
def estimate(
    file: StudyFile,
    model: StudyModel = None,
    calibrate: PastSurvey = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Say what a study would cost, and how long it would take."""
    study = _read_checked(file, model, calibrate)

    async def quote(office: Office) -> Any:
        return await office.service.quote(office.principal, study)

    found = _in_office(data_dir, quote)
    prices = load_study_module("prices")
    price = prices.price_study(study.sample.size, len(study.questions))
    if as_json:
        print_json({**msgspec.to_builtins(msgspec.json.decode(msgspec.json.encode(found))), "credits": price})
        return
    low, high = found.seconds
    reads = format_count(found.model_reads, "read of the model", "reads of the model")
    if found.prior_reads:
        reads += f", and once {found.prior_reads:,} that measure which places it prefers"
    print_line(f"{reads}; {_duration(low)} to {_duration(high)}.")
    print_line(f"Over HTTP it costs {format_count(price, 'credit')}. From the command line it costs none.")


@app.command()
def run(
    file: StudyFile,
    model: StudyModel = None,
    calibrate: PastSurvey = None,
    out: Annotated[
        Path | None, typer.Option(help="Write all files of the study into this folder.", file_okay=False)
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Run a study here, and draw its results. The same command goes on after an interruption."""
    study = _read_checked(file, model, calibrate)
    row, results = asyncio.run(_run(load_settings(data_dir=data_dir), study))
    if out is not None:
        _export_all(data_dir, row.id, out)
    _print_results(results, as_json=as_json)
    _exit_for(row, results)


@app.command("list")
def list_studies(as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the studies, newest first."""

    async def find(office: Office) -> list[tuple[StudyRow, Any]]:
        rows, _ = await office.service.list_page(office.principal, 100, None)
        return [(row, await office.service.count_progress(row)) for row in rows]

    found = _in_office(data_dir, find)
    if as_json:
        print_json([{**_describe(row), "cells": msgspec.to_builtins(vars_of(p))} for row, p in found])
        return
    rows = [
        (row.name, row.status, f"{progress.done}/{progress.total}", row.id, format_time(row.created_at))
        for row, progress in found
    ]
    print_table(_COLUMNS, rows, empty="There is no study yet. `mavera study new` writes one to begin with.")


@app.command()
def show(study: StudyId = "last", as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Draw the results of a study, complete or so far."""

    async def compute(office: Office) -> tuple[StudyRow, dict[str, Any]]:
        row = await _find(office, study)
        return row, await _compute(office, row)

    row, results = _in_office(data_dir, compute)
    _print_results(results, as_json=as_json)
    _exit_for(row, results)


@app.command()
def export(
    study: StudyId = "last",
    out: Annotated[Path, typer.Option(help="The folder to write into.", file_okay=False)] = Path("."),
    kind: Annotated[
        str | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}. The default is all of them.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the files of a study: CSV, Excel, SPSS, Triple-S, JSON, raw cells, HTML report."""
    if kind is not None and kind not in FORMATS:
        raise ConfigurationError(f"There is no format '{kind}'. Formats: {', '.join(FORMATS)}.")
    _export_all(data_dir, study, out, FORMATS if kind is None else (kind,))


@app.command("import")
def import_questionnaire(
    source: Annotated[
        Path, typer.Argument(help="A SurveyJS, Qualtrics or CSV file.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path | None, typer.Option(help="Write the study into this file.")] = None,
    kind: Annotated[
        str, typer.Option("--format", help="The format of the file: auto, surveyjs, qsf or csv.")
    ] = "auto",
) -> None:
    """Turn a questionnaire of another program into a study file, and say what was not carried over."""
    module = load_study_module("imports")
    content = source.read_text(encoding="utf-8-sig")
    try:
        imported = module.import_study(content, module.detect_format(content) if kind == "auto" else kind)
    except module.ImportRefused as error:
        raise ConfigurationError(str(error)) from error
    text = msgspec.yaml.encode(imported.study).decode()
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, encoding="utf-8")
        print_line(f"{out} is written. Add the personas. Next: mavera study check {out}")
    for line in imported.report:
        print_line(f"Not carried over: {line}", err=True)


@app.command()
def copy(
    study: StudyId,
    changes: Annotated[
        Path | None, typer.Argument(help="A file with the fields to change, YAML or JSON.", exists=True)
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="The number of respondents.")] = None,
    model: StudyModel = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Run a study again with changes. Cells that did not change are not asked again."""
    settings = load_settings(data_dir=data_dir)

    async def make(office: Office) -> tuple[StudyRow, Study]:
        source = await _find(office, study)
        members = msgspec.to_builtins(source.study)
        if changes is not None:
            members |= msgspec.yaml.decode(changes.read_bytes(), type=dict[str, Any])
        if size is not None:
            members["sample"] = {**members.get("sample", {}), "size": size}
        if model is not None:
            members["model"] = model
        return source, _check(members)

    source, changed = _in_office(data_dir, make)
    row, results = asyncio.run(_run(settings, changed, source=source))
    _print_results(results, as_json=as_json)
    _exit_for(row, results)


@app.command()
def retry(study: StudyId, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Ask the failed cells of a study again, and those that were never asked."""
    settings = load_settings(data_dir=data_dir)

    async def reopen(office: Office) -> StudyRow:
        row: StudyRow = await office.service.retry(office.principal, (await _find(office, study)).id)
        return row

    row, results = asyncio.run(_run(settings, _in_office(data_dir, reopen).study))
    _print_results(results, as_json=as_json)
    _exit_for(row, results)


@app.command()
def compare(
    studies: Annotated[list[str], typer.Argument(help="The ids of two to five studies.")],
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Put studies side by side, question by question: waves, models, versions."""
    if not 2 <= len(studies) <= 5:
        raise ConfigurationError("Name two to five studies.")

    async def read(office: Office) -> dict[str, Any]:
        records = [await office.service.read(await _find(office, one)) for one in studies]
        compared: dict[str, Any] = msgspec.to_builtins(load_study_module("reports").compare(records))
        return compared

    compared = _in_office(data_dir, read)
    if as_json:
        print_json(compared)
        return
    console = Console(highlight=False)
    names = [f"{one['name']} {one['letter']}" for one in compared["studies"]]
    for question in compared["questions"]:
        table = Table("figure", *names, title=question["text"], title_justify="left")
        for line in question["lines"]:
            pairs = zip(line["values"], line["letters"], strict=True)
            table.add_row(
                line["label"], *(f"{_figure(value)} {letters}".rstrip() for value, letters in pairs)
            )
        console.print(table)
    for notice in compared["notices"]:
        console.print(notice, style="yellow")


@app.command()
def panel(
    customers: Annotated[Path, typer.Argument(help="A CSV file with a row for each customer.", exists=True)],
    by: Annotated[str, typer.Option(help="The columns that make groups, separated by commas.")],
    most: Annotated[int, typer.Option(min=1, max=10, help="The largest number of personas.")] = 10,
    create: Annotated[
        bool,
        typer.Option(
            "--create", help="Make the personas in the workspace, and print the `personas` of a study file."
        ),
    ] = False,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Group a customer table into personas with weights. Nothing is made without --create."""
    module = load_study_module("customers")
    try:
        groups = module.group_customers(customers.read_text(encoding="utf-8-sig"), by.split(","), most)
    except module.TableRefused as error:
        raise ConfigurationError(f"{customers}: {error}") from error
    if not create:
        if as_json:
            print_json([msgspec.to_builtins(group.describe()) for group in groups])
            return
        table = Table("persona", "customers", "weight")
        for group in groups:
            table.add_row(group.name, f"{group.customers:,}", f"{group.weight:.1%}")
        Console().print(table)
        print_line("Nothing is made yet. Add --create to make these personas.")
        return

    async def make(office: Office) -> list[dict[str, Any]]:
        people = Personas(PersonaLibrary.load(), office.database)
        made = []
        for group in groups:
            persona = await people.create(office.principal, group.to_sheet())
            made.append(
                {"id": persona.id, "weight": round(group.weight, 4), "attributes": dict(group.attributes)}
            )
        return made

    typer.echo(msgspec.yaml.encode({"personas": _in_office(data_dir, make)}).decode())


@app.command()
def share(
    study: StudyId = "last",
    days: Annotated[int, typer.Option(min=1, max=365, help="The link works for this many days.")] = 30,
    show: Annotated[bool, typer.Option("--list", help="List the links that work, and make none.")] = False,
    revoke: Annotated[str | None, typer.Option(help="End the link with this id, and make none.")] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Share a study read-only by a link that needs no key. Its console page shows nothing else."""

    async def use(office: Office) -> Any:
        row = await _find(office, study)
        shares = Shares(office.database)
        if revoke is not None:
            await shares.revoke(office.principal, row.id, revoke)
            return revoke
        if show:
            return (await shares.list_page(office.principal, row.id, MOST_SHARES))[0]
        return await shares.create(office.principal, row.id, days=days)

    found = _in_office(data_dir, use)
    if revoke is not None:
        print_line(f"{found} is revoked.")
    elif show:
        _print_shares(found, as_json=as_json)
    else:
        url = address_of_server(load_settings(data_dir=data_dir)) + path_of(found.secret)
        if as_json:
            print_json({**msgspec.to_builtins(found.share), "url": url})
            return
        typer.echo(url)
        print_line(
            f"It works until {format_time(found.share.expires_at)}. Its id is {found.share.id}.", err=True
        )


def _print_shares(shares: list[Share], *, as_json: bool) -> None:
    if as_json:
        print_json([msgspec.to_builtins(one) for one in shares])
        return
    rows = [(one.id, format_time(one.expires_at), format_time(one.created_at)) for one in shares]
    columns = (Shown("link"), Shown("works until"), Shown("made", is_extra=True))
    print_table(columns, rows, empty="Nobody has a link to this study.")


@app.command()
def cancel(study: StudyId, data_dir: DataDir = None) -> None:
    """Stop a running study. It keeps the answers that it has."""

    async def stop(office: Office) -> StudyRow:
        row = await _find(office, study)
        cancelled: StudyRow = await office.service.cancel(office.principal, row.id)
        return cancelled

    row = _in_office(data_dir, stop)
    print_line(f"{row.id}: {'stops now' if not row.is_finished else row.status}")


def _read(file: Path) -> Study:
    study: Study = load_study_module("study_file").read_study_file(file.read_bytes()).study
    return study


def _read_checked(file: Path, model: str | None, past: Path | None = None) -> Study:
    """Return the study of a file. Raises ConfigurationError with every fault."""
    faults = load_study_module("faults")
    try:
        study = _read(file)
    except faults.StudyError as error:
        raise ConfigurationError(f"{file} is no valid study.\n{error}") from error
    if past is not None:
        try:
            shares = load_study_module("calibration_checks").read_past_survey(past.read_bytes(), study)
        except faults.StudyError as error:
            raise ConfigurationError(f"{past} does not fit the study.\n{error}") from error
        study = replace(study, calibration=shares)
    return replace(study, model=model) if model else study


def _check(members: dict[str, Any]) -> Study:
    faults = load_study_module("faults")
    try:
        study: Study = load_study_module("study_file").check_members(members).study
    except faults.StudyError as error:
        raise ConfigurationError(f"The changed study is not valid.\n{error}") from error
    return study


def _in_office(data_dir: Path | None, use: Callable[[Office], Awaitable[T]]) -> T:
    """Run `use` on the store of the settings, without a model."""

    async def run() -> T:
        settings = load_settings(data_dir=data_dir)
        async with open_store(settings) as database, Credits(database) as credits:
            return await use(await _open_office(settings, database, credits))

    return asyncio.run(run())


async def _open_office(
    settings: Settings, database: Database, credits: Credits, images: ImageStep | None = None
) -> Office:
    components = Components.of(settings)
    service = load_study_module("service").FocusGroups(
        database,
        credits,
        Personas(PersonaLibrary.load(), database),
        components.named,
        model_digest=digest_model(settings),
        images=images,
    )
    principal = Principal.local(await find_first_workspace_id(database) or "")
    return Office(database, settings, service, principal)


async def _find(office: Office, study: str) -> StudyRow:
    """Return a study by its id, or the newest one. Raises NotFound."""
    if study != "last":
        row: StudyRow = await office.service.get(office.principal, study)
        return row
    rows, _ = await office.service.list_page(office.principal, 1, None)
    if not rows:
        raise ConfigurationError("There is no study yet. Begin with: mavera study new")
    newest: StudyRow = rows[0]
    return newest


async def _run(
    settings: Settings, study: Study, source: StudyRow | None = None
) -> tuple[StudyRow, dict[str, Any]]:
    """Run a study in this process, with a bar, and return it with its results."""
    console = Console(stderr=True, highlight=False)
    worker = load_study_module("worker")
    with worker.claim_worker_id(settings.data_dir) as worker_id:
        async with _open_program(settings, worker_id, console) as (office, program):
            row = await _begin(office, study, worker_id, source, console)
            if row.worker_id != worker_id or row.fence == 0:
                taken = await program.take(row.id)
                if taken is None:
                    raise ConfigurationError(f"A server runs {row.id} now. Look: mavera study show {row.id}")
                row = taken
            async with _bar(office, row, console):
                try:
                    await program.run(row)
                except BaseException:
                    await finish(program.release(row))
                    console.print(f"{row.id} is interrupted. The same command goes on with it.")
                    raise
            row = await office.service.get(office.principal, row.id)
            return row, await _compute(office, row)


async def _begin(
    office: Office, study: Study, worker_id: str, source: StudyRow | None, console: Console
) -> StudyRow:
    known = await repository.find_unfinished(
        office.database, office.principal, study, study.model or "mavera-1"
    )
    if known is not None:
        console.print(f"Going on with {known.id}.")
        return replace(known, worker_id=None)
    row: StudyRow = await office.service.create(office.principal, study, source=source, worker_id=worker_id)
    return row


@asynccontextmanager
async def _open_program(
    settings: Settings, worker_id: str, console: Console
) -> AsyncIterator[tuple[Office, Any]]:
    components = Components.of(settings)
    program = load_study_module("program")
    interviewing = load_study_module("interviewing")
    async with open_study_parts(settings, components) as parts, Credits(parts.database) as credits:
        await wait_until_ready(components.model, console)
        models = interviewing.Models(parts.library, parts.models, parts.named_models, parts.images)
        office = await _open_office(settings, parts.database, credits, parts.images)
        yield (
            office,
            program.StudyProgram(
                parts.database,
                credits,
                models.open_interviewer,
                worker_id=worker_id,
                moment=moment_of(parts.database, None),
                places=max(1, settings.running_at_once // 2) if settings.backend == "upstream" else 1,
            ),
        )


@asynccontextmanager
async def _bar(office: Office, row: StudyRow, console: Console) -> AsyncIterator[None]:
    """Show how many cells have their answer, during the block."""
    columns = (TextColumn("Asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        first = await office.service.count_progress(row)
        task = bar.add_task("", total=first.total, completed=first.done)

        async def follow() -> None:
            while True:
                bar.update(task, completed=(await office.service.count_progress(row)).done)
                await asyncio.sleep(0.5)

        follower = asyncio.create_task(follow())
        try:
            yield
            bar.update(task, completed=first.total)
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)


async def _compute(office: Office, row: StudyRow) -> dict[str, Any]:
    record = await office.service.read(row)
    if not record.book:
        raise ConfigurationError(f"{row.id} has no answers yet. {row.error or ''}".strip())
    results: dict[str, Any] = load_study_module("reports").compute_results(record)
    return results


def _export_all(data_dir: Path | None, study: str, out: Path, kinds: tuple[str, ...] = FORMATS) -> None:
    async def read(office: Office) -> Any:
        return await office.service.read(await _find(office, study))

    record = _in_office(data_dir, read)
    reports = load_study_module("reports")
    out.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        file = reports.export(record, kind)
        (out / file.name).write_bytes(file.content)
        print_line(f"{out / file.name}", err=True)


def _print_results(results: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    console = Console(highlight=False)
    for part in draw_results(results):
        console.print(part)


def _exit_for(row: StudyRow, results: dict[str, Any]) -> None:
    """End with 3 if cells failed, and with 1 if the study did."""
    if row.status == "FAILED":
        raise ConfigurationError(row.error or "The study failed.")
    failed = [one["question_id"] for one in results["results"] if one["failed"]]
    if row.status == "COMPLETED" and any("cells failed" in notice for notice in row.notices):
        print_line(
            f"Cells failed ({', '.join(failed)}). Ask them again: mavera study retry {row.id}", err=True
        )
        raise typer.Exit(FAILED_CELLS)


def _describe(row: StudyRow) -> dict[str, Any]:
    names = (
        "id",
        "name",
        "status",
        "model",
        "created_at",
        "started_at",
        "ended_at",
        "error",
        "limit_reached",
    )
    return {name: getattr(row, name) for name in names}


def vars_of(progress: Any) -> dict[str, int]:
    return {"total": progress.total, "answered": progress.answered, "failed": progress.failed}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
