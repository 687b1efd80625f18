"""
GET /metrics: what Prometheus scrapes. It is not part of the API, so it is not described there.

Who may read it says MAVERA_METRICS: programs on this machine, everybody, or nobody.
"""

import ipaddress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mavera.api.auth import services_of
from mavera.api.headers import header
from mavera.errors import Forbidden, NotFound
from mavera.metrics import CONTENT_TYPE, Metrics, ModelState

PATH = "/metrics"
# A proxy on this machine passes on what comes from others, and says so.
_PASSED_ON = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


def route(metrics: Metrics) -> Route:
    async def read(request: Request) -> Response:
        """Return the metrics in Prometheus's text format."""
        services = services_of(request)
        _check_reader(request, services.settings.metrics)
        status = services.models["live"].status()
        state = ModelState(status.state in ("ready", "idle"), status.restarts)
        return Response(metrics.exposition(lambda: state), headers={"content-type": CONTENT_TYPE})

    return Route(PATH, read, methods=["GET"])


def _check_reader(request: Request, readers: str) -> None:
    if readers == "off":
        raise NotFound(f"There is nothing at {PATH}. /docs lists what there is.")
    if readers == "local" and not _is_local(request):
        raise Forbidden("Only programs on the server's machine may read its metrics (MAVERA_METRICS).")


def _is_local(request: Request) -> bool:
    if request.client is None or any(header(request, name) is not None for name in _PASSED_ON):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
