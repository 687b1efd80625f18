"""
Take a request for a run in, and answer it: with a stream of events, or the one body they add up to.

    receive_request: key → bytes → body        respond: turn → admitted and charged run → RunResponse
    run (events) → encoder (wire events) → sse (bytes) → client
                                         → body        → client

The client going away stops the run within a second, streamed or not: a task waits for the
disconnect, once the run has gone on for a moment, and cancels this one. An error before the
first event is raised, so it becomes a status; after it the encoder makes it an event.
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
    """A request body that says which model is to answer."""

    @property
    def model(self) -> str: ...


Body = TypeVar("Body", bound=NamesModel)
Result = TypeVar("Result")

log = structlog.get_logger()

# How long a stream's first event may wait, in the queue and for the model to take the turn. Until then
# a refusal still becomes a status. After it the client, and the proxies on the way, need a sign of life.
ACCEPT_SECONDS = 1.0
# A run that is over sooner is not watched: a task for each request costs more than a few of them do.
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
    """The events of one run; `aclose` ends it, even if it has not begun."""

    @property
    def is_queued(self) -> bool:
        """Whether another run has to end before this one begins."""
        ...

    async def enter(self) -> None:
        """Return when it is this run's turn."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __anext__(self) -> Event: ...

    async def aclose(self) -> None: ...

    async def fail(self) -> None:
        """End it as one that failed, which costs nothing."""
        ...


class Encoder(Protocol):
    """The pure half of an endpoint: events in, wire events out, and the body they add up to."""

    @property
    def delta_name(self) -> str | None:
        """The name of the events of `encode_delta` in a stream of server-sent events."""
        ...

    def encode_delta(self, event: Event) -> bytes | None:
        """Return the JSON of the one wire event of a plain piece of text; None for what `feed` takes."""
        ...

    def feed(self, event: Event) -> Iterator[dict[str, Any]]: ...

    def take(self, event: Event) -> None:
        """Take `event` where nobody is told of it before the whole body."""
        ...

    def build_body(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ReceivedRequest(Generic[Body]):
    """
    A request for a run: who sent it, and its body, decoded and as it came.

    `model` is as the client wrote it, with a persona behind it. The body has both apart.
    """

    request: Request
    principal: Principal
    raw: bytes
    body: Body
    model: str


async def receive_request(request: Request, kind: type[Body]) -> ReceivedRequest[Body]:
    """Return what a request asks. Raises Unauthorized, RateLimitExceeded, and as `decode` does."""
    principal = await authenticate(request)
    services = services_of(request)
    raw = await read_body(request, max_bytes=services.settings.max_body_bytes)
    decoded: Any = await decode(raw, kind)
    named = header(request, PERSONA_HEADER)
    body = await name_persona(decoded, named, services.named_models, services.personas, principal)
    return ReceivedRequest(request, principal, raw, body, decoded.model)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A turn, and what its answer is written with; `keep` is done while the answer is charged."""

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
    """`heartbeat_seconds` of silence in a stream are broken by a comment, for proxies that time out."""

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
                # The client's leaving is swallowed above: this is the server's end, its grace over.
                await self._send_goodbye(send)

    async def _send_goodbye(self, send: Send) -> None:
        """End the answer as a failed one: as an event where a stream has begun, else as a status."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        task.uncancel()
        await self._run.fail()
        error = ServiceUnavailable("The server is shutting down. Ask again.", retry_after=5)
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
        first = await anext(opening)  # raises while a status can still say so
        headers = [(name.encode(), value.encode()) for name, value in sse.HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._begun = True
        async with aclosing(opening), Heartbeat(send, self._heartbeat_seconds) as heartbeat:
            for wire in self._encoder.feed(first):  # the first one alone, so that no client waits for more
                await send({"type": "http.response.body", "body": sse.frame(wire), "more_body": True})
            for events in (opening, self._run):
                async for event in events:
                    if body := self._frame_event(event):
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                    heartbeat.postpone()
        await send({"type": "http.response.body", "body": sse.DONE})

    def _frame_event(self, event: Event) -> bytes:
        """Return what `event` comes to, which may be several events of the stream, or none."""
        delta = self._encoder.encode_delta(event)
        if delta is not None:
            return sse.frame_bytes(delta, self._encoder.delta_name)
        return b"".join(sse.frame(wire) for wire in self._encoder.feed(event))


async def start_in_time(run: Run, encoder: Encoder) -> AsyncGenerator[Event, None]:
    """
    Yield how a run begins, up to its first event. What follows is to be read from `run` itself. `encoder`
    takes what no client sees.

    After `ACCEPT_SECONDS` in the queue and before the model, a `RunStarted` comes ahead of the first event,
    and an error after it is a `RunFailed`. An earlier error is raised, so that it can become a status.
    """
    late, patience = False, ACCEPT_SECONDS
    try:
        # RunPrepared: an unknown persona or a refused image is a status, however long it took to find out.
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
    """Do `work` in a task beside the block, which cancels it if it is left before the work is done."""

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        self._task = asyncio.ensure_future(work)

    async def __aenter__(self) -> asyncio.Task[Result]:
        return self._task

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})


def to_public_error(error: Exception) -> APIError:
    """Return `error` for a client that has its status already. Other errors than ours are logged whole."""
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
        if kind is not asyncio.CancelledError:  # it is on its way still: let it arrive in here
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
