"""
Ask a running server through its API, as any other client does.

    Turn → POST /responses, streamed → messages of the event stream → the events of a run

The Responses API names the persona that answered and the credits that the answer cost, and its errors say
what the caller can do. The server stores nothing of a conversation, because every request sends all of it.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from mavera.core.analysis import Analysis
from mavera.core.events import (
    Event,
    FinishReason,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunStarted,
    ServerCallEnded,
    ServerCallStarted,
    Speaker,
    TextDelta,
)
from mavera.core.items import Image, Message, Part
from mavera.core.server_calls import CallKind, CallStatus, ServerCall, ServerOutcome, Source
from mavera.core.turn import Turn
from mavera.core.usage import Usage, to_token_count
from mavera.errors import APIError, ConfigurationError
from mavera.models.event_stream import EventStreamReader, LineTooLong
from mavera.models.upstream import USER_AGENT
from mavera.personas.typos import fold

_MOST_BYTES = 32 * 1024 * 1024
_MOST_ERROR_BYTES = 64 * 1024
_MOST_PERSONAS = 100
# The embedded model may read a long prompt for minutes before its first word.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
_TRIES = 3
_MOST_WAIT_SECONDS = 5
_KINDS: dict[str, CallKind] = {"web_search_call": "search", "image_generation_call": "image"}


@dataclass(frozen=True, slots=True)
class Remote:
    """The base URL of a server's API, and an API key for it."""

    url: str
    key: str

    @classmethod
    def of(cls, url: str | None, key: str) -> Self | None:
        """Return the server at `url`, or None without one. Raises ConfigurationError for any other URL."""
        if not url:
            return None
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits:
            raise ConfigurationError(
                f"--url needs the URL of a server's API, as in http://127.0.0.1:8000/api/v1. It is '{url}'."
            )
        return cls(url.rstrip("/"), key)


class _Error(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    credits_used: int = 0
    input_tokens_details: dict[str, Any] = {}
    output_tokens_details: dict[str, Any] = {}


class _Reason(msgspec.Struct):
    reason: str = ""


class _Response(msgspec.Struct):
    persona_id: str | None = None
    usage: _Usage | None = None
    error: _Error | None = None
    incomplete_details: _Reason | None = None
    analysis: Any = None
    server_tool_calls: list[dict[str, Any]] = []


class _WireEvent(msgspec.Struct):
    """An event of a stream. `message` belongs to an `error` event."""

    type: str
    delta: str = ""
    message: str = ""
    response: _Response | None = None
    item: dict[str, Any] = {}


class RemoteAnswers:
    """The answers of a server. Closing the iterator of a run ends its connection, which stops the run."""

    def __init__(self, remote: Remote, session: aiohttp.ClientSession) -> None:
        self._remote = remote
        self._session = session

    async def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        """Yield the events of `turn`. Raises APIError with the server's message before the answer begins."""
        async with self._open(turn) as response:
            reader = EventStreamReader(most_bytes=_MOST_BYTES)
            with _readable_failures(self._remote):
                async for data in response.content.iter_any():
                    for message in reader.feed(data):
                        for event in _decode_event(message.data):
                            yield event
                            if isinstance(event, RunCompleted | RunFailed):
                                return
        yield RunFailed(APIError(f"{self._remote.url} ended the connection before the answer was complete."))

    @asynccontextmanager
    async def _open(self, turn: Turn) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Send the request. A server that is busy for a few seconds is asked again."""
        body = msgspec.json.encode(build_body(turn))
        headers = {"Content-Type": "application/json", **_build_headers(self._remote)}
        for tried in range(1, _TRIES + 1):
            with _readable_failures(self._remote):
                response = await self._session.post(
                    f"{self._remote.url}/responses", data=body, headers=headers, allow_redirects=False
                )
            with closing(response):
                wait = _read_wait(response)
                if response.status == 503 and tried < _TRIES and 0 < wait <= _MOST_WAIT_SECONDS:
                    await asyncio.sleep(wait)
                    continue
                if response.status != 200 or response.content_type != "text/event-stream":
                    raise await _read_error(response, self._remote)
                yield response
                return


@asynccontextmanager
async def open_remote(remote: Remote) -> AsyncGenerator[RemoteAnswers, None]:
    """Open a client of the server's API, and close it at the end of the block."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        yield RemoteAnswers(remote, session)


async def find_remote_persona(remote: Remote, name: str) -> str | None:
    """
    Return the id of the server's custom persona called `name`, or of the only one that the name finds.

    Raises APIError if the server cannot be asked.
    """
    query = {"search": name[:100], "custom": "true", "limit": str(_MOST_PERSONAS)}
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        with _readable_failures(remote):
            async with session.get(
                f"{remote.url}/personas", params=query, headers=_build_headers(remote), allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise await _read_error(response, remote)
                found = _decode_personas(await _read_body(response, _MOST_BYTES), remote)
    named = [one.id for one in found if fold(one.name) == fold(name)] or [one.id for one in found]
    return named[0] if len(named) == 1 else None


def build_body(turn: Turn) -> dict[str, Any]:
    """Return the body of POST /responses. The server chooses everything that `turn` leaves open."""
    optional = {
        "persona_id": turn.persona_id,
        "instructions": turn.instructions,
        "max_output_tokens": turn.max_output_tokens,
        "temperature": turn.sampling.temperature,
        "seed": turn.sampling.seed,
        "analysis_mode": turn.analysis_mode or None,
    }
    return {
        "model": turn.model,
        "input": [_build_message(item) for item in turn.items if isinstance(item, Message)],
        "text": {"verbosity": turn.verbosity},
        "truncation": turn.truncation,
        "store": False,
        "stream": True,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _build_message(message: Message) -> dict[str, Any]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    return {"role": message.role, "content": [_build_part(part, kind) for part in message.parts]}


def _build_part(part: Part, kind: str) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "input_image", "image_url": part.url, "detail": part.detail}
    return {"type": kind, "text": part.text}


def _build_headers(remote: Remote) -> dict[str, str]:
    return {"User-Agent": USER_AGENT, **({"Authorization": f"Bearer {remote.key}"} if remote.key else {})}


def _decode_event(data: bytes) -> Iterator[Event]:
    """Yield the events of a run that one message means. Most messages of a stream mean none."""
    if data == b"[DONE]":
        return
    event = msgspec.json.decode(data, type=_WireEvent)
    response = event.response or _Response()
    match event.type:
        case "response.created":
            persona_id = response.persona_id
            yield RunPrepared((Speaker(persona_id, ""),) if persona_id is not None else ())
            yield RunStarted()
        case "response.output_text.delta" | "response.refusal.delta":
            yield TextDelta(event.delta)
        case "response.output_item.added" if str(event.item.get("type")).endswith("_call"):
            if event.item["type"] != "function_call":
                yield ServerCallStarted(_read_started_call(event.item))
        case "response.completed" | "response.incomplete":
            for call in response.server_tool_calls:
                yield ServerCallEnded(_read_outcome(call))
            yield _read_end(response)
        case "response.failed":
            message = response.error.message if response.error else ""
            yield RunFailed(APIError(message or "The server could not complete the answer."))
        case "error":
            yield RunFailed(APIError(event.message or "The server could not complete the answer."))


def _read_end(response: _Response) -> RunCompleted:
    usage = response.usage or _Usage()
    reasons: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
    reason = reasons.get(response.incomplete_details.reason if response.incomplete_details else "", "stop")
    counted = Usage(
        to_token_count(usage.input_tokens),
        to_token_count(usage.output_tokens),
        to_token_count(usage.input_tokens_details.get("cached_tokens")),
        to_token_count(usage.output_tokens_details.get("reasoning_tokens")),
        usage.credits_used,
    )
    analysis = msgspec.convert(response.analysis, Analysis) if response.analysis is not None else None
    return RunCompleted(reason, counted, analysis=analysis)


def _read_started_call(item: dict[str, Any]) -> ServerCall:
    action = item.get("action")
    action = action if isinstance(action, dict) else {}
    name = str(item.get("name") or item["type"]).removesuffix("_call")
    target = str(action.get("query") or action.get("url") or "")
    return ServerCall(str(item.get("id", "")), name, "", _KINDS.get(item["type"], "function"), target=target)


def _read_outcome(call: dict[str, Any]) -> ServerOutcome:
    """Read one of `server_tool_calls`."""
    called = ServerCall(
        str(call.get("id", "")), str(call.get("name", "")), str(call.get("arguments", "")), "function"
    )
    sources = msgspec.convert(call.get("sources", []), tuple[Source, ...])
    status: CallStatus = "completed" if call.get("status") == "completed" else "failed"
    milliseconds = to_token_count(call.get("duration_ms"))
    return ServerOutcome(called, status, milliseconds, str(call.get("result", "")), sources)


class _Persona(msgspec.Struct):
    id: str
    name: str


class _Personas(msgspec.Struct):
    data: list[_Persona]


def _decode_personas(body: bytes, remote: Remote) -> list[_Persona]:
    try:
        return msgspec.json.decode(body, type=_Personas).data
    except msgspec.DecodeError as error:
        raise _make_stranger_error(remote, 200) from error


@contextmanager
def _readable_failures(remote: Remote) -> Iterator[None]:
    """Turn the failures of the client library, and answers that are no events, into an APIError."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise APIError(
            f"No server answers at {remote.url}. Start one with `mavera serve`, or check --url "
            "(MAVERA_BASE_URL)."
        ) from error
    except TimeoutError as error:
        raise APIError(f"{remote.url} did not answer in time. Ask again.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise APIError(f"The connection to {remote.url} broke. Ask again.") from error
    except (msgspec.DecodeError, LineTooLong) as error:
        raise _make_stranger_error(remote, 200) from error


def _make_stranger_error(remote: Remote, status: int) -> APIError:
    return APIError(
        f"There is no mavera API at {remote.url}: the answer with status {status} is not one of its answers. "
        "The URL of the API ends in /api/v1, as in http://127.0.0.1:8000/api/v1."
    )


async def _read_error(response: aiohttp.ClientResponse, remote: Remote) -> APIError:
    """Return the error that the server reports in its body, with what to check here."""
    with _readable_failures(remote):
        body = await _read_body(response, _MOST_ERROR_BYTES)
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except msgspec.DecodeError:
        return _make_stranger_error(remote, response.status)
    if response.status == 404 and error.code == "not_found":  # an unknown path; a persona has another code
        return _make_stranger_error(remote, response.status)
    message = error.message
    if response.status == 401:
        message += " The command takes the key from --key or MAVERA_API_KEY."
    return APIError(message)


async def _read_body(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """Return the body. Raises LineTooLong if it has more than `most_bytes`."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > most_bytes:
            raise LineTooLong
    return bytes(body)


def _read_wait(response: aiohttp.ClientResponse) -> int:
    """Return the seconds to wait before another try, or 0 if the server names none."""
    value = response.headers.get("Retry-After", "")
    return int(value) if value.isdecimal() and len(value) < 6 else 0
