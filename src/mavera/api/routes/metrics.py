"""
GET /metrics: the metrics for Prometheus. They are not part of the API, so OpenAPI does not list them.

MAVERA_METRICS says who may read them: clients with the token, everybody, or nobody. By default there is no
token, and nobody may read them. The client's address does not count, because behind a proxy on this machine
all requests come from the same address.

With several workers, any of them answers for all. Each worker sends its numbers to the parent a few times a
second (`send_counts`), and gets the sums over all workers.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mavera.api.http.auth import services_of
from mavera.api.http.headers import header
from mavera.api.routes.health import rate_limit_state
from mavera.errors import APIError, NotFound, Unauthorized
from mavera.metrics import CONTENT_TYPE, SEND_SECONDS, Exchange, Metrics, ModelState, format_metrics
from mavera.services import Services
from mavera.settings import Settings

Reader = Callable[[Services], Awaitable[bytes]]

PATH = "/metrics"

log = structlog.get_logger()


def route(read: Reader) -> Route:
    """Return the route of the server's own port."""

    async def respond(request: Request) -> Response:
        """Return the metrics in Prometheus's text format."""
        services = services_of(request)
        _check_reader(request, services.settings)
        return Response(await read(services), headers={"content-type": CONTENT_TYPE})

    return Route(PATH, respond, methods=["GET"])


def build_reader(metrics: Metrics, exchange: Exchange | None = None) -> Reader:
    """
    Return the function that reads the metrics in Prometheus's text format.

    `exchange` adds up the numbers of several workers. It is None for a single process.
    """

    async def read(services: Services) -> bytes:
        status = services.models["live"].status()
        state = ModelState(
            status.state in ("ready", "idle"),
            status.restarts,
            database_ready=(await services.store_probe.state()).is_ready,
            limits_ready=await rate_limit_state(services.limiter) != "unavailable",
            named={
                name: named.model.status().state in ("ready", "idle")
                for name, named in services.named_models.items()
            },
        )
        with suppress(APIError):  # without a database, the last numbers stay
            await services.admission.look()
        more = await services.focus_groups.read_gauges()
        if exchange is None:
            counted = metrics.take_snapshot()
        else:
            await asyncio.sleep(2 * SEND_SECONDS)  # until the other workers have sent their numbers
            counted = await exchange(metrics.take_snapshot())
        return format_metrics(counted, state, more)

    return read


async def send_counts(metrics: Metrics, exchange: Exchange) -> None:
    """Send changed numbers until cancelled, and then a last time."""
    sent = None
    try:
        while True:
            await asyncio.sleep(SEND_SECONDS)
            counted = metrics.take_snapshot()
            if counted == sent:
                continue
            try:
                await exchange(counted)
                sent = counted
            except APIError as error:
                log.warning("counts_not_sent", reason=error.message)
            except Exception as error:
                # Without the next exchange, the metrics would miss everything that this worker counts from
                # now on.
                log.exception("counts_not_sent", error=type(error).__name__)
    finally:
        await exchange(metrics.take_snapshot())


def _check_reader(request: Request, settings: Settings) -> None:
    """Raise NotFound if nobody may read the metrics, and Unauthorized without the right token."""
    if settings.metrics == "all":
        return
    if settings.metrics == "off" or not settings.metrics_token:
        raise NotFound(f"There is nothing at {PATH}. /docs lists all paths.")
    scheme, _, token = (header(request, b"authorization") or "").partition(" ")
    # Digests have equal length, so that the comparison does not reveal how much of the token is right.
    sent, expected = (
        hashlib.sha256(text.encode(errors="replace")).digest()
        for text in (token.strip(), settings.metrics_token)
    )
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent, expected):
        raise Unauthorized("Send the header 'Authorization: Bearer <the value of MAVERA_METRICS_TOKEN>'.")
