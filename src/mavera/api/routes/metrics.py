"""
GET /metrics: what Prometheus scrapes. It is not part of the API, so it is not described there.

MAVERA_METRICS says who may read it: whoever has the token, everybody, or nobody. Without a token, which
is the default, nobody may. An address says nothing: behind a proxy on this machine every request comes
from here.

With several workers any of them answers for all. Each sends its numbers to the parent a few times
a second (`send_counts`), and what it gets back is all of them added up.
"""

import asyncio
import hashlib
import hmac
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
from mavera.settings import Settings

PATH = "/metrics"

log = structlog.get_logger()


def route(metrics: Metrics, exchange: Exchange | None = None) -> Route:
    """`exchange` is how several workers add up theirs, None if this process is alone."""

    async def read(request: Request) -> Response:
        """Return the metrics in Prometheus's text format."""
        services = services_of(request)
        _check_reader(request, services.settings)
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
        with suppress(APIError):  # a database that is away leaves the numbers of the last look
            await services.admission.look()
        if exchange is None:
            counted = metrics.take_snapshot()
        else:
            await asyncio.sleep(2 * SEND_SECONDS)  # until the others have sent what is done by now
            counted = await exchange(metrics.take_snapshot())
        return Response(format_metrics(counted, state), headers={"content-type": CONTENT_TYPE})

    return Route(PATH, read, methods=["GET"])


async def send_counts(metrics: Metrics, exchange: Exchange) -> None:
    """Send what has changed, until cancelled; then once more."""
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
                # Without the next exchange, the metrics would miss all that this worker counts from now on.
                log.exception("counts_not_sent", error=type(error).__name__)
    finally:
        await exchange(metrics.take_snapshot())


def _check_reader(request: Request, settings: Settings) -> None:
    """Raise NotFound if nobody may read, Unauthorized without the token."""
    if settings.metrics == "all":
        return
    if settings.metrics == "off" or not settings.metrics_token:
        raise NotFound(f"There is nothing at {PATH}. /docs lists what there is.")
    scheme, _, token = (header(request, b"authorization") or "").partition(" ")
    # Bytes of equal length: what is compared must not say how much of it was right.
    sent, expected = (
        hashlib.sha256(text.encode(errors="replace")).digest()
        for text in (token.strip(), settings.metrics_token)
    )
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent, expected):
        raise Unauthorized("Send the header 'Authorization: Bearer <the value of MAVERA_METRICS_TOKEN>'.")
