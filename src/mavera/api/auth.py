"""Who is asking: the key in the Authorization header, and what it belongs to."""

from starlette.requests import Request

from mavera.accounts.keyring import Principal
from mavera.api.services import Services


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def authenticate(request: Request) -> Principal:
    """Return whose key the request carries. Raises Unauthorized, saying what is wrong with it."""
    principal = await services_of(request).keyring.authenticate(request.headers.get("authorization"))
    request.state.log = {"key": principal.key_id}
    return principal
