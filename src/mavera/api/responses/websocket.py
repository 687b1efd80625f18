"""
WebSocket mode of /responses: many turns on one connection, in lanes.

    client   {"type": "response.create", …the body of POST /responses…}
    server   each event of the stream as one JSON text, until one that ends the response. A message that is
             rejected before a response starts gets {"type": "error", "status": …, "error": {…}}

The code of POST /responses admits, runs, encodes and charges a turn. A connection adds a memory: with a
`previous_response_id` of this connection, a turn sends only its new items. The memory ends with the
connection. Responses are also kept in the store, as on HTTP, so that other connections find them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, Protocol

import msgspec
import structlog
from msgspec import Meta
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from mavera.api.http.auth import authenticate, credentials_of, services_of
from mavera.api.http.bounds import MAX_INPUT_ITEMS, Identifier, Text
from mavera.api.http.decoding import clean_body, decode, too_large
from mavera.api.http.dispatch import UntilDisconnect, start_in_time, to_public_error
from mavera.api.http.errors import error_body, error_response
from mavera.api.http.headers import header
from mavera.api.http.json import json_bytes
from mavera.api.responses.history import History
from mavera.api.responses.routes import encoder_for
from mavera.api.responses.schemas import CreateResponse, InputItem, items_of
from mavera.api.responses.stream import ResponseEncoder, Wire
from mavera.api.wire.named_personas import PERSONA_HEADER, name_persona
from mavera.core.events import RunFailed
from mavera.core.ids import new_id
from mavera.core.items import Item
from mavera.errors import (
    APIError,
    ConnectionLimitReached,
    InvalidRequest,
    PreviousResponseNotFound,
    RateLimitExceeded,
    ServiceUnavailable,
    StreamLimitReached,
)
from mavera.runs.charged import ChargedRun

log = structlog.get_logger()

# The most turns that wait, responses that are remembered, and turns that are answered at once.
MAX_WAITING = 8
MAX_REMEMBERED = 8
MAX_LANES = 8
# The most forgotten responses whose ids a connection remembers.
MAX_FORGOTTEN = 64

SERVICE_RESTART = 1012

# The server sets the asyncio.Event `event` of this extension when it is about to end.
SERVER_ENDS = "mavera.server_ends"
# The `holding` of this extension limits the bytes of the messages of all connections.
HOLDING = "mavera.holding"
# Starlette raises the first when the client disconnects, and the second for every use after that.
LEFT = (WebSocketDisconnect, WebSocketDisconnected)


class Holding(Protocol):
    """The bytes that one connection holds, within what all may hold together."""

    def take(self, size: int) -> bool:
        """Add `size` bytes, and return whether there was room. If there was none, nothing is added."""

    def give(self, size: int) -> None:
        """Give `size` bytes back."""


class _Unlimited:
    def take(self, _size: int) -> bool:
        return True

    def give(self, _size: int) -> None:
        pass


StreamId = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+$")]


class ResponseCreate(CreateResponse, kw_only=True, forbid_unknown_fields=True):
    """
    The only message of a client: the body of POST /responses.

    `stream`, `stream_options` and `background` have no effect here. With `generate: false`, the server
    remembers the input and does not answer. `stream_id` names a lane, and every event repeats it. The turns
    of a lane are answered in order, and the lanes in parallel.
    """

    type: Literal["response.create"]
    input: Text | Annotated[list[InputItem], Meta(max_length=MAX_INPUT_ITEMS)] = msgspec.field(
        default_factory=list
    )
    generate: bool | None = None
    stream_id: StreamId | None = None


class _Envelope(msgspec.Struct):
    """The members of a message that an error needs, even if the message is not valid."""

    previous_response_id: Identifier | None = None
    stream_id: StreamId | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """The conversation up to the end of a response. `size` is its size in bytes of messages."""

    items: tuple[Item, ...]
    size: int


class Memory:
    """The latest responses of one connection. They have at most `max_bytes`, and fit into `holding`."""

    def __init__(self, max_bytes: int, holding: Holding) -> None:
        self._max_bytes = max_bytes
        self._holding = holding
        self._remembered: dict[str, Conversation] = {}
        self._failed: dict[str, None] = {}

    def knows(self, response_id: str) -> bool:
        """Whether this connection made the response, so that no other place has to be searched."""
        return response_id in self._remembered or response_id in self._failed

    def recall(self, response_id: str | None) -> Conversation:
        """Return the conversation up to the end of a response. Raises PreviousResponseNotFound."""
        if response_id is None:
            return Conversation((), 0)
        if response_id not in self._remembered:
            raise PreviousResponseNotFound(
                f"This connection remembers no response '{response_id[:100]}'. Send the whole conversation"
                " in 'input', without 'previous_response_id'.",
                param="previous_response_id",
            )
        return self._remembered[response_id]

    def remember(self, response_id: str, conversation: Conversation) -> None:
        if conversation.size > self._max_bytes:
            return
        while (
            len(self._remembered) >= MAX_REMEMBERED
            or self._count_bytes() + conversation.size > self._max_bytes
        ):
            self._drop(next(iter(self._remembered)))
        if self._holding.take(conversation.size):
            self._remembered[response_id] = conversation

    def forget(self, response_id: str | None) -> None:
        """Forget the response that a failed turn continued, as Open Responses demands."""
        if response_id is not None:
            self._failed[response_id] = None
            if len(self._failed) > MAX_FORGOTTEN:
                del self._failed[next(iter(self._failed))]
        self._drop(response_id)

    def _drop(self, response_id: str | None) -> None:
        conversation = self._remembered.pop(response_id or "", None)
        if conversation is not None:
            self._holding.give(conversation.size)

    def close(self) -> None:
        self._holding.give(self._count_bytes())
        self._remembered.clear()

    def _count_bytes(self) -> int:
        return sum(one.size for one in self._remembered.values())


class _Session:
    """
    The turns of one connection. The turns of a lane run in order, and the lanes in parallel.

    Messages are read while turns are answered, so that a disconnect is noticed at once.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._connected = UntilDisconnect(self._read_messages, watch_after_seconds=0)
        self._services = services_of(websocket)
        self._holding = _get_holding(websocket)
        self._memory = Memory(self._services.settings.max_body_bytes, self._holding)
        self._held_bytes = 0
        self._server_ends = _get_end_event(websocket)
        self._lanes: dict[str | None, deque[bytes | None]] = {}
        self._ending = False
        self._ended_by_server = False

    async def run(self) -> None:
        """
        Answer until the client disconnects, the connection reaches its longest time, or the server ends.
        """
        async with self._connected:
            await self._answer_until_the_end()

    async def _answer_until_the_end(self) -> None:
        seconds = self._services.settings.websocket_seconds
        async with asyncio.TaskGroup() as self._group:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._server_ends.wait()
            self._ending = True
        if self._server_ends.is_set():
            await self._websocket.close(SERVICE_RESTART)
            return
        limit = ConnectionLimitReached("This connection has reached its longest time. Open another one.")
        await self._websocket.send_text(error_event(limit))
        await self._websocket.close()

    async def _read_messages(self) -> None:
        """Accept messages until the client disconnects."""
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            text = message.pop("text", None)
            await self._accept(None if text is None else text.encode())
            del text  # otherwise the message would stay in memory until the next one
        self._ended_by_server = message.get("code") == SERVICE_RESTART

    async def _accept(self, message: bytes | None) -> None:
        """Put a message into its lane, or send an error."""
        if self._ending:
            return
        try:
            # This comes first, because reading the envelope decodes the message too.
            message = None if message is None else await clean_body(message)
        except APIError as error:
            await self._refuse(error, None)
            return
        lane = _read_envelope(message).stream_id
        if not self._take_bytes(message):
            full = ServiceUnavailable("The server is receiving as much as it can hold.", retry_after=5)
            await self._refuse(full, lane)
        elif lane in self._lanes:
            await self._enqueue(lane, message)
        elif len(self._lanes) >= MAX_LANES:
            self._give_bytes(message)
            await self._refuse(StreamLimitReached(f"At most {MAX_LANES} streams are answered at once."), lane)
        else:
            self._lanes[lane] = deque()
            self._group.create_task(self._follow(lane, message))

    async def _enqueue(self, lane: str | None, message: bytes | None) -> None:
        waiting = [each for messages in self._lanes.values() for each in messages]
        size = sum(len(each or b"") for each in (*waiting, message))
        if waiting and (len(waiting) >= MAX_WAITING or size > self._services.settings.max_body_bytes):
            self._give_bytes(message)
            busy = RateLimitExceeded("As many turns wait on this connection as are allowed.", retry_after=1)
            await self._refuse(busy, lane)
            return
        self._lanes[lane].append(message)

    def _take_bytes(self, message: bytes | None) -> bool:
        size = len(message or b"")
        if not self._holding.take(size):
            return False
        self._held_bytes += size
        return True

    def _give_bytes(self, message: bytes | None) -> None:
        size = len(message or b"")
        self._holding.give(size)
        self._held_bytes -= size

    def close(self) -> None:
        """Release everything that the client has sent."""
        self._memory.close()
        self._lanes.clear()
        self._holding.give(self._held_bytes)
        self._held_bytes = 0

    async def _refuse(self, error: APIError, lane: str | None) -> None:
        with suppress(*LEFT):  # the next receive reports the disconnect
            await self._websocket.send_text(error_event(error, lane))

    async def _follow(self, lane: str | None, message: bytes | None) -> None:
        """Answer the turns of one lane until none is waiting."""
        waiting = self._lanes[lane]
        with suppress(*LEFT):  # a disconnect ends the whole session
            await self._answer(message)
            while waiting and not self._ending:
                await self._answer(waiting.popleft())
        self._lanes.pop(lane, None)

    async def _answer(self, message: bytes | None) -> None:
        started, status = time.perf_counter(), 499
        connection = HTTPConnection({**self._websocket.scope, "state": {}})  # for the log of this turn
        try:
            status = await self._take_turn(connection, message)
        finally:
            self._give_bytes(message)
            log.info(
                "request",
                method="WEBSOCKET",
                path=connection.scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
                request_id=new_id("req"),
                **getattr(connection.state, "log", {}),
            )

    async def _take_turn(self, connection: HTTPConnection, message: bytes | None) -> int:
        """Answer one message, and return the status that it would have on HTTP."""
        try:
            principal = await authenticate(connection, "responses")
            body = await self._decode_message(message)
            sent = body.model
            body = await name_persona(
                body,
                header(self._websocket, PERSONA_HEADER),
                self._services.named_models,
                self._services.personas,
                principal,
            )
            history = History.of(self._services, principal)
            history.refuse_elsewhere(body)
            conversation = await self._recall(history, body.previous_response_id)
            body = msgspec.structs.replace(body, input=await history.resolve(body.input))
            keeps = history.keeps(body) and body.generate is not False
            encoder = encoder_for(body, sent, kept=keeps)
            items: tuple[Item, ...]
            if body.generate is False:
                items = items_of(body.input, conversation.items)
                await self._send(encoder.encode_empty(), body)
            else:
                turn = body.to_turn(conversation.items)
                items = turn.items
                keep = partial(history.keep, encoder, items) if keeps else None
                run = await self._services.runs.begin(principal, turn, keep=keep)
                await self._run(run, encoder, body)
        except LEFT:
            raise
        except Exception as error:
            await asyncio.sleep(0)  # give way to other tasks, because the message is decoded a second time
            envelope, refusal = _read_envelope(message), to_public_error(error)
            self._memory.forget(envelope.previous_response_id)
            await self._websocket.send_text(error_event(refusal, envelope.stream_id))
            return refusal.status
        return self._remember(body, encoder.build_body(), items, conversation.size + len(message or b""))

    async def _decode_message(self, message: bytes | None) -> ResponseCreate:
        if message is None:
            raise InvalidRequest("A message has to be JSON text, not bytes.")
        if len(message) > self._services.settings.max_body_bytes:
            raise too_large(self._services.settings.max_body_bytes)
        return await decode(message, ResponseCreate)

    async def _recall(self, history: History, response_id: str | None) -> "Conversation":
        """
        Return the conversation up to the end of a response of this or another connection.

        Raises PreviousResponseNotFound, even for a response that this connection has forgotten.
        """
        if response_id is not None and not self._memory.knows(response_id):
            items = await history.find_conversation(response_id)
            if items is not None:
                return Conversation(items, len(msgspec.msgpack.encode(items)))
        return self._memory.recall(response_id)

    async def _run(self, run: ChargedRun, encoder: ResponseEncoder, body: ResponseCreate) -> None:
        async with aclosing(run):
            try:
                async with aclosing(start_in_time(run, encoder)) as opening:
                    for events in (opening, run):
                        async for event in events:
                            delta = None if body.stream_id is not None else encoder.encode_delta(event)
                            if delta is not None:
                                await self._websocket.send_text(delta.decode())
                            else:
                                await self._send(encoder.feed(event), body)
            except asyncio.CancelledError:
                left = self._connected.gone
                if self._ended_by_server or not left:  # the client did not cause it, so it costs nothing
                    await run.fail()
                if not left:
                    error = ServiceUnavailable(
                        "The server is shutting down. Retry in a few seconds.", retry_after=5
                    )
                    await self._send(encoder.feed(RunFailed(error)), body)
                raise

    async def _send(self, events: Iterator[Wire], body: ResponseCreate) -> None:
        for wire in events:
            if body.stream_id is not None:
                wire["stream_id"] = body.stream_id
            await self._websocket.send_text(json_bytes(wire).decode())

    def _remember(self, body: ResponseCreate, response: Wire, items: tuple[Item, ...], size: int) -> int:
        """Remember the response for the next turn, and return the status of this one."""
        if response["status"] == "failed":
            self._memory.forget(body.previous_response_id)
            return 503
        output = msgspec.convert(response["output"], list[InputItem])
        answered = tuple(
            item for number, given in enumerate(output) for item in given.to_items(f"output[{number}]")
        )
        self._memory.remember(
            response["id"], Conversation((*items, *answered), size + len(json_bytes(output)))
        )
        return 200


async def respond_over_websocket(websocket: WebSocket) -> None:
    """Answer the turns of one connection. An invalid key gets a 401 before the connection opens."""
    try:
        await services_of(websocket).keyring.authenticate(credentials_of(websocket))
    except APIError as refusal:
        await websocket.send_denial_response(error_response(refusal))
        return
    await websocket.accept(headers=[(b"x-request-id", new_id("req").encode())])
    session = _Session(websocket)
    try:
        with suppress(*LEFT):
            await session.run()
    except asyncio.CancelledError:
        # The session handles disconnects, so this is the end of the server's grace period.
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        task.uncancel()
        with suppress(*LEFT):
            await websocket.close(SERVICE_RESTART)
    finally:
        session.close()


def _get_end_event(websocket: WebSocket) -> asyncio.Event:
    """Return the event that a stopping server sets. A server without the extension never sets it."""
    extensions = websocket.scope.get("extensions", {})
    event: asyncio.Event = extensions[SERVER_ENDS]["event"] if SERVER_ENDS in extensions else asyncio.Event()
    return event


def _get_holding(websocket: WebSocket) -> Holding:
    extensions = websocket.scope.get("extensions", {})
    holding: Holding = extensions[HOLDING]["holding"] if HOLDING in extensions else _Unlimited()
    return holding


def _read_envelope(message: bytes | None) -> _Envelope:
    try:
        return msgspec.json.decode(message or b"{}", type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Envelope()


def error_event(error: APIError, stream_id: str | None = None) -> str:
    """Return an error as JSON for a WebSocket, with its HTTP status and headers."""
    event: Wire = {"type": "error", "status": error.status, **error_body(error)}
    if error.retry_after is not None:
        event["headers"] = {"Retry-After": str(error.retry_after)}
    if stream_id is not None:
        event["stream_id"] = stream_id
    return json_bytes(event).decode()
