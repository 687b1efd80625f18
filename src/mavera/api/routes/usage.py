"""
GET /usage: the workspace's use of credits, requests and tokens in a month, and the credits that are left.
"""

import datetime
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts import workspaces
from mavera.accounts.credits import usage
from mavera.accounts.credits.days import format_day
from mavera.accounts.credits.usage import GROUPINGS, Grouping, Span, Sums
from mavera.accounts.plans import month_bounds, month_of
from mavera.accounts.workspaces import Workspace
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.json import json_response
from mavera.api.http.lists import check_query
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import Forbidden, InvalidRequest, ServiceUnavailable, ValidationFailed

_MONTH = Parameter(
    "month",
    "query",
    "The figures cover this month in UTC, such as 2026-11. The default is the current month.",
    {"type": "string", "maxLength": 7},
)


_BY = Parameter(
    "by", "query", "What a line stands for.", {"type": "string", "enum": [*GROUPINGS], "default": "day"}
)


class Period(msgspec.Struct, kw_only=True):
    """A month in UTC: from `start` up to `end`, in Unix seconds."""

    start: int
    end: int


class CreditsUsed(msgspec.Struct, kw_only=True):
    """`included` and `remaining` are null if credits have no limit. `remaining` includes top-ups."""

    used: int
    included: int | None
    remaining: int | None
    percentage_used: float | None


class UpstreamCost(msgspec.Struct, kw_only=True):
    """The prices that upstreams charged, as far as models.toml has them."""

    currency: str
    amount: float


class RequestsMade(msgspec.Struct, kw_only=True):
    total_requests: int
    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    credits_used: int
    error_count: int
    avg_latency_ms: int
    upstream_costs: list[UpstreamCost]


class RateLimit(msgspec.Struct, kw_only=True):
    requests_per_minute: int
    requests_per_day: int | None


class SpendingLimits(msgspec.Struct, kw_only=True):
    """`usage_limit` is the workspace's budget for a month."""

    usage_limit: int | None
    budget_alerts: list[int]


class DayUsage(RequestsMade, kw_only=True):
    date: str


class KeyUsage(RequestsMade, kw_only=True):
    key_id: str
    key_name: str


class OperationUsage(RequestsMade, kw_only=True):
    operation: str | None


class ModelUsage(RequestsMade, kw_only=True):
    model: str | None


class PersonaUsage(RequestsMade, kw_only=True):
    persona_id: str | None


class UsageObject(msgspec.Struct, kw_only=True):
    """
    The usage of a workspace in one month.

    A day is a day of one of `time_zones`, and the workspace's budget begins anew with the month in UTC.
    """

    object: Literal["usage"] = "usage"
    workspace_id: str
    plan: str
    billing_period: Period
    credits: CreditsUsed
    api_requests: RequestsMade
    rate_limit: RateLimit
    limits: SpendingLimits
    upstream_costs: list[UpstreamCost]
    by_day: list[DayUsage]
    by_key: list[KeyUsage]
    by_persona: list[PersonaUsage]
    by_operation: list[OperationUsage]
    by_model: list[ModelUsage]
    time_zones: list[str]


async def get_usage(request: Request) -> Response:
    """Return the usage of the month."""
    principal = await authenticate(request, "usage:read")
    check_query(request, (_MONTH,))
    await services_of(request).admission.write_due_charges()
    database = services_of(request).database
    now = int(database.clock())
    month = _parse_month(request.query_params.get("month"), now)
    await workspaces.grant_due(database, principal.workspace_id, now=now)
    workspace = await workspaces.get(database, principal.workspace_id, now=now)
    span = Span(workspace.id, *month_bounds(month))
    names = await usage.name_keys(database, workspace.id)
    body = UsageObject(
        workspace_id=workspace.id,
        plan=workspace.plan,
        billing_period=Period(start=span.begin, end=span.end),
        credits=_count_credits(workspace, total := await usage.sum_all(database, span)),
        api_requests=RequestsMade(**_to_members(total)),
        rate_limit=RateLimit(
            requests_per_minute=workspace.limits.requests_per_minute,
            requests_per_day=workspace.limits.requests_per_day,
        ),
        limits=SpendingLimits(usage_limit=workspace.budget, budget_alerts=[50, 75, 90]),
        upstream_costs=_to_costs(total),
        by_day=[
            DayUsage(date=format_day(day), **_to_members(s))
            for day, s in await usage.sum_by_day(database, span)
        ],
        by_key=[
            KeyUsage(key_id=key, key_name=names.get(key, ""), **_to_members(s))
            for key, s in await usage.sum_by_key(database, span)
        ],
        by_persona=[
            PersonaUsage(persona_id=persona, **_to_members(s))
            for persona, s in await usage.sum_by_persona(database, span)
        ],
        by_operation=[
            OperationUsage(operation=name, **_to_members(s))
            for name, s in await usage.sum_by_operation(database, span)
        ],
        by_model=[
            ModelUsage(model=name, **_to_members(s)) for name, s in await usage.sum_by_model(database, span)
        ],
        time_zones=await usage.list_zones(database, span) or [workspace.reporting_zone],
    )
    return json_response(body)


def _count_credits(workspace: Workspace, total: Sums) -> CreditsUsed:
    included = None if workspace.unlimited else workspace.monthly_credits
    remaining = None if workspace.unlimited else workspace.balance
    percentage = None
    if remaining is not None:
        percentage = round(100 * total.credits / max(1, total.credits + remaining), 1)
    return CreditsUsed(used=total.credits, included=included, remaining=remaining, percentage_used=percentage)


async def export_usage(request: Request) -> Response:
    """Return the usage of the month as CSV, one line for each day, key, persona, operation or model."""
    principal = await authenticate(request, "usage:read")
    check_query(request, (_MONTH, _BY))
    await services_of(request).admission.write_due_charges()
    by = _parse_grouping(request.query_params.get("by", "day"))
    month = _parse_month(request.query_params.get("month"), int(services_of(request).database.clock()))
    database = services_of(request).database
    workspace = await workspaces.get(
        database, principal.workspace_id, now=int(services_of(request).database.clock())
    )
    span = Span(workspace.id, *month_bounds(month))
    zones = await usage.list_zones(database, span) or [workspace.reporting_zone]
    lines = await usage.read_groups(database, span, by)
    name = f"usage-{month // 100}-{month % 100:02}-by-{by}.csv"
    return Response(
        usage.write_csv(by, lines, zone=", ".join(zones)),
        media_type="text/csv",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _parse_grouping(text: str) -> Grouping:
    for known in GROUPINGS:
        if text == known:
            return known
    raise ValidationFailed(f"'by' is one of {', '.join(GROUPINGS)}.", param="by")


def _to_costs(sums: Sums) -> list[UpstreamCost]:
    return [UpstreamCost(currency=currency, amount=amount) for currency, amount in sums.costs]


def _to_members(sums: Sums) -> dict[str, Any]:
    return {
        "total_requests": sums.requests,
        "total_tokens": sums.input_tokens + sums.output_tokens,
        "prompt_tokens": sums.input_tokens,
        "completion_tokens": sums.output_tokens,
        "credits_used": sums.credits,
        "error_count": sums.errors,
        "avg_latency_ms": sums.mean_milliseconds,
        "upstream_costs": _to_costs(sums),
    }


def _parse_month(text: str | None, now: int) -> int:
    if text is None:
        return month_of(now)
    try:
        moment = datetime.datetime.strptime(text, "%Y-%m").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise ValidationFailed("'month' has to be a month, such as 2026-11.", param="month") from error
    if not 1970 <= moment.year < 9999:
        raise ValidationFailed("'month' has to be a month, such as 2026-11.", param="month")
    return moment.year * 100 + moment.month


OPERATIONS = (
    Operation(
        "GET",
        "/usage",
        get_usage,
        "Get usage",
        "Usage",
        description="Credits, requests and tokens of a month: in all, by day, by key and by persona.",
        response=UsageObject,
        parameters=(_MONTH,),
        errors=(Forbidden, InvalidRequest, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "GET",
        "/usage/export",
        export_usage,
        "Export usage",
        "Usage",
        description="The usage of a month as CSV.",
        media_type="text/csv",
        parameters=(_MONTH, _BY),
        errors=(Forbidden, InvalidRequest, ValidationFailed, ServiceUnavailable),
    ),
)
