"""
GET /health/live and /health/ready, for whoever watches the process. No key needed.

live: the process answers. ready: no fault of this process, its disk or its version keeps it from
answering, so traffic may be sent here. Parts that all replicas share (Postgres, Redis, an upstream)
are described in the body and make none of them unready.
"""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.limits.windows import Limiter, SharedLimiter
from mavera.api.http.auth import services_of
from mavera.api.http.json import json_response
from mavera.api.http.operations import Operation
from mavera.models.model import ModelStatus

PartState = Literal["ready", "unavailable"]


class Live(msgspec.Struct, kw_only=True):
    status: Literal["alive"] = "alive"


class ModelHealth(msgspec.Struct, kw_only=True):
    """
    `idle`: starts with the first question. `detail` says what to do if it is unavailable.

    An upstream is unavailable if the latest request of this process failed there; it is not asked for this.
    """

    state: Literal["ready", "starting", "idle", "unavailable"]
    detail: str


class Ready(msgspec.Struct, kw_only=True):
    """
    `database_detail` says what is wrong with the database, null if nothing is. `rate_limits` is
    `local` if no Redis is set up, and `unavailable` while each process counts for itself.
    """

    status: Literal["ready", "not_ready"]
    database: PartState
    database_detail: str | None = None
    rate_limits: Literal["ready", "unavailable", "local"]
    model: ModelHealth
    models: dict[str, ModelHealth]


async def live(_: Request) -> Response:
    """Say that the process answers."""
    return json_response(Live())


async def ready(request: Request) -> Response:
    """Say whether traffic may be sent here, 200 or 503, and how each part is."""
    services = services_of(request)
    store = await services.store_probe.state()
    model = services.models["live"].status()
    # What all replicas share makes none of them unready: all would leave at once, for one fault.
    model_is_shared = services.settings.backend == "upstream"
    is_ready = not store.is_fault_here and (model_is_shared or model.state in ("ready", "idle"))
    body = Ready(
        status="ready" if is_ready else "not_ready",
        database="ready" if store.is_ready else "unavailable",
        database_detail=store.detail,
        rate_limits=await rate_limit_state(services.limiter),
        model=_to_health(model),
        models={name: _to_health(named.model.status()) for name, named in services.named_models.items()},
    )
    return json_response(body, status=200 if is_ready else 503)


def _to_health(status: ModelStatus) -> ModelHealth:
    return ModelHealth(state=status.state, detail=status.detail)


async def rate_limit_state(limiter: Limiter) -> Literal["ready", "unavailable", "local"]:
    if not isinstance(limiter, SharedLimiter):
        return "local"
    return "ready" if await limiter.is_reachable() else "unavailable"


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
