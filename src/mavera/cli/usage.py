"""Run `mavera usage`: show a workspace's usage this month as a table and a bar chart, as CSV or as JSON."""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from mavera.accounts.credits import usage
from mavera.accounts.credits.days import UTC, format_day
from mavera.accounts.credits.usage import Span, Sums
from mavera.accounts.plans import month_bounds, month_of
from mavera.accounts.principal import Principal
from mavera.cli.options import AsJSON, DataDir, print_json
from mavera.cli.store import InWorkspace, choose_workspace, with_database
from mavera.cli.tables import Shown, print_table
from mavera.core.text import format_count
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.settings import Settings
from mavera.storage.database import Database

app = typer.Typer(add_completion=False)

_BAR = 40
_NUMBERS = (
    Shown("requests", is_number=True),
    Shown("tokens", is_number=True),
    Shown("credits", is_number=True),
    Shown("errors", is_number=True),
    Shown("ms a request", is_number=True, is_extra=True),
)


@dataclass(frozen=True, slots=True)
class _Used:
    total: Sums
    days: list[tuple[str, Sums]]
    keys: list[tuple[str, Sums]]
    personas: list[tuple[str, Sums]]
    operations: list[tuple[str, Sums]]
    models: list[tuple[str, Sums]]
    lines: list[tuple[str, str, Sums]]
    zone: str
    names: dict[str, str]
    """The names of keys and personas, by id."""

    @property
    def upstream_costs(self) -> list[tuple[str, float]]:
        return self.total.costs


@app.command()
def show_usage(
    workspace: InWorkspace = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a line for each day, for spreadsheets.")
    ] = False,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Show the usage of a workspace this month."""

    async def add_up(database: Database, _: Settings) -> _Used:
        workspace_id = await choose_workspace(database, workspace)
        span = Span(workspace_id, *month_bounds(month_of(database.clock())))
        return _Used(
            await usage.sum_all(database, span),
            [(format_day(day), sums) for day, sums in await usage.sum_by_day(database, span)],
            await usage.sum_by_key(database, span),
            [(persona or "(none)", sums) for persona, sums in await usage.sum_by_persona(database, span)],
            [(name or "(none)", sums) for name, sums in await usage.sum_by_operation(database, span)],
            [(name or "(none)", sums) for name, sums in await usage.sum_by_model(database, span)],
            await usage.read_groups(database, span, "day"),
            ", ".join(await usage.list_zones(database, span)) or UTC,
            await _name_all(database, workspace_id),
        )

    used = with_database(data_dir, add_up)
    if as_json:
        print_json(_document(used))
    elif as_csv:
        sys.stdout.write(usage.write_csv("day", used.lines, zone=used.zone))
    else:
        _print(used)


async def _name_all(database: Database, workspace_id: str) -> dict[str, str]:
    personas = await Personas(PersonaLibrary.load(), database).roll(Principal.local(workspace_id))
    named = {persona.id: persona.name for persona in personas.list()}
    return {**named, **await usage.name_keys(database, workspace_id)}


def _print(used: _Used) -> None:
    console = Console(highlight=False)
    total = used.total
    if not total.requests:
        console.print("No request was made this month.")
        return
    figures = (
        format_count(total.input_tokens + total.output_tokens, "token"),
        format_count(total.errors, "error"),
        f"{total.mean_milliseconds:,} ms a request",
    )
    console.print(
        f"[bold]{format_count(total.credits, 'credit')}[/] for "
        f"{format_count(total.requests, 'request')} this month, {', '.join(figures)}\n"
    )
    for currency, amount in used.upstream_costs:
        console.print(
            f"{amount:,.4f} {currency} charged by the models' servers, by the prices in models.toml\n"
        )
    most = max((sums.credits for _, sums in used.days), default=0) or 1
    for date, sums in used.days:
        bar = "█" * round(_BAR * sums.credits / most) or "▏"
        console.print(f"{date}  [green]{bar}[/] {sums.credits:,}")
    tables = (("key", used.keys), ("persona", used.personas), ("operation", used.operations))
    for title, rows in (*tables, ("model", used.models)):
        if rows:
            lines = [
                (used.names.get(name, name), *(f"{number:,}" for number in _numbers(sums)))
                for name, sums in rows
            ]
            print_table((Shown(title, is_text=True), *_NUMBERS), lines, empty="")


def _numbers(sums: Sums) -> tuple[int, ...]:
    tokens = sums.input_tokens + sums.output_tokens
    return (sums.requests, tokens, sums.credits, sums.errors, sums.mean_milliseconds)


def _document(used: _Used) -> dict[str, Any]:
    return {
        "total": _public(used.total),
        "upstream_costs": [{"currency": name, "amount": amount} for name, amount in used.upstream_costs],
        "by_day": [{"date": date, **_public(sums)} for date, sums in used.days],
        "by_key": [{"key_id": key, **_public(sums)} for key, sums in used.keys],
        "by_persona": [{"persona_id": persona, **_public(sums)} for persona, sums in used.personas],
        "by_operation": [{"operation": name, **_public(sums)} for name, sums in used.operations],
        "by_model": [{"model": name, **_public(sums)} for name, sums in used.models],
        "time_zone": used.zone,
    }


def _public(sums: Sums) -> dict[str, int]:
    return {
        "requests": sums.requests,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "credits": sums.credits,
        "errors": sums.errors,
        "mean_milliseconds": sums.mean_milliseconds,
    }
