"""
Plans with their limits and credits, and the scopes of keys.

    plan         a minute   a day     at once   credits a month
    free               10      100        10               500
    pro                60    5,000        60             5,000
    business          300   50,000       300            50,000
    enterprise  1,000,000        –         –         unlimited      each can be set per workspace

Requests are counted per key. Concurrent runs and credits are counted per workspace.
"""

import datetime
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from mavera.errors import InvalidRequest

PlanName = Literal["free", "pro", "business", "enterprise"]
Scope = Literal[
    "responses", "personas:read", "personas:write", "focus_groups", "usage:read", "admin", "operator"
]

PLAN_NAMES: tuple[PlanName, ...] = get_args(PlanName)
SCOPES: tuple[Scope, ...] = get_args(Scope)
# The scope of the operator, who manages every workspace. An API key never gives it to another key.
OPERATOR: Scope = "operator"
# The scopes of a workspace's own admin.
ADMIN_SCOPES: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope != OPERATOR)
# A key gets these scopes unless it is made with others: everything except making keys.
DEFAULT_SCOPES: tuple[Scope, ...] = tuple(scope for scope in ADMIN_SCOPES if scope != "admin")


class Limits(msgspec.Struct, frozen=True):
    """The limits of requests and runs. None means no limit."""

    requests_per_minute: int
    requests_per_day: int | None
    concurrent_runs: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    limits: Limits
    monthly_credits: int | None


PLANS: dict[PlanName, Plan] = {
    "free": Plan(Limits(10, 100, 10), 500),
    "pro": Plan(Limits(60, 5_000, 60), 5_000),
    "business": Plan(Limits(300, 50_000, 300), 50_000),
    "enterprise": Plan(Limits(1_000_000, None, None), None),
}


@dataclass(frozen=True, slots=True)
class Overrides:
    """The limits that are set for one enterprise workspace. None keeps the plan's limit."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    concurrent_runs: int | None = None
    monthly_credits: int | None = None


def to_plan_name(name: str) -> PlanName:
    """Return the plan's name. Raises InvalidRequest if there is no such plan."""
    for known in PLAN_NAMES:
        if name == known:
            return known
    raise InvalidRequest(f"There is no plan '{name[:60]}'; plans are {', '.join(PLAN_NAMES)}.", param="plan")


def limits_of(plan: str, overrides: Overrides) -> Limits:
    limits = PLANS[to_plan_name(plan)].limits
    return Limits(
        overrides.requests_per_minute or limits.requests_per_minute,
        overrides.requests_per_day or limits.requests_per_day,
        overrides.concurrent_runs or limits.concurrent_runs,
    )


def monthly_credits_of(plan: str, overrides: Overrides) -> int | None:
    """Return the credits that are granted each month, or None if credit is unlimited."""
    if overrides.monthly_credits is not None:
        return overrides.monthly_credits
    return PLANS[to_plan_name(plan)].monthly_credits


def check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return each scope once, in the order of `SCOPES`. Raises InvalidRequest if one is unknown, or none."""
    for scope in scopes:
        if scope not in SCOPES:
            raise InvalidRequest(
                f"There is no scope '{scope[:60]}'; scopes are {', '.join(SCOPES)}.", param="scopes"
            )
    if not scopes:
        raise InvalidRequest("A key needs at least one scope.", param="scopes")
    return tuple(scope for scope in SCOPES if scope in scopes)


def month_of(seconds: float) -> int:
    """Return the month of a time in UTC, as a number such as 202611."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.year * 100 + moment.month


def month_bounds(month: int) -> tuple[int, int]:
    """Return the beginnings of a month and of the next one, in Unix seconds."""
    year, number = divmod(month, 100)
    after = (year + 1, 1) if number == 12 else (year, number + 1)
    begin, end = (datetime.datetime(y, m, 1, tzinfo=datetime.UTC) for y, m in ((year, number), after))
    return int(begin.timestamp()), int(end.timestamp())
