"""
Run `mavera study`: write, check, run, read and export studies, without a server.

The commands work on the store of the data directory. A study that was interrupted goes on where it stopped
when the same file is run again. A server of the same store goes on with it too.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from mavera.accounts.sessions.links import address_of_server
from mavera.cli.options import AsJSON, DataDir, format_time, print_json, print_line
from mavera.cli.study_files import (
    check_changed,
    find_faults,
    make_folder,
    read_changes,
    read_file,
    read_study,
    read_text,
    refuse_existing,
    write_new,
)
from mavera.cli.study_office import Office, StudyId, find_study, use_office
from mavera.cli.study_results import (
    FORMATS,
    compare,
    exit_for,
    export,
    human,
    print_results,
    show,
    write_exports,
)
from mavera.cli.study_running import end_cancelled, run_study
from mavera.cli.tables import Shown, print_table
from mavera.core.text import format_count
from mavera.errors import ConfigurationError
from mavera.focus_groups.desk import load_study_module
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.shares import MOST_SHARES, Share, Shares, path_of
from mavera.focus_groups.study import Study
from mavera.focus_groups.study_changes import change_members
from mavera.focus_groups.study_text import EXAMPLE
from mavera.settings import load_settings

StudyFile = Annotated[Path, typer.Argument(help="The study file, YAML or JSON.", exists=True, dir_okay=False)]
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


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml"),
) -> None:
    """Write an example study to begin with."""
    write_new(path, EXAMPLE)
    print_line(f"{path} is written. Next: mavera study check {path}")


@app.command()
def check(file: StudyFile, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Check a study file, and list every fault with its line."""
    study, faults = find_faults(read_file(file), data_dir)
    if as_json:
        shown = {"study": study} if study is not None else {"faults": faults}
        print_json({"ok": study is not None, **shown})
    if study is None:
        if not as_json:
            for fault in faults:
                print_line(f"{file}: {fault}", err=True)
        raise typer.Exit(1)
    if not as_json:
        print_line(
            f"{file} is a valid study: {format_count(len(study.personas), 'persona')}, "
            f"{format_count(len(study.questions), 'question')}, "
            f"{format_count(study.sample.size, 'respondent')}. Next: mavera study estimate {file}"
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
    study = read_study(file, model=model, past=calibrate, data_dir=data_dir)

    async def quote(office: Office) -> Any:
        return await office.service.quote(office.principal, study)

    found = use_office(data_dir, quote)
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
    study = read_study(file, model=model, past=calibrate, data_dir=data_dir)
    if out is not None:
        make_folder(out)
    row, results = asyncio.run(run_study(load_settings(data_dir=data_dir), study))
    if out is not None:
        for path in write_exports(data_dir, row.id, out, FORMATS):
            print_line(str(path), err=True)
    print_results(results, as_json=as_json)
    exit_for(row, results)


@app.command("list")
def list_studies(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The largest number of studies.")] = 100,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """List the studies, newest first."""

    async def find(office: Office) -> tuple[list[tuple[StudyRow, Any]], bool]:
        rows, cursor = await office.service.list_page(office.principal, limit, None)
        counts = await office.service.count_progress_of(rows)
        return [(row, counts[row.id]) for row in rows], cursor is not None

    found, has_more = use_office(data_dir, find)
    if as_json:
        print_json([{**_describe(row), "cells": msgspec.to_builtins(vars_of(p))} for row, p in found])
        return
    rows = [
        (row.name, row.status, f"{progress.done}/{progress.total}", row.id, format_time(row.created_at))
        for row, progress in found
    ]
    print_table(_COLUMNS, rows, empty="There is no study yet. `mavera study new` writes one to begin with.")
    if has_more:
        print_line(f"Older studies are not shown. Show them with --limit {2 * limit}.", err=True)


app.command()(show)
app.command()(export)


@app.command("import")
def import_questionnaire(
    source: Annotated[
        Path, typer.Argument(help="A SurveyJS, Qualtrics or CSV file.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path | None, typer.Option(help="Write the study into this file.")] = None,
    kind: Annotated[
        str, typer.Option("--format", help="The format of the file: auto, surveyjs, qsf or csv.")
    ] = "auto",
    as_json: AsJSON = False,
) -> None:
    """Turn a questionnaire of another program into a study file, and say what was not carried over."""
    module = load_study_module("imports")
    if kind not in ("auto", *module.IMPORT_FORMATS):
        raise ConfigurationError(
            f"There is no format '{kind}'. Formats: auto, {', '.join(module.IMPORT_FORMATS)}."
        )
    if out is not None:
        refuse_existing(out)
    content = read_text(source)
    try:
        imported = module.import_study(content, module.detect_format(content) if kind == "auto" else kind)
    except module.ImportRefused as error:
        raise ConfigurationError(f"{source}: {error}") from error
    report = [str(note) for note in imported.report]
    text = msgspec.yaml.encode(imported.study).decode()
    if out is not None:
        write_new(out, text)
    if as_json:
        print_json({"study": imported.study, "report": report})
        return
    if out is None:
        typer.echo(text)
    else:
        print_line(f"{out} is written. Add the personas. Next: mavera study check {out}")
    for line in report:
        print_line(f"Not carried over: {line}", err=True)


@app.command()
def copy(
    study: StudyId,
    changes: Annotated[
        Path | None,
        typer.Argument(help="A file with the fields to change, YAML or JSON.", exists=True, dir_okay=False),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="The number of respondents.")] = None,
    model: StudyModel = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Run a study again with changes. Cells that did not change are not asked again."""
    settings = load_settings(data_dir=data_dir)
    changed_fields = {} if changes is None else read_changes(changes)

    async def make(office: Office) -> tuple[StudyRow, Study]:
        source = await find_study(office, study)
        members = change_members(msgspec.to_builtins(source.study), changed_fields)
        if size is not None:
            members = change_members(members, {"sample": {"size": size}})
        if model is not None:
            members["model"] = model
        return source, check_changed(members)

    source, changed = use_office(data_dir, make)
    row, results = asyncio.run(run_study(settings, changed, source=source))
    print_results(results, as_json=as_json)
    exit_for(row, results)


@app.command()
def retry(study: StudyId, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Ask the failed cells of a study again, and those that were never asked."""
    settings = load_settings(data_dir=data_dir)

    async def reopen(office: Office) -> StudyRow:
        row = await find_study(office, study)
        if row.is_finished:
            row = await office.service.retry(office.principal, row.id)
        return row

    # A retry that was interrupted goes on, like a run.
    reopened = use_office(data_dir, reopen)
    row, results = asyncio.run(run_study(settings, reopened.study, known=reopened))
    print_results(results, as_json=as_json)
    exit_for(row, results)


app.command()(human)
app.command()(compare)


@app.command()
def panel(
    customers: Annotated[
        Path, typer.Argument(help="A CSV file with a row for each customer.", exists=True, dir_okay=False)
    ],
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
        groups = module.group_customers(read_text(customers), by.split(","), most)
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
        made = []
        for group in groups:
            persona = await office.personas.create(office.principal, group.to_sheet())
            made.append(
                {"id": persona.id, "weight": round(group.weight, 4), "attributes": dict(group.attributes)}
            )
        return made

    made = {"personas": use_office(data_dir, make)}
    if as_json:
        print_json(made)
    else:
        typer.echo(msgspec.yaml.encode(made).decode())


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
        row = await find_study(office, study)
        shares = Shares(office.database)
        if revoke is not None:
            await shares.revoke(office.principal, row.id, revoke)
            return revoke
        if show:
            return (await shares.list_page(office.principal, row.id, MOST_SHARES))[0]
        return await shares.create(office.principal, row.id, days=days)

    found = use_office(data_dir, use)
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
def cancel(study: StudyId, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Stop a running study. It keeps the answers that it has."""

    async def stop(office: Office) -> StudyRow:
        row = await find_study(office, study)
        cancelled: StudyRow = await office.service.cancel(office.principal, row.id)
        await end_cancelled(office, cancelled)
        ended: StudyRow = await office.service.get(office.principal, row.id)
        return ended

    row = use_office(data_dir, stop)
    if as_json:
        print_json(_describe(row))
        return
    print_line(f"{row.id}: {'stops now' if not row.is_finished else row.status}")


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
