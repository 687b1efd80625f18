"""The addresses of the links that sign somebody in."""

from urllib.parse import quote

from mavera.accounts.sessions.sessions import NewToken
from mavera.settings import Settings

LINK_PATH = "/console/sign-in/link"


def address_of_link(server_url: str, token: NewToken) -> str:
    return f"{server_url}{LINK_PATH}?token={quote(token.text)}"


def address_of_server(settings: Settings) -> str:
    """Return the address at which browsers reach a server with these settings."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"
