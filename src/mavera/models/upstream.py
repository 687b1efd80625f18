"""
Answer with any server that speaks OpenAI's /chat/completions.

    endpoint(), or one of several servers → POST → headers (200: RunStarted) → bytes → ChunkDecoder → events

If a refusal (400 or 422) names a parameter, the request is sent again at once, without the parameter or
under its other name. Later requests use the same form (`dialects.py`).

A request is retried, with jitter, only before the first byte of its answer, because a second answer could
differ from the first. A server that does not answer in time is busy, so its request is not retried. With
several servers (`servers.py`), one other server is asked once instead, except after a 429. Requests are
always streamed, because only a dropped stream makes every server stop its work.

A request with a persona carries a routing key in a header, so that a router can send it to an engine that
has read the same persona before.

A server's message may repeat our key, so the key is cut out of every message.
"""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import structlog

from mavera import __version__
from mavera.core.events import ModelEvent, RunCompleted, RunStarted
from mavera.core.prompt import OutputFormat, Prompt
from mavera.errors import APIError, ConversationTooLong, InvalidRequest, ServiceUnavailable
from mavera.models.base_url import build_endpoint_url
from mavera.models.chat_wire import EncodedPrefixes, build_request_body
from mavera.models.chunk_decoder import ChunkDecoder, join_deltas
from mavera.models.dialects import DIALECTS, Dialect, Lesson, Refusal, find_refused_parameter, learn
from mavera.models.endpoint import Endpoint
from mavera.models.exchange import (
    Address,
    BadAddress,
    CannotConnect,
    ExchangeFailed,
    Poster,
    ServerResponse,
    TimedOut,
    TooMuch,
)
from mavera.models.model import ModelProfile, ModelStatus
from mavera.models.plain_answer import read_plain_answer
from mavera.models.refusals import NO_REASON, to_refusal
from mavera.models.routing import compute_routing_key
from mavera.models.servers import Server, Servers
from mavera.models.tracing import CallTracing
from mavera.settings import Thinking

_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_MAX_RETRY_WAIT_SECONDS = 5.0
# A whole answer is decoded in one step on the event loop.
_MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_BODY_SECONDS = 5.0
_LIST_SECONDS = 5.0
_MOST_REASON_CHARACTERS = 500
# The most refusals of one prompt. Each teaches another form of the request.
_MOST_REFUSALS = 8
USER_AGENT = f"mavera/{__version__}"

log = structlog.get_logger()

_WHOLE_TYPES = frozenset({"application/json", "text/json"})
_STREAM_BEGINS = (b"data:", b"event:", b"id:", b"retry:", b":")
# Each unknown finish reason is logged once, up to this many.
_MOST_REASONS = 100

_TOO_MUCH = "The model's server sent more than this server reads of one answer."

# The messages of servers for a prompt that is longer than the context: OpenAI, vLLM, llama.cpp, SGLang,
# others.
_TOO_LONG = re.compile(
    r"maximum context length|longer than the model's context|context (?:length|size|window)"
    r"|prompt is too long|input token count .{0,40}exceeds",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """The names under which an operator set the endpoint, for messages."""

    api_key: str = "MAVERA_UPSTREAM_API_KEY"
    base_url: str = "MAVERA_UPSTREAM_BASE_URL"
    model: str = "MAVERA_UPSTREAM_MODEL"


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """
    The options of one server.

    `idle_timeout_seconds` is the longest silence within an answer. Lines without data, such as comments,
    extend it to at most `first_byte_timeout_seconds`. `total_seconds`, `most_bytes` (all received bytes) and
    `most_characters` (text and arguments) are limits of one whole answer.
    `keep_alive=False` opens a connection for each request, for servers that close theirs after each stream.
    `defaults` are members of every request body, unless the prompt sets them.
    `sees_images`: whether the model accepts `image_url` parts. `gives_logprobs`: whether the server sends
    log-probabilities.
    `settings` names the settings that an operator has to check if the server refuses a request.
    `reasoning_effort`: whether the model reasons and accepts that parameter.
    `constrain` returns the members that ask for JSON, if not `response_format`. `json_kept`: whether the
    server enforces the format.
    `dialect` is the form of the first request. `learns`: whether refusals change the form.
    `thinking` says what happens to reasoning that the server sends; see `ChunkDecoder`.
    `routing_header` is the name of the header with the routing key. Without it, none is sent.
    """

    model: str
    dialect: Dialect = DIALECTS["auto"]
    learns: bool = True
    reasoning_effort: bool = False
    keep_alive: bool = True
    connect_timeout_seconds: float = 5.0
    first_byte_timeout_seconds: float = 120.0
    idle_timeout_seconds: float = 60.0
    total_seconds: float = 1800.0
    most_bytes: int = 64 * 1024 * 1024
    most_characters: int = 4_000_000
    retries: int = 2
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sees_images: bool = False
    gives_logprobs: bool = False
    settings: UpstreamSettings = UpstreamSettings()
    constrain: Callable[[OutputFormat], Mapping[str, Any]] | None = None
    json_kept: bool = False
    thinking: Thinking = "auto"
    routing_header: str = ""


class _Refused(InvalidRequest):
    """The server refused the request. `refusal` may teach a form that it accepts."""

    def __init__(self, message: str, refusal: Refusal) -> None:
        super().__init__(message)
        self.refusal = refusal


class _Call:
    """The requests that one prompt has caused. Closing it closes the response and frees the server."""

    __slots__ = ("head", "key", "made", "refusals", "response", "server", "tried")

    def __init__(self, key: str | None, header: str) -> None:
        self.key = key
        self.head = f"{header}: {key}\r\n".encode() if key is not None else b""
        self.made = self.refusals = 0
        self.tried: list[Server] = []
        self.server: Server | None = None
        self.response: ServerResponse | None = None

    def begin(self, server: Server) -> None:
        """Note that `server` works on the next request."""
        self.server = server
        server.in_flight += 1
        self.tried.append(server)

    def close(self) -> None:
        response, self.response = self.response, None
        server, self.server = self.server, None
        if response is not None:
            response.close()
        if server is not None:
            server.in_flight -= 1


class UpstreamModel:
    """
    Calls `endpoint` before each try, so it notices a server that moved or is down.

    With several `servers`, it chooses one of them for each try instead.
    """

    def __init__(
        self,
        endpoint: Callable[[], Awaitable[Endpoint]],
        options: UpstreamOptions,
        servers: Servers | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.servers = servers
        self.options = options
        self._dialect = options.dialect
        self.profile = ModelProfile(
            sees_images=options.sees_images,
            reasons=options.reasoning_effort,
            gives_logprobs=options.gives_logprobs,
            enforces_format=lambda _: options.json_kept,
        )
        self._poster: Poster | None = None
        self._prefixes = EncodedPrefixes()
        self._keys: set[str] = set()
        self._failure: str | None = None
        # Whether answers begin within reasoning, because the chat template opens it in the prompt.
        self._starts_inside = False
        self._unknown_reasons: set[str] = set()
        self._tracing: CallTracing | None = None
        self._note_kind: Callable[[str], None] = lambda _: None

    def trace_with(self, tracing: CallTracing) -> None:
        """Trace all calls from now on."""
        self._tracing = tracing

    def count_failures(self, note: Callable[[str], None]) -> None:
        """Call `note` with the kind of each failed call."""
        self._note_kind = note

    async def start(self) -> None:
        if self._poster is None:
            options = self.options
            self._poster = Poster(
                connect_seconds=options.connect_timeout_seconds,
                keep_alive=options.keep_alive,
                most_bytes=options.most_bytes,
                total_seconds=options.total_seconds,
            )
        if self.servers is not None:
            self.servers.watch(self._list_models)

    async def close(self) -> None:
        if self.servers is not None:
            await self.servers.close()
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    @property
    def dialect(self) -> Dialect:
        """The form of the next request, with everything that refusals have taught."""
        return self._dialect

    def status(self) -> ModelStatus:
        """Return the outcome of the latest request. Sends no request itself."""
        if self.servers is not None:
            return self._describe_servers(self.servers)
        if self._failure is not None:
            return ModelStatus("unavailable", f"The latest request failed: {self._failure}")
        return ModelStatus("ready", f"An OpenAI-compatible server answers as {self.options.model}.")

    def _describe_servers(self, servers: Servers) -> ModelStatus:
        faults = servers.list_faults()
        number = len(servers.endpoints)
        detail = f"{number - len(faults)} of {number} servers answer as {self.options.model}."
        if faults:
            named = ", ".join(f"{name} ({fault})" for name, fault in faults.items())
            detail += f" Passed over: {named}."
        return ModelStatus("unavailable" if servers.is_down else "ready", self._without_keys(detail))

    def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        if self._tracing is None:
            return self._stream(prompt)
        return self._tracing.trace(prompt, self.options.model, self._stream(prompt))

    async def _stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        patience = self.options.idle_timeout_seconds
        chunks, data_due = 0, 0.0
        header = self.options.routing_header
        key = compute_routing_key(prompt, self.options.model, self._prefixes) if header else None
        call = _Call(key, header)
        if self._tracing is not None:
            call.head += self._tracing.build_head()
        try:
            with closing(call):
                response = await self._open(prompt, call)
                yield RunStarted()
                try:
                    data = await response.read(patience_seconds=patience)
                except ExchangeFailed as failure:
                    # Nothing of the answer has arrived, so another server may give one.
                    response = await self._open_elsewhere(prompt, call, failure)
                    data = await response.read(patience_seconds=patience)
                if _is_whole(response.content_type, data):
                    body = await self._read_whole(response, data)
                    for event in self._decode_whole(prompt, body):
                        yield event
                    return
                decoder = self._make_decoder(prompt)
                while data:
                    for event in join_deltas(decoder.feed(data)):
                        yield event
                    if decoder.chunks != chunks:
                        chunks, data_due = decoder.chunks, 0.0
                    else:
                        data_due = self._check_data_due(data_due)
                    data = b"" if decoder.done else await response.read(patience_seconds=patience)
                for event in self._close(decoder):
                    yield event
        except ExchangeFailed as failure:
            raise self._note_failure(failure, call) from failure
        except APIError as error:
            self._hide_keys(error)
            raise

    def _make_decoder(self, prompt: Prompt) -> ChunkDecoder:
        options = self.options
        return ChunkDecoder(
            prompt,
            most_characters=options.most_characters,
            thinking=options.thinking,
            starts_inside=self._starts_inside,
        )

    async def _read_whole(self, response: ServerResponse, begin: bytes) -> bytes:
        """Return the body of an answer that did not come as a stream."""
        body = bytearray(begin)
        while data := await response.read(patience_seconds=self.options.idle_timeout_seconds):
            body += data
            _refuse_endless(body)
        return bytes(body)

    def _decode_whole(self, prompt: Prompt, body: bytes) -> Iterable[ModelEvent]:
        options = self.options
        if not self._starts_inside and len(body) <= options.most_characters:
            plain = read_plain_answer(body, splits_thoughts=options.thinking != "keep")
            if plain is not None:
                return plain
        decoder = self._make_decoder(prompt)
        return chain(decoder.feed_body(body) if body else (), self._close(decoder))

    def _close(self, decoder: ChunkDecoder) -> Iterator[ModelEvent]:
        for event in decoder.close():
            if isinstance(event, RunCompleted):
                self._learn_from(decoder)
            yield event

    def _learn_from(self, decoder: ChunkDecoder) -> None:
        """Learn from an answer how its server sends reasoning and finish reasons."""
        if (inside := decoder.starts_inside) is not None and inside != self._starts_inside:
            self._starts_inside = inside
            log.info("upstream_reasoning", model=self.options.model, starts_inside=inside)
        reason = decoder.unknown_reason
        if reason and reason not in self._unknown_reasons and len(self._unknown_reasons) < _MOST_REASONS:
            self._unknown_reasons.add(reason)
            log.warning("unknown_finish_reason", model=self.options.model, reason=reason)

    def _check_data_due(self, due: float) -> float:
        """
        Return the time by which data has to arrive.

        Raises TimedOut after it. `due` is 0 before the first call.
        """
        now = asyncio.get_running_loop().time()
        if not due:
            return now + max(self.options.first_byte_timeout_seconds, self.options.idle_timeout_seconds)
        if now > due:
            raise TimedOut("lines without data")
        return due

    def _hide_keys(self, error: APIError) -> None:
        """Remove our key from the message of an error."""
        error.message = self._without_keys(error.message)
        error.args = (error.message,)

    def _without_keys(self, text: str) -> str:
        for key in self._keys:
            text = text.replace(key, "(the key)")
        return text

    async def _open(self, prompt: Prompt, call: _Call) -> ServerResponse:
        """Return a response with status 200. After a refusal, retry at once in a form that it teaches."""
        dialect, options = self._dialect, self.options
        while call.refusals < _MOST_REFUSALS:
            asked = build_request_body(
                prompt,
                model=options.model,
                dialect=dialect,
                reasoning_effort=options.reasoning_effort,
                constrain=options.constrain,
                prefixes=self._prefixes,
            )
            try:
                return await self._send(msgspec.json.encode({**options.defaults, **asked}), call)
            except _Refused as refused:
                call.refusals += 1
                lesson = self._learn(dialect, refused.refusal, asked, prompt) if options.learns else None
                if lesson is None:
                    refused.param = find_refused_parameter(dialect, refused.refusal, asked)
                    raise
                dialect = lesson.dialect
        raise ServiceUnavailable("The model's server refuses every form of the request.", retry_after=60)

    def _learn(
        self, dialect: Dialect, refusal: Refusal, asked: dict[str, Any], prompt: Prompt
    ) -> Lesson | None:
        """Return the form of the next try. Remember it for later requests if the lesson is lasting."""
        lesson = learn(dialect, refusal, asked, prompt.preferences)
        if lesson is not None and lesson.is_lasting:
            lasting = learn(self._dialect, refusal, asked, prompt.preferences)
            if lasting is not None and lasting.dialect != self._dialect:
                self._dialect = lasting.dialect
                reason = self._without_keys(refusal.message[:_MOST_REASON_CHARACTERS])
                model = self.options.model
                log.info("upstream_dialect_learned", model=model, change=lasting.change, reason=reason)
        return lesson

    async def _open_elsewhere(self, prompt: Prompt, call: _Call, failure: ExchangeFailed) -> ServerResponse:
        """Open the answer of another server. Raises `failure` if there is none, or if it was asked before."""
        if self.servers is None or isinstance(failure, TooMuch) or not self._may_try_another(call):
            raise failure
        self._note_failure(failure, call)
        call.close()
        return await self._open(prompt, call)

    def _may_try_another(self, call: _Call) -> bool:
        return call.made == 1 and self.options.retries > 0

    async def _send(self, body: bytes, call: _Call) -> ServerResponse:
        """
        Return a response with status 200, after at most as many tries as the options allow.

        The tries of all forms of one prompt count together. Of several servers, two are asked at most.
        """
        most = self.options.retries + 1 if self.servers is None else min(2, self.options.retries + 1)
        while True:
            call.made += 1
            last = call.made >= most
            try:
                response = await self._post(body, call)
            except ServiceUnavailable as failure:
                call.close()
                cause = failure.__cause__
                if (
                    last
                    or isinstance(cause, TooMuch)
                    or (self.servers is None and isinstance(cause, TimedOut))
                ):
                    raise
                await self._pause(call, _choose_backoff(call.made - 1))
                continue
            if response.status == 200:
                self._note_success(response, call)
                return response
            self._note_kind(f"status_{response.status}")
            try:
                error = await _to_status_error(response, self.options.settings)
            finally:
                call.close()
            if isinstance(error, _Refused):
                call.made -= 1  # a refusal is no failure, and `_open` limits its number
                call.tried.clear()
            elif isinstance(error, ServiceUnavailable) and response.status != 429:
                self._failure = error.message
                if call.tried and self.servers is not None:
                    self.servers.note_failure(call.tried[-1])
            if last or not self._is_retried(response.status):
                raise error
            await self._pause(call, _choose_wait(response, call.made - 1))

    def _is_retried(self, status: int) -> bool:
        if self.servers is None:
            return status in _RETRIED_STATUSES
        # Whatever else is wrong with one server, such as its key or its model, may be right with another.
        return status not in (400, 413, 422, 429)

    async def _pause(self, call: _Call, seconds: float) -> None:
        """Wait before the next try. Another server can be asked at once."""
        if self.servers is None:
            await asyncio.sleep(seconds)

    def _note_success(self, response: ServerResponse, call: _Call) -> None:
        self._failure = None
        if self.servers is not None and call.server is not None:
            self.servers.note_success(call.server)
        if self._dialect.name == "auto" and response.header(b"server") == "llama.cpp":
            self._dialect = replace(self._dialect, name="llama.cpp", allows_parallel_calls=False)

    async def _choose_endpoint(self, call: _Call) -> Endpoint:
        if self.servers is None:
            return await self.endpoint()
        server = self.servers.choose(call.key, call.tried)
        assert server is not None  # noqa: S101 - there are two at least, and two are tried at most
        call.begin(server)
        return server.endpoint

    async def _post(self, body: bytes, call: _Call) -> ServerResponse:
        endpoint = await self._choose_endpoint(call)
        if endpoint.api_key:
            self._keys.add(endpoint.api_key)
        if self._poster is None:
            await self.start()
        assert self._poster is not None  # noqa: S101 - start() has just made it
        patience = self.options.first_byte_timeout_seconds
        try:
            address = _build_address(endpoint)
            call.response = await self._poster.post(address, body, patience_seconds=patience, more=call.head)
        except ExchangeFailed as failure:
            raise self._note_failure(failure, call) from failure
        return call.response

    async def _list_models(self, endpoint: Endpoint) -> frozenset[str] | None:
        """Return the models that a server lists, or None if it has no list. Raises OSError if it is away."""
        assert self._poster is not None  # noqa: S101 - the watch begins after it was made
        url = build_endpoint_url(endpoint.base_url, "/models")
        try:
            address = Address.of(url, headers=build_request_headers(endpoint), method="GET")
            response = await self._poster.post(address, b"", patience_seconds=_LIST_SECONDS)
            with closing(response):
                body = bytearray()
                while data := await response.read(patience_seconds=_LIST_SECONDS):
                    body += data
        except BadAddress:
            return None
        except ExchangeFailed as failure:
            raise OSError(str(failure)) from failure
        return read_model_names(bytes(body)) if response.status == 200 else None

    def _note_failure(self, failure: ExchangeFailed, call: _Call) -> APIError:
        """Return the error for our caller, and remember the failure for `status`."""
        error = _to_error(failure)
        self._note_kind(_KINDS.get(type(failure), "broke"))
        # The question may have caused an answer without end, so the server may well answer the next one.
        if not isinstance(failure, TooMuch):
            self._failure = error.message
            if self.servers is not None and call.tried:
                self.servers.note_failure(call.tried[-1])
        return error


@lru_cache(maxsize=64)
def _build_address(endpoint: Endpoint) -> Address:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        **build_request_headers(endpoint),
    }
    return Address.of(build_endpoint_url(endpoint.base_url, "/chat/completions"), headers=headers)


def build_request_headers(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers of every request to a model's server: our name, and the key."""
    headers = {"User-Agent": USER_AGENT}
    if endpoint.api_key:
        is_bearer = endpoint.key_header == "Authorization"
        headers[endpoint.key_header] = f"Bearer {endpoint.api_key}" if is_bearer else endpoint.api_key
    return headers


def read_model_names(body: bytes) -> frozenset[str] | None:
    """Return the names in a list of models, or None if `body` is no such list."""
    try:
        listed = msgspec.json.decode(body, type=_ModelList)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return frozenset(one.id for one in listed.data)


class _ListedModel(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_ListedModel]


_KINDS: dict[type[ExchangeFailed], str] = {
    CannotConnect: "cannot_connect",
    TimedOut: "timed_out",
    TooMuch: "too_much",
    BadAddress: "bad_address",
}


def _to_error(failure: ExchangeFailed) -> APIError:
    """Return the error for our caller after a failed exchange."""
    match failure:
        case CannotConnect():
            return ServiceUnavailable("The model's server could not be reached.", retry_after=5)
        case TimedOut():
            return ServiceUnavailable("The model's server did not answer in time.", retry_after=5)
        case TooMuch():
            return ServiceUnavailable(_TOO_MUCH, retry_after=60)
        case BadAddress():
            return ServiceUnavailable("The model's server has no valid http(s) URL.", retry_after=60)
        case _:
            return ServiceUnavailable("The connection to the model's server broke.", retry_after=1)


def _is_whole(content_type: str, begin: bytes) -> bool:
    """Whether an answer is one JSON body. Its first bytes count, because some servers send a wrong type."""
    begin = begin.lstrip()
    if content_type in _WHOLE_TYPES:
        return not begin.startswith(_STREAM_BEGINS)
    return content_type != "text/event-stream" and begin.startswith(b"{")


def _refuse_endless(body: bytearray) -> None:
    if len(body) > _MAX_BODY_BYTES:
        raise ServiceUnavailable(_TOO_MUCH, retry_after=60)


async def _to_status_error(response: ServerResponse, settings: UpstreamSettings) -> APIError:
    """Return the error for our caller after a status other than 200."""
    match response.status:
        case 400 | 413 | 422:
            refusal = await _read_refusal(response)
            message = f"The model refused the request: {refusal.message[:_MOST_REASON_CHARACTERS]}"
            if _TOO_LONG.search(refusal.message):
                return ConversationTooLong(message)
            return InvalidRequest(message) if response.status == 413 else _Refused(message, refusal)
        case 403:
            return ServiceUnavailable(
                f"The model's server answered 403. The operator has to check the rights of "
                f"{settings.api_key}, "
                "and whether a firewall or a blocked region is the cause.",
                retry_after=60,
            )
        case 301 | 302 | 303 | 307 | 308:
            return ServiceUnavailable(
                f"The model's server is elsewhere (it answered {response.status}); the operator has to check "
                f"{settings.base_url}.",
                retry_after=60,
            )
        case 401:
            return ServiceUnavailable(
                f"The model's server refused the credentials; the operator has to check {settings.api_key}.",
                retry_after=60,
            )
        case 404:
            # A router without an engine yet answers so, too, until an engine has joined it.
            return ServiceUnavailable(
                "The model's server knows no such path or model, or has no engine for it yet. If that lasts, "
                f"the operator has to check {settings.base_url} and {settings.model}: mavera doctor",
                retry_after=_read_retry_after(response) or 10,
            )
        case 429:
            wait = _read_retry_after(response) or 5
            return ServiceUnavailable("The model's server has too much to do.", retry_after=wait)
        case status:
            wait = _read_retry_after(response) or 5
            return ServiceUnavailable(f"The model's server answered {status}.", retry_after=wait)


async def _read_refusal(response: ServerResponse) -> Refusal:
    """Return the refusal in the body of a response. Without a readable body, it has no reason."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            while len(body) < _MAX_ERROR_BYTES:
                data = await response.read(patience_seconds=_ERROR_BODY_SECONDS)
                if not data:
                    break
                body += data
        return to_refusal(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Some gateways answer in plain text. A page of HTML contains nothing that a caller could use.
        text = body.decode(errors="replace").strip()
        return Refusal(text if text and not text.startswith(("<", "{", "[")) else NO_REASON)
    except (TimeoutError, ExchangeFailed, RecursionError):
        return Refusal(NO_REASON)


def _read_retry_after(response: ServerResponse) -> int | None:
    value = response.header(b"retry-after")
    return max(1, int(value)) if value.isdecimal() and len(value) < 6 else None


def _choose_wait(response: ServerResponse, attempt: int) -> float:
    return min(_read_retry_after(response) or _choose_backoff(attempt), _MAX_RETRY_WAIT_SECONDS)


def _choose_backoff(attempt: int) -> float:
    """Return the seconds before the next try: about 0.1, 0.2, 0.4 …, at random, to spread the tries."""
    return 0.1 * 2.0**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
