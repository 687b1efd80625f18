"""
The other ways to sign in, which the operator sets up in sign-in.toml: an OpenID Connect issuer, and a header
of a proxy.

    [oidc]
    issuer = "https://login.example.com/realms/acme"
    client_id = "mavera"
    client_secret = "…"

    [proxy]
    header = "X-Forwarded-User"
    addresses = ["10.0.0.0/8"]

    [[access]]
    claim = "groups"           # the proxy's header is the claim "user"
    value = "research"         # "*" is any value
    role = "member"            # operator, admin or member
    workspace = "c…"           # without it, the first workspace

Claims are read anew at each sign-in. The first row that matches gives the workspace and the role, and
somebody whom no row matches has no access.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from mavera.accounts.sessions.session import GivenRole
from mavera.errors import ConfigurationError, Forbidden
from mavera.settings import Settings

ANY = "*"
USER = "user"
_MOST_OF_NAME = 200


class OidcConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An issuer. `name` is on the button of the sign-in page, and `subject_claim` names the person.

    `allow_private` lets the issuer have a private address, and plain http.
    """

    issuer: str
    client_id: str
    client_secret: str = ""
    name: str = "single sign-on"
    scopes: str = "openid email profile"
    subject_claim: str = "email"
    allow_private: bool = False

    def __repr__(self) -> str:
        return f"OidcConfig(issuer={self.issuer!r}, …)"


class ProxyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header in which a proxy names the person. Only proxies at these addresses are believed."""

    header: str
    addresses: tuple[str, ...]


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the mapping. An empty `workspace` is the first one."""

    claim: str
    value: str
    role: GivenRole
    workspace: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    oidc: OidcConfig | None = None
    proxy: ProxyConfig | None = None
    access: tuple[Access, ...] = ()


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways to sign in of one server. Without a file, there are none."""

    oidc: OidcConfig | None = None
    proxy: ProxyConfig | None = None
    access: tuple[Access, ...] = ()

    def find_access(self, claims: Mapping[str, Any]) -> Access:
        """Return the first row that matches `claims`. Raises Forbidden if none does."""
        for row in self.access:
            value = claims.get(row.claim)
            values = value if isinstance(value, list) else [value]
            if any(isinstance(one, str) and one and row.value in (ANY, one) for one in values):
                return row
        raise Forbidden("You are known, but you have no access here. Ask the operator of this server.")

    def read_proxy_user(self, request: Request) -> str | None:
        """Return the person whom a listed proxy names, or None."""
        if self.proxy is None or request.client is None:
            return None
        name = self.proxy.header.lower().encode()
        values = [value for given, value in request.scope["headers"] if given == name]
        if len(values) != 1 or not self._is_listed(request.client.host):
            return None
        return str(values[0], "latin-1").strip()[:_MOST_OF_NAME] or None

    def _is_listed(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        listed = self.proxy.addresses if self.proxy else ()
        return any(plain in ipaddress.ip_network(entry, strict=False) for entry in listed)


def load_doors(settings: Settings) -> Doors:
    """Return the ways to sign in. Raises ConfigurationError, which names the file and its fault."""
    path = settings.resolved_sign_in_config
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        if settings.sign_in_config is not None:
            raise ConfigurationError(
                f"MAVERA_SIGN_IN_CONFIG points at {path}, which does not exist."
            ) from None
        return Doors()
    # A number of 5,000 digits raises ValueError, and deeply nested brackets raise RecursionError.
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    _check(path, file, settings)
    return Doors(file.oidc, file.proxy, file.access)


def _check(path: Path, file: _File, settings: Settings) -> None:
    if (file.oidc or file.proxy) and not file.access:
        raise ConfigurationError(f"{path}: without a table [[access]], nobody has access.")
    if file.oidc is not None:
        parts = urlsplit(file.oidc.issuer)
        schemes = ("https", "http") if file.oidc.allow_private else ("https",)
        if parts.scheme not in schemes or not parts.hostname:
            raise ConfigurationError(
                f"{path}: the issuer has to begin with https://, or with http:// if allow_private is true."
            )
        if not settings.public_url:
            raise ConfigurationError(
                f"{path}: the issuer sends people back to MAVERA_PUBLIC_URL, which is not set."
            )
    for entry in file.proxy.addresses if file.proxy else ():
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError as error:
            raise ConfigurationError(f"{path}: '{entry}' is not an address or a CIDR block.") from error


def doors_of(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors
