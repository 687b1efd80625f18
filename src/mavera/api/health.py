"""
GET /health/live and /health/ready, for whoever watches the process. No key needed.

live: the process answers. ready: it can answer a question, so traffic may be sent here.
"""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.api.auth import services_of
from mavera.api.json import json_response
from mavera.api.operation import Operation
from mavera.errors import ServiceUnavailable


class Live(msgspec.Struct, kw_only=True):
    status: Literal["alive"] = "alive"


class ModelHealth(msgspec.Struct, kw_only=True):
    """`idle`: starts with the first question. `detail` says what to do where it is unavailable."""

    state: Literal["ready", "starting", "idle", "unavailable"]
    detail: str


class Ready(msgspec.Struct, kw_only=True):
    status: Literal["ready", "not_ready"]
    database: Literal["ready", "unavailable"]
    model: ModelHealth


async def live(_: Request) -> Response:
    """Say that the process answers."""
    return json_response(Live())


async def ready(request: Request) -> Response:
    """Say whether a question can be answered now: 200 or 503, with the reason."""
    services = services_of(request)
    try:
        await services.database.fetch_one("SELECT 1 AS one")
        database_ready = True
    except ServiceUnavailable:
        database_ready = False
    model = services.models["live"].status()
    is_ready = database_ready and model.state in ("ready", "idle")
    body = Ready(
        status="ready" if is_ready else "not_ready",
        database="ready" if database_ready else "unavailable",
        model=ModelHealth(state=model.state, detail=model.detail),
    )
    return json_response(body, status=200 if is_ready else 503)


OPERATIONS = (
    Operation(
        "GET",
        "/health/live",
        live,
        "Is the process up?",
        "Health",
        response=Live,
        absolute=True,
        needs_key=False,
    ),
    Operation(
        "GET",
        "/health/ready",
        ready,
        "Can it answer?",
        "Health",
        response=Ready,
        absolute=True,
        needs_key=False,
        other_statuses={503: "Not now; the body says why."},
    ),
)
