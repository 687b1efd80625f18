"""Run `mavera db`: bring the tables up to date, check them, and move everything to another database."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import URL

from mavera import __version__
from mavera.cli.options import AsJSON, DataDir, format_time, print_json, print_line
from mavera.core.text import format_count
from mavera.errors import APIError, ConfigurationError, ServiceUnavailable
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.engine import hide_password, is_file, parse_location, settings_url
from mavera.storage.moving.closing import CopyMark, find_mark, open_to_writers
from mavera.storage.moving.copying import CopyReport, Ends, copy_database
from mavera.storage.schema import SchemaState, ensure_schema, find_schema_state, find_version
from mavera.storage.sealing import SECRET_FILE_NAME

T = TypeVar("T")

AGAIN_SECONDS = 1.0

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Upgrade, check and move the database.",
)

Wait = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for a database that cannot be reached.", min=0)
]


@app.command()
def upgrade(wait: Wait = 0.0, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Apply the missing migrations. Servers of the previous release may go on running on Postgres."""

    async def run(database: Database) -> tuple[str | None, str | None]:
        before = await find_version(database)
        await ensure_schema(database)
        return before, await find_version(database)

    before, after = asyncio.run(_use_database(load_settings(data_dir=data_dir), run, wait))
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        print_line(f"The database is at {after}. There was nothing to do.")
    else:
        print_line(f"The database went from {before or 'empty'} to {after}.")


@app.command()
def check(
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait until the check succeeds.", min=0)
    ] = 0.0,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Say whether this mavera can run on the database. Exits with 1 if it cannot. Changes nothing."""
    settings = load_settings(data_dir=data_dir)
    found = asyncio.run(_check(settings, wait))
    if as_json:
        print_json(asdict(found) | {"usable": found.is_usable, "version": __version__})
    else:
        typer.echo(found.describe())
    if not found.is_usable:
        raise typer.Exit(1)


@app.command()
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The URL of the database, or the path of an SQLite file.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="The URL of an empty database, or the path of a new file.")
    ],
    as_json: AsJSON = False,
) -> None:
    """
    Copy everything to another database, SQLite or Postgres. The source is closed to writers.

    Servers on the source answer requests that write with 503 from then on. An interrupted copy goes on if
    the command is repeated.
    """
    report = asyncio.run(_copy(source, target))
    if as_json:
        print_json(asdict(report) | {"rows": report.rows})
        return
    if report.already_copied:
        print_line("This source was copied before, and the copy is whole. There was nothing to do.")
        return
    print_line(
        f"Copied {format_count(report.rows, 'row')} of {format_count(len(report.tables), 'table')} in "
        f"{report.seconds:.1f} s. Rows, balances, ledgers, holds and spending are equal. Studies that "
        f"continue in the copy: {report.studies_continued}."
    )
    _print_next_steps(source, target)


@app.command()
def reopen(
    database: Annotated[
        str | None,
        typer.Argument(help="The URL or the file. The default is the database of the settings."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Open a database again that `mavera db copy` has closed. Copies of it are out of date from then on."""

    async def run(opened: Database) -> bool:
        await ensure_schema(opened)
        mark = await find_mark(opened)
        await open_to_writers(opened)
        return mark is not None and mark.role == "source"

    async def run_at(location: str) -> bool:
        async with _open_existing(location, "database") as opened:
            return await run(opened)

    if database is None:
        was_closed = asyncio.run(_use_database(load_settings(data_dir=data_dir), run, 0.0))
    else:
        was_closed = asyncio.run(run_at(database))
    print_line("The database is open again." if was_closed else "The database was not closed.")


@dataclass(frozen=True, slots=True)
class DatabaseCheck:
    """The result of `mavera db check`. `fault` says why this mavera cannot run on the database."""

    schema: SchemaState | None
    mark: CopyMark | None
    fault: str | None

    @property
    def is_usable(self) -> bool:
        return self.fault is None

    def describe(self) -> str:
        if self.fault is not None:
            return self.fault
        assert self.schema is not None  # noqa: S101 - a check without a fault has read it
        return (
            f"The database is at {self.schema.applied}, and this mavera {__version__} can run on it."
            f" It allows mavera {self.schema.lowest_version} and newer."
        )


async def _check(settings: Settings, wait: float) -> DatabaseCheck:
    """Look again and again, until the database is usable or the time is over."""
    deadline = time.monotonic() + wait
    while True:
        found = await _look(settings)
        if found.is_usable or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(AGAIN_SECONDS)


async def _look(settings: Settings) -> DatabaseCheck:
    url = settings_url(settings)
    if _is_missing_file(url):
        return DatabaseCheck(None, None, f"There is no file {url.database}. Make it with: mavera db upgrade")
    try:
        async with Database.open(settings) as database:
            state = await find_schema_state(database)
            mark = await find_mark(database) if not state.missing and state.applied else None
    except APIError as error:
        return DatabaseCheck(None, None, error.message)
    return DatabaseCheck(state, mark, _find_fault(state, mark))


def _find_fault(state: SchemaState, mark: CopyMark | None) -> str | None:
    if state.missing:
        return (
            f"The database is {f'at {state.applied}' if state.applied else 'empty'} and lacks"
            f" {len(state.missing)} migrations. Apply them with: mavera db upgrade"
        )
    if not state.is_allowed:
        return f"The database needs mavera {state.lowest_version} or newer; this is {__version__}."
    if mark is not None and mark.role == "source":
        return f"The database was closed at {format_time(mark.began_at)}, because its data was moved."
    if mark is not None and mark.ended_at is None:
        return "The database holds an unfinished copy of another one."
    return None


async def _copy(source: str, target: str) -> CopyReport:
    urls = [parse_location(source), parse_location(target)]
    if urls[0] == urls[1]:
        raise ConfigurationError("FROM and TO name the same database.")
    source_path = Path(str(urls[0].database)) if is_file(urls[0]) else None
    async with _open_existing(source, "source") as opened_source, Database.at(urls[1]) as opened_target:
        with _build_bar() as bar:
            task = bar.add_task("copying", total=None)
            return await copy_database(
                Ends(opened_source, opened_target, source_path),
                note_total=lambda rows: bar.update(task, total=rows),
                note=lambda table, rows: bar.update(task, advance=rows, description=table),
            )


def _build_bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


async def _use_database(settings: Settings, use: Callable[[Database], Awaitable[T]], wait: float) -> T:
    """Run `use`, again and again while the database cannot be reached and the time is not over."""
    deadline = time.monotonic() + wait
    while True:
        try:
            async with Database.open(settings) as database:
                return await use(database)
        except ServiceUnavailable:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def _open_existing(location: str, name: str) -> AsyncIterator[Database]:
    """Open a database that must exist already, because opening a missing file would make it."""
    url = parse_location(location)
    if _is_missing_file(url):
        raise ConfigurationError(f"The {name} {url.database} does not exist.")
    async with Database.at(url) as database:
        yield database


def _is_missing_file(url: URL) -> bool:
    return is_file(url) and not Path(str(url.database)).exists()


def _print_next_steps(source: str, target: str) -> None:
    """Print the way back, and the file that the servers of the copy need."""
    print_line(f"The source is closed. To go back to it, run: mavera db reopen {hide_password(source)}")
    url = parse_location(source)
    secret = Path(str(url.database)).parent / SECRET_FILE_NAME
    if is_file(url) and not is_file(parse_location(target)) and secret.exists():
        print_line(f"Kept answers are sealed with {secret}. Copy it into the data directory of each server.")
