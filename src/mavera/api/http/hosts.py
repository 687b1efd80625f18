"""
Check the `Host` of requests: MAVERA_ALLOWED_HOSTS and the server's own addresses are allowed.

A stranger's web page can make its own name resolve to 127.0.0.1. Then it could read everything that a server
there shows without a key. Its requests have that name in `Host`, so they are refused:

    MAVERA_ALLOWED_HOSTS   names             these, and the ones below
                           empty             on a loopback address only the ones below, elsewhere any
    always                 localhost, loopback addresses, MAVERA_HOST, the host of MAVERA_PUBLIC_URL,
                           and the address to which the client connected
"""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.types import Scope

from mavera.errors import InvalidRequest
from mavera.settings import Settings

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.%]+)\]|(?P<name>[^:\[\]]*))(?::\d{1,5})?")
_KNOWN_AT_MOST = 256
_SHOWN = 100


class HostCheck:
    def __init__(self, settings: Settings) -> None:
        named = [
            name.strip().lower().rstrip(".") for name in settings.allowed_hosts.split(",") if name.strip()
        ]
        self._any = "*" in named or (not named and not is_loopback(settings.host))
        self._names = {"localhost", settings.host.lower().strip("[]"), _host_of(settings.public_url), *named}
        self._endings = tuple(name[1:] for name in named if name.startswith("*."))
        # A client sends the same header each time, and parsing an address is slow.
        self._known: set[bytes] = set()

    def check(self, scope: Scope) -> None:
        """Raise InvalidRequest unless the request is for a host of this server."""
        if self._any:
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and hosts[0] in self._known:
            return
        if not hosts and scope.get("http_version") == "1.0":
            return  # browsers do not speak HTTP/1.0
        if len(hosts) != 1 or not hosts[0]:
            raise InvalidRequest("The request has to have one header 'Host'.")
        host = _without_port(hosts[0].decode("latin-1"))
        if self._is_ours(host):
            if len(self._known) < _KNOWN_AT_MOST:
                self._known.add(hosts[0])
        elif host != (scope.get("server") or ("",))[0]:
            shown = host[:_SHOWN]
            raise InvalidRequest(
                f"This server does not answer to the host '{shown}'. If a proxy passes on that name, start"
                f" the server with MAVERA_ALLOWED_HOSTS={shown}"
            )

    def _is_ours(self, host: str) -> bool:
        return bool(host) and (host in self._names or host.endswith(self._endings) or is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, is a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _without_port(host: str) -> str:
    """Return the name or the address without its port. Any other text is returned unchanged."""
    match = _HOST.fullmatch(host.strip().lower())
    return (match["address"] or match["name"].rstrip(".")) if match else host


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
