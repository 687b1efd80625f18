"""
Ask an OpenID Connect issuer who somebody is: the authorization code flow with PKCE.

    begin       →  the address of the issuer's sign-in, and a Flow for the browser to keep
    finish      code, state, Flow  →  token endpoint  →  ID token  →  its claims

The ID token is checked here: its signature by joserfc with the issuer's keys, and `iss`, `aud`, `azp`, `exp`,
`iat` and `nonce` with two minutes of skew. An unknown key id makes the keys be read again, because issuers
rotate them. The module is imported only if an issuer is set up, because it needs the extra `oidc`.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from mavera.console.doors import OidcConfig
from mavera.errors import APIError, Forbidden, InvalidRequest, ServiceUnavailable
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch

SKEW_SECONDS = 120
FLOW_SECONDS = 600
# A stranger can send tokens with any key id, and must not make us ask the issuer each time.
LEAST_SECONDS_BETWEEN_KEYS = 10.0
DISCOVERY_SECONDS = 3600.0
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_JSON = frozenset({"application/json", "application/jwk-set+json"})
_MOST_BYTES = 512 * 1024
_CALLER = "oidc"


class Flow(msgspec.Struct, frozen=True):
    """The secrets of one sign-in that is under way. The browser keeps them in a cookie."""

    state: str
    nonce: str
    verifier: str
    next_path: str
    began_at: int

    @classmethod
    def new(cls, next_path: str, *, now: int) -> Self:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, next_path, now)

    def to_text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Return the flow in a cookie, or None if it is not one."""
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (ValueError, msgspec.DecodeError):
            return None


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class Issuer:
    def __init__(
        self, config: OidcConfig, redirect_uri: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._fetch = GuardedFetch(_build_policy(config))
        self._discovery: tuple[float, _Discovery] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def begin(self, next_path: str) -> tuple[str, Flow]:
        """Return the address of the issuer's sign-in, and the flow. Raises ServiceUnavailable."""
        discovery = await self._discover()
        flow = Flow.new(next_path, now=int(self._clock()))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._config.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return _add_query(discovery.authorization_endpoint, query), flow

    async def finish(self, flow: Flow, *, code: str, state: str, iss: str | None) -> dict[str, Any]:
        """
        Return the claims about the person who came back with `code`.

        Raises Forbidden if anything does not fit, and ServiceUnavailable if the issuer cannot be asked.
        """
        if not hmac.compare_digest(flow.state.encode(), state.encode(errors="replace")):
            raise Forbidden("This sign-in was begun in another browser. Begin again.")
        if flow.began_at < self._clock() - FLOW_SECONDS:
            raise Forbidden("This sign-in took too long. Begin again.")
        if iss is not None and iss != self._config.issuer:
            raise Forbidden("This answer came from another issuer.")
        discovery = await self._discover()
        token = await self._redeem(discovery, code, flow.verifier)
        return await self._check(token, flow.nonce)

    async def find_sign_out(self, back: str) -> str | None:
        """Return the address at which the issuer signs people out, or None if it has none."""
        endpoint = (await self._discover()).end_session_endpoint
        query = {"client_id": self._config.client_id, "post_logout_redirect_uri": back}
        return _add_query(endpoint, query) if endpoint else None

    async def _discover(self) -> _Discovery:
        if self._discovery is not None and self._clock() - self._discovery[0] < DISCOVERY_SECONDS:
            return self._discovery[1]
        body = await self._get(f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(body, type=_Discovery)
        except msgspec.DecodeError as error:
            raise _unavailable() from error
        if found.issuer != self._config.issuer:
            raise ServiceUnavailable("The issuer describes itself under another name than in sign-in.toml.")
        self._discovery = self._clock(), found
        return found

    async def _redeem(self, discovery: _Discovery, code: str, verifier: str) -> str:
        """Return the ID token for a code."""
        config = self._config
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": config.client_id,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        if config.client_secret:
            pair = f"{quote(config.client_id, safe='')}:{quote(config.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        try:
            status, body = await self._fetch.exchange(
                discovery.token_endpoint, fields, headers, caller=_CALLER, max_bytes=_MOST_BYTES, param=None
            )
        except APIError as error:
            raise _unavailable() from error
        if status != 200:
            raise Forbidden("The issuer did not accept this sign-in. Begin again.")
        try:
            return msgspec.json.decode(body, type=_Tokens).id_token
        except msgspec.DecodeError as error:
            raise _unavailable() from error

    async def _check(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token. Raises Forbidden unless it is for us and for this sign-in."""
        try:
            try:
                decoded = jwt.decode(token, await self._read_keys(), algorithms=ALGORITHMS)
            except InvalidKeyIdError:
                decoded = jwt.decode(token, await self._read_keys(anew=True), algorithms=ALGORITHMS)
            claims = decoded.claims
            registry = jwt.JWTClaimsRegistry(
                now=int(self._clock()),
                leeway=SKEW_SECONDS,
                iss={"essential": True, "value": self._config.issuer},
                aud={"essential": True, "value": self._config.client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            registry.validate(claims)
        except (JoseError, ValueError) as error:
            raise Forbidden("The issuer's answer is not valid for this sign-in. Begin again.") from error
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self._config.client_id:
            raise Forbidden("The issuer's answer is for another program.")
        return claims

    async def _read_keys(self, *, anew: bool = False) -> KeySet:
        now = self._clock()
        if self._keys is not None and (not anew or now - self._keys[0] < LEAST_SECONDS_BETWEEN_KEYS):
            return self._keys[1]
        body = await self._get((await self._discover()).jwks_uri)
        try:
            keys = KeySet.import_key_set(msgspec.json.decode(body))
        except (JoseError, ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
            raise _unavailable() from error
        self._keys = now, keys
        return keys

    async def _get(self, url: str) -> bytes:
        try:
            return await self._fetch.get(
                url, caller=_CALLER, content_types=_JSON, max_bytes=_MOST_BYTES, param=None
            )
        except InvalidRequest as error:
            raise _unavailable() from error


def _build_policy(config: OidcConfig) -> FetchPolicy:
    """Return the rules for the issuer's addresses: public ones, unless the operator allows its host."""
    parts = urlsplit(config.issuer)
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    hosts = frozenset({host}) if config.allow_private else frozenset()
    return FetchPolicy(hosts=hosts, ports=frozenset({443, port}), total_timeout_seconds=10.0)


def _add_query(url: str, query: dict[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"


def _unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("The sign-in server cannot be asked now. Retry in a moment.", retry_after=5)
