"""
GET /health/live and /health/ready, for monitors of the process. They need no key.

`live` means that the process answers. `ready` means that no fault of this process, its disk or its version
keeps it from answering, and that it was not asked to stop, so it can get traffic. The body describes the
parts that all replicas share, such as Postgres, Redis or an upstream. A fault of one of them makes no
replica unready.
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
    The state of a model. An `idle` model starts with the first question.

    `detail` says what to do if the model is unavailable. An upstream is unavailable if this process's latest
    request to it failed. The health check itself sends it no request.
    """

    state: Literal["ready", "starting", "idle", "unavailable"]
    detail: str


class Ready(msgspec.Struct, kw_only=True):
    """
    The state of the server. `database_detail` is the fault of the database, or null.

    `draining` is true once the server was asked to stop. It still answers requests for MAVERA_DRAIN_SECONDS.
    `rate_limits` is `local` without Redis, and `unavailable` while each process counts for itself.
    """

    status: Literal["ready", "not_ready"]
    draining: bool = False
    database: PartState
    database_detail: str | None = None
    rate_limits: Literal["ready", "unavailable", "local"]
    model: ModelHealth
    models: dict[str, ModelHealth]


async def live(_: Request) -> Response:
    """Report that the process answers."""
    return json_response(Live())


async def ready(request: Request) -> Response:
    """Report whether this server can get traffic, by 200 or 503, and the state of each part."""
    services = services_of(request)
    store = await services.store_probe.state()
    model = services.models["live"].status()
    # A fault of a shared part makes no replica unready, because then all of them would leave at once.
    model_is_shared = services.settings.backend == "upstream"
    draining = request.app.state.drain.is_draining
    is_working = not store.is_fault_here and (model_is_shared or model.state in ("ready", "idle"))
    is_ready = is_working and not draining
    body = Ready(
        status="ready" if is_ready else "not_ready",
        draining=draining,
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
        other_statuses={503: "Not ready; the body has the reason."},
    ),
)
