"""
Idempotency-Key: a request that is sent twice runs once, and both responses have the same bytes.

Only the response of a completed run is kept, streamed or not. After a failure, the request can be made
again. A kept stream is sent at once, with the bytes of the first one.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mavera.accounts.idempotency import NAME_MAX, Claim, FirstResponse, FirstResponses
from mavera.accounts.principal import Principal
from mavera.api.http import sse
from mavera.api.http.auth import services_of
from mavera.api.http.decoding import SMALL_BODY_BYTES
from mavera.api.http.headers import header
from mavera.api.http.operations import Parameter
from mavera.core.finish import finish
from mavera.errors import APIError
from mavera.runs.charged import ChargedRun

log = structlog.get_logger()

# A response repeats parts of its request, so a caller could make it as large as it likes.
MAX_KEPT_BYTES = 8 * 1024 * 1024

KEY_PARAMETER = Parameter(
    "Idempotency-Key",
    "header",
    "The same key with the same request returns the first response, for a day.",
    {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
)

Begin = Callable[[], Awaitable[tuple[ChargedRun, Response]]]


async def respond_once(request: Request, principal: Principal, body: bytes, begin: Begin) -> Response:
    """Return the response that `begin` makes, or the first one if the client sent this request before."""
    name = header(request, b"idempotency-key")
    if name is None:
        return (await begin())[1]
    responses = services_of(request).first_responses
    digest = await _digest(request.scope["path"], body)
    claim = Claim(principal.workspace_id, principal.key_id, name, digest)
    first = await responses.claim(claim)
    if first is not None:
        headers = {"idempotent-replayed": "true", "content-type": first.content_type}
        return Response(first.body, headers=headers)
    try:
        run, response = await begin()
    except BaseException:
        await _free(responses, claim)
        raise
    return _Kept(response, run, responses, claim)


async def keep_made(
    request: Request,
    principal: Principal,
    body: bytes,
    make: Callable[[], Awaitable[bytes]],
    *,
    status: int = 201,
) -> Response:
    """Respond with the JSON that `make` returns, or that it returned to the same request before."""
    name = request.headers.get("idempotency-key")
    if name is None:
        return Response(await make(), status_code=status, media_type="application/json")
    responses = services_of(request).first_responses
    digest = await _digest(request.scope["path"], body)
    claim = Claim(principal.workspace_id, principal.key_id, name, digest)
    first = await responses.claim(claim)
    if first is not None:
        headers = {"idempotent-replayed": "true", "content-type": first.content_type}
        return Response(first.body, status_code=status, headers=headers)
    try:
        made = await make()
        try:
            await finish(responses.keep(claim, FirstResponse("application/json", made)))
        except APIError as error:
            log.warning("first_response_not_kept", reason=error.message)
    finally:
        await _free(responses, claim)
    return Response(made, status_code=status, media_type="application/json")


async def _digest(path: str, body: bytes) -> str:
    """Return a digest that identifies this request. A thread hashes a large body, without the GIL."""

    def compute_digest() -> str:
        digest = hashlib.sha256(path.encode() + b"\n")
        digest.update(body)
        return digest.hexdigest()

    return compute_digest() if len(body) <= SMALL_BODY_BYTES else await asyncio.to_thread(compute_digest)


class _Kept(Response):
    """Send a response, and keep what was sent."""

    def __init__(self, response: Response, run: ChargedRun, responses: FirstResponses, claim: Claim) -> None:
        self._response = response
        self._run = run
        self._responses = responses
        self._claim = claim
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces: list[bytes] = []
        size = 0
        content_type = ""

        async def send_and_keep(message: Message) -> None:
            nonlocal content_type, size
            if message["type"] == "http.response.start":
                content_type = dict(message["headers"])[b"content-type"].decode()
            elif message.get("body") != sse.HEARTBEAT:
                size += len(message.get("body", b""))
                if size <= MAX_KEPT_BYTES:
                    pieces.append(message.get("body", b""))
                else:
                    pieces.clear()
                if not message.get("more_body") and self._run.completed:
                    await finish(self._keep(content_type, pieces, size))
            await send(message)

        try:
            await self._response(scope, receive, send_and_keep)
        finally:
            await _free(self._responses, self._claim)

    async def _keep(self, content_type: str, pieces: list[bytes], size: int) -> None:
        """Keep the response before its last byte is sent, so that a retry right after that byte finds it."""
        if size > MAX_KEPT_BYTES:
            log.warning("first_response_not_kept", reason="it is too large", bytes=size)
            return
        try:
            await self._responses.keep(self._claim, FirstResponse(content_type, b"".join(pieces)))
        except APIError as error:
            log.warning("first_response_not_kept", reason=error.message)


async def _free(responses: FirstResponses, claim: Claim) -> None:
    try:
        await finish(responses.free(claim))
    except APIError as error:
        log.warning("claim_left_to_expire", reason=error.message)
