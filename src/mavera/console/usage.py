"""Usage and credits: a month by day, key, persona, operation and model, with budgets and the ledger."""

import datetime
from dataclasses import dataclass

from starlette.responses import Response

from mavera.accounts import workspaces
from mavera.accounts.administration import WorkspaceChanges, update_own_workspace
from mavera.accounts.credits import usage
from mavera.accounts.credits.days import day_of, format_day
from mavera.accounts.credits.usage import GROUPINGS, Grouping, Span, Sums
from mavera.accounts.plans import month_bounds, month_of
from mavera.console.forms import Form, read_form
from mavera.console.policy import secure
from mavera.console.visit import Page, Visit
from mavera.errors import APIError, InvalidRequest, NotFound

_PATH = "/console/w/{workspace_id}/usage"
LEDGER_SHOWN = 20
LINES_SHOWN = 50
WIDTH, HEIGHT, LEFT, BASE, TOP = 720, 200, 52, 172, 14


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: what it stands for, and its sums."""

    name: str
    detail: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the chart, in the units of its drawing."""

    x: float
    y: float
    width: float
    height: float
    label: str
    credits: int


@dataclass(frozen=True, slots=True)
class Tick:
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars by day on an axis that begins at zero."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    days: tuple[tuple[float, str], ...]


async def show_usage(visit: Visit) -> Response:
    visit.principal.require("usage:read")
    return await _render(visit, Form(()))


async def export_usage(visit: Visit) -> Response:
    """Return a table of the month as CSV, as the API does."""
    visit.principal.require("usage:read")
    by = visit.request.query_params.get("by", "day")
    grouping = next((known for known in GROUPINGS if known == by), None)
    if grouping is None:
        raise NotFound("There is no such table.")
    month = _read_month(visit)
    await visit.services.admission.write_due_charges()
    database = visit.services.database
    workspace = await workspaces.get(database, visit.workspace_id, now=int(database.clock()))
    span = Span(visit.workspace_id, *month_bounds(month))
    zones = await usage.list_zones(database, span) or [workspace.reporting_zone]
    text = usage.write_csv(grouping, await usage.read_groups(database, span, grouping), zone=", ".join(zones))
    name = f"usage-{month // 100}-{month % 100:02}-by-{grouping}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return secure(Response(text, media_type="text/csv", headers=headers))


async def save_budget(visit: Visit) -> Response:
    """Set the workspace's budget and the time zone of its days."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    database = visit.services.database
    try:
        changes = WorkspaceChanges(
            budget=form.whole_number("budget", "The budget"),
            reporting_zone=form.text("reporting_zone") or "UTC",
        )
        await update_own_workspace(database, visit.principal, changes, now=int(database.clock()))
    except APIError as error:
        return await _render(visit, form, error)
    return visit.redirect("usage")


async def _render(visit: Visit, form: Form, error: APIError | None = None) -> Response:
    services, database = visit.services, visit.services.database
    await services.admission.write_due_charges()
    now = int(database.clock())
    month = _read_month(visit)
    workspace = await workspaces.get(database, visit.workspace_id, now=now)
    span = Span(workspace.id, *month_bounds(month))
    found = await usage.read_all(database, span)
    names = await usage.name_keys(database, workspace.id)
    before = _read_before(visit)
    ledger = await workspaces.list_ledger(database, workspace.id, limit=LEDGER_SHOWN + 1, before=before)
    people = {persona.id: persona.name for persona in services.personas.library}
    if set(found.personas) - {"", *people}:
        people |= {one.id: one.name for one in await services.personas.roll(visit.principal)}
    tables: list[tuple[Grouping, str, list[Line]]] = [
        ("key", "By key", _list_lines(found.keys, names, "a deleted key")),
        ("persona", "By persona", _list_lines(found.personas, people, "without a persona")),
        ("operation", "By operation", _list_lines(found.operations, {}, "not recorded")),
        ("model", "By model", _list_lines(found.models, {}, "no model")),
    ]
    return visit.render(
        "usage/usage.html",
        workspace=workspace,
        month=_format_month(month),
        month_before=_format_month(_shift(month, -1)),
        month_after=_format_month(_shift(month, 1)) if month < month_of(now) else None,
        total=found.total,
        zones=", ".join(found.zones) or workspace.reporting_zone,
        chart=draw_days(found.days, span.first_day, span.last_day),
        days=[Line(format_day(day), "", sums) for day, sums in sorted(found.days.items())],
        tables=tables,
        most=LINES_SHOWN,
        alerts=await workspaces.list_alerts(database, workspace.id, month=month),
        ledger=ledger[:LEDGER_SHOWN],
        ledger_before=ledger[LEDGER_SHOWN - 1]["id"] if len(ledger) > LEDGER_SHOWN else None,
        may_change="admin" in visit.principal.scopes,
        form=form,
        error=error,
        status=error.status if error else 200,
    )


def _list_lines(groups: dict[str, Sums], names: dict[str, str], nothing: str) -> list[Line]:
    """Return the lines of a table, those with the most credits first."""
    ordered = sorted(groups.items(), key=lambda item: (-item[1].credits, -item[1].requests, item[0]))
    return [
        Line(names.get(value, value) or nothing, value if value in names else "", sums)
        for value, sums in ordered
    ]


def draw_days(days: dict[int, Sums], first: int, last: int) -> Chart:
    """Place a bar for each day from `first` through `last`."""
    highest = _round_up(max((sums.credits for sums in days.values()), default=0))
    step = (WIDTH - LEFT - 8) / (last - first + 1)
    bars = []
    for day in range(first, last + 1):
        credits = days.get(day, Sums()).credits
        height = (BASE - TOP) * max(credits, 0) / highest
        bars.append(
            Bar(
                round(LEFT + step * (day - first) + step * 0.14, 2),
                round(BASE - height, 2),
                round(step * 0.72, 2),
                round(height, 2),
                format_day(day),
                credits,
            )
        )
    ticks = [
        Tick(round(BASE - (BASE - TOP) * part / 2, 2), f"{highest * part // 2:,}")
        for part in range(3)
        if highest > 1 or part != 1
    ]
    shown = [day for day in range(first, last + 1) if (day - first) % 7 == 0]
    labels = [(round(LEFT + step * (day - first + 0.5), 2), str(int(format_day(day)[8:]))) for day in shown]
    return Chart(tuple(bars), tuple(ticks), tuple(labels))


def _round_up(highest: int) -> int:
    """Return the end of an axis: the next even 1, 2 or 5 with zeros."""
    if highest <= 2:
        return 2
    size: int = 10 ** (len(str(highest)) - 1)
    steps: tuple[int, ...] = (1, 2, 4, 6, 8)
    return next((size * step for step in steps if size * step >= highest), size * 10)


def _read_month(visit: Visit) -> int:
    text = visit.request.query_params.get("month")
    if text is None:
        return month_of(visit.services.database.clock())
    try:
        moment = datetime.datetime.strptime(text[:7], "%Y-%m").replace(tzinfo=datetime.UTC)
        day_of(moment.date())
    except ValueError as error:
        raise InvalidRequest("A month looks like 2026-11.", param="month") from error
    if not 1970 <= moment.year < 9999:
        raise InvalidRequest("A month looks like 2026-11.", param="month")
    return moment.year * 100 + moment.month


def _read_before(visit: Visit) -> int | None:
    text = visit.request.query_params.get("before", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _shift(month: int, months: int) -> int:
    number = month // 100 * 12 + month % 100 - 1 + months
    return number // 12 * 100 + number % 12 + 1


def _format_month(month: int) -> str:
    return f"{month // 100}-{month % 100:02}"


ROUTES = (
    Page("GET", _PATH, show_usage),
    Page("GET", f"{_PATH}/export", export_usage),
    Page("POST", f"{_PATH}/budget", save_budget),
)
