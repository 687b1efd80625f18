"""
A server that speaks /chat/completions badly on purpose, on a real port.

`upstream.script` says what it does with each request, the last entry with all further
ones; it notes what it was asked, and which requests it is still busy with.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
WORDS = ["I would ", "pay ", "for that."]
SAID = "".join(WORDS)


class Upstream:
    def __init__(self) -> None:
        self.url = ""
        self.script: list[Behaviour] = [answer()]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        # The answer to GET /v1/models: a status, and the names that it lists.
        self.models: tuple[int, list[str]] = (404, [])
        self.busy = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        behaviour = self.script[min(len(self.asked), len(self.script) - 1)]
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.busy += 1
        try:
            return await behaviour(request)
        finally:
            self.busy -= 1

    async def list_models(self, _: web.Request) -> web.StreamResponse:
        status, names = self.models
        return web.json_response({"data": [{"id": name} for name in names]}, status=status)

    def wait_until_busy(self, requests: int) -> None:
        """Return once exactly `requests` are being answered; fail after the second we promise, and slack."""
        deadline = time.monotonic() + 4
        while self.busy != requests:
            assert time.monotonic() < deadline, f"{self.busy} requests are being answered, not {requests}"
            time.sleep(0.01)


async def _report_health(_: web.Request) -> web.StreamResponse:
    return web.Response()


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started = threading.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", upstream.handle)
        app.router.add_get("/v1/models", upstream.list_models)
        app.router.add_get("/health", _report_health)
        # A handler is cancelled when its client leaves: `busy` then goes down.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield upstream
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **members: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({"choices": [choice], **members}).encode()


def text(words: str) -> bytes:
    return chunk({"content": words})


FINISH = chunk(reason="stop", usage={"prompt_tokens": 5, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"


async def opened(request: web.Request, content_type: str = "text/event-stream") -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    return response


def sends(*pieces: bytes, content_type: str = "text/event-stream") -> Behaviour:
    """Send `pieces` and end the answer in good order, whatever they say."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = await opened(request, content_type)
        for piece in pieces:
            await response.write(piece)
        return response

    return behave


def answer() -> Behaviour:
    return sends(*(text(words) for words in WORDS), FINISH, DONE)


def answers_slowly(pause_seconds: float) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        response = await opened(request)
        for words in WORDS:
            await response.write(text(words))
            await asyncio.sleep(pause_seconds)
        await response.write(FINISH + DONE)
        return response

    return behave


def repeats_question(pause_seconds: float) -> Behaviour:
    """Answer with the last message of the prompt, in two pieces, so that a test knows the right answer."""

    async def behave(request: web.Request) -> web.StreamResponse:
        question = str((await request.json())["messages"][-1]["content"])
        response = await opened(request)
        await response.write(text(question[:5]))
        await asyncio.sleep(pause_seconds)
        await response.write(text(question[5:]) + FINISH + DONE)
        return response

    return behave


def refuses(status: int, body: Any = None, **headers: str) -> Behaviour:
    async def behave(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            body if body is not None else {"error": {"message": f"refused with {status}"}},
            status=status,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    return behave


def is_silent(*pieces: bytes) -> Behaviour:
    """Send headers and `pieces`, then nothing more."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = await opened(request)
        for piece in pieces:
            await response.write(piece)
        await asyncio.sleep(3600)
        return response

    return behave


async def holds_its_headers(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("unreachable")


def breaks_off(*pieces: bytes) -> Behaviour:
    """Send headers and `pieces`, then cut the connection without the end of the body."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = await opened(request)
        for piece in pieces:
            await response.write(piece)
        assert request.transport is not None
        request.transport.close()
        return response

    return behave


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Cut the connection before any header."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never_ends_its_line(request: web.Request) -> web.StreamResponse:
    response = await opened(request)
    while True:
        await response.write(b"data: " + b"x" * (1024 * 1024))
