"""
Receive a request for a run, and respond with a stream of events or with one body.

    receive_request: key → bytes → body        respond: turn → admitted and charged run → RunResponse
    run (events) → encoder (wire events) → sse (bytes) → client
                                         → body        → client

If the client disconnects, the run stops within a second, streamed or not: after a moment, a second task waits
for the disconnect, and it cancels the first one. An error before the first event is raised and becomes a
status. After the first event, the encoder writes the error as an event.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mavera.accounts.principal import Principal
from mavera.api.http import sse
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_body
from mavera.api.http.headers import header
from mavera.api.http.idempotency import respond_once
from mavera.api.http.json import json_bytes
from mavera.api.wire.named_personas import PERSONA_HEADER, name_persona
from mavera.core.events import Event, RunFailed, RunStarted
from mavera.core.turn import Turn
from mavera.errors import (
    APIError,
    BudgetExceeded,
    CreditsExhausted,
    Forbidden,
    InvalidRequest,
    PersonaNotFound,
    RequestTooLarge,
    ServiceUnavailable,
    StillRunning,
    ValidationFailed,
)
from mavera.runs.charged import ChargedRun, Keep


class NamesModel(Protocol):
    """A request body that names a model."""

    @property
    def model(self) -> str: ...


Body = TypeVar("Body", bound=NamesModel)
Result = TypeVar("Result")

log = structlog.get_logger()

# The longest time that a stream waits for its first event, in the queue and at the model. Until then, an
# error becomes a status. After it, the client and its proxies need a sign of life.
ACCEPT_SECONDS = 1.0
# Watch for disconnects only after this time. A task for each request would cost more than the short runs
# that it saves.
WATCH_AFTER_SECONDS = 0.2

RUN_ERRORS: tuple[type[APIError], ...] = (
    InvalidRequest,
    CreditsExhausted,
    BudgetExceeded,
    Forbidden,
    PersonaNotFound,
    StillRunning,
    RequestTooLarge,
    ValidationFailed,
    ServiceUnavailable,
)


class Run(Protocol):
    """The events of one run. `aclose` ends the run, even if it has not begun."""

    @property
    def is_queued(self) -> bool:
        """Whether another run has to end before this one begins."""
        ...

    async def enter(self) -> None:
        """Return when this run leaves the queue."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __anext__(self) -> Event: ...

    async def aclose(self) -> None: ...

    async def fail(self) -> None:
        """End the run as failed, so that it costs nothing."""
        ...


class Encoder(Protocol):
    """The pure half of an endpoint. It turns events into wire events or into one body."""

    @property
    def delta_name(self) -> str | None:
        """The name of the events of `encode_delta` among server-sent events."""
        ...

    def encode_delta(self, event: Event) -> bytes | None:
        """
        Return the JSON of the wire event of a plain piece of text, or None for an event that `feed` takes.
        """
        ...

    def feed(self, event: Event) -> Iterator[dict[str, Any]]: ...

    def take(self, event: Event) -> None:
        """Take `event` for the body, without a wire event."""
        ...

    def build_body(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ReceivedRequest(Generic[Body]):
    """
    A request for a run: its sender, its raw body, and its decoded body.

    `model` is the name from the client, which may have a persona behind it. The body has them as two members.
    """

    request: Request
    principal: Principal
    raw: bytes
    body: Body
    model: str


async def receive_request(request: Request, kind: type[Body]) -> ReceivedRequest[Body]:
    """
    Authenticate and decode a request.

    Raises Unauthorized, RateLimitExceeded, and the errors of `decode`.
    """
    principal = await authenticate(request)
    services = services_of(request)
    raw = await read_body(request, max_bytes=services.settings.max_body_bytes)
    decoded: Any = await decode(raw, kind)
    named = header(request, PERSONA_HEADER)
    body = await name_persona(decoded, named, services.named_models, services.personas, principal)
    return ReceivedRequest(request, principal, raw, body, decoded.model)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A turn and the encoder of its answer. `keep` runs while the answer is charged."""

    turn: Turn
    encoder: Encoder
    keep: Keep | None = None


async def respond(
    received: ReceivedRequest[Any], prepare: Callable[[], Awaitable[Prepared]], *, stream: bool
) -> Response:
    """Respond with a charged run, or with the first response if the client sent this request before."""
    services = services_of(received.request)

    async def begin() -> tuple[ChargedRun, Response]:
        prepared = await prepare()
        run = await services.runs.begin(received.principal, prepared.turn, keep=prepared.keep)
        heartbeat_seconds = services.settings.heartbeat_seconds
        return run, RunResponse(run, prepared.encoder, stream=stream, heartbeat_seconds=heartbeat_seconds)

    return await respond_once(received.request, received.principal, received.raw, begin)


class RunResponse(Response):
    """
    Sends a run.

    After `heartbeat_seconds` of silence, a stream gets a comment, because proxies time out.
    """

    def __init__(self, run: Run, encoder: Encoder, *, stream: bool, heartbeat_seconds: float) -> None:
        self._run = run
        self._encoder = encoder
        self._stream = stream
        self._heartbeat_seconds = heartbeat_seconds
        self.status_code = 200
        self.background = None
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._run):
            try:
                async with UntilDisconnect(partial(wait_for_disconnect, receive)):
                    await (self._send_stream(send) if self._stream else self._send_body(send))
            except asyncio.CancelledError:
                # UntilDisconnect handles disconnects, so this is the end of the server's grace period.
                await self._send_goodbye(send)

    async def _send_goodbye(self, send: Send) -> None:
        """End the run as failed. Send the error as an event if a stream has begun, or else as a status."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        task.uncancel()
        await self._run.fail()
        error = ServiceUnavailable("The server is shutting down. Retry in a few seconds.", retry_after=5)
        if not self._begun:
            raise error
        for wire in self._encoder.feed(RunFailed(error)):
            await send({"type": "http.response.body", "body": sse.frame(wire), "more_body": True})
        await send({"type": "http.response.body", "body": sse.DONE})

    async def _send_body(self, send: Send) -> None:
        async for event in self._run:
            if isinstance(event, RunFailed):
                raise event.error
            self._encoder.take(event)
        body = json_bytes(self._encoder.build_body())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _send_stream(self, send: Send) -> None:
        opening = start_in_time(self._run, self._encoder)
        first = await anext(opening)  # an error that is raised here becomes a status
        headers = [(name.encode(), value.encode()) for name, value in sse.HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._begun = True
        async with aclosing(opening), Heartbeat(send, self._heartbeat_seconds) as heartbeat:
            for wire in self._encoder.feed(first):  # sent at once, so that no client waits for the next event
                await send({"type": "http.response.body", "body": sse.frame(wire), "more_body": True})
            for events in (opening, self._run):
                async for event in events:
                    if body := self._frame_event(event):
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                    heartbeat.postpone()
        await send({"type": "http.response.body", "body": sse.DONE})

    def _frame_event(self, event: Event) -> bytes:
        """Return the bytes of `event`, which may be several events of the stream, or none."""
        delta = self._encoder.encode_delta(event)
        if delta is not None:
            return sse.frame_bytes(delta, self._encoder.delta_name)
        return b"".join(sse.frame(wire) for wire in self._encoder.feed(event))


async def start_in_time(run: Run, encoder: Encoder) -> AsyncGenerator[Event, None]:
    """
    Yield the events of a run up to its first event. Read the rest from `run` itself.

    `encoder` takes the events that no client sees.

    If queue and model take longer than `ACCEPT_SECONDS`, a `RunStarted` is yielded before the first event,
    and a later error is yielded as `RunFailed`. An earlier error is raised, so that it can become a status.
    """
    late, patience = False, ACCEPT_SECONDS
    try:
        # This waits for RunPrepared, so an unknown persona or a refused image always becomes a status.
        encoder.take(await run.__anext__())
        if run.is_queued:
            since = time.monotonic()
            async with _Beside(run.enter()) as entry:
                await asyncio.wait({entry}, timeout=patience)
                if not entry.done():
                    late = True
                    yield RunStarted()
                await entry
            patience = max(0.0, patience - (time.monotonic() - since))
        async with _Beside(run.__anext__()) as first:
            await asyncio.wait({first}, timeout=None if late else patience)
            if not first.done():
                late = True
                yield RunStarted()
            event = await first
    except Exception as error:
        if not late:
            raise
        yield RunFailed(to_public_error(error))
        return
    if not late or not isinstance(event, RunStarted):
        yield event


class _Beside(Generic[Result]):
    """Do `work` in a task beside the block. Leaving the block cancels the task if it is not done."""

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        self._task = asyncio.ensure_future(work)

    async def __aenter__(self) -> asyncio.Task[Result]:
        return self._task

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})


def to_public_error(error: Exception) -> APIError:
    """Return `error` for a client that already has a status. An unforeseen error is logged in full."""
    if isinstance(error, APIError):
        return error
    log.error("run failed", exc_info=error)
    return APIError("Something went wrong while answering.")


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client of a request disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


class UntilDisconnect:
    """Cancel the block when `departure` returns, and swallow that cancellation only."""

    def __init__(
        self, departure: Callable[[], Awaitable[None]], *, watch_after_seconds: float = WATCH_AFTER_SECONDS
    ) -> None:
        self._departure = departure
        self._watch_after_seconds = watch_after_seconds
        self._watch: asyncio.Task[None] | None = None
        self.gone = False

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(self._watch_after_seconds, self._begin)

    def _begin(self) -> None:
        self._watch = asyncio.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        await self._departure()
        self.gone = True
        assert self._task is not None  # noqa: S101 - a coroutine runs in a task
        self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if not self.gone:
            return False
        if kind is not asyncio.CancelledError:  # the cancellation has not arrived yet, so wait for it here
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        assert self._task is not None  # noqa: S101
        self._task.uncancel()
        return kind is asyncio.CancelledError


class Heartbeat:
    """Send a comment whenever `seconds` have passed since the last `postpone`."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self._now = asyncio.get_running_loop().time

    async def __aenter__(self) -> "Heartbeat":
        self.postpone()
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    def postpone(self) -> None:
        self._due = self._now() + self._seconds

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._due - self._now()))
            if self._now() >= self._due:
                self.postpone()
                await self._send({"type": "http.response.body", "body": sse.HEARTBEAT, "more_body": True})
