"""
One server that speaks as tool providers do: Tavily, SearXNG, OpenAI's images, RunwayML, and web pages.

`providers.answers[path]` replaces what a path gives; `providers.asked` notes who was asked what.
"""

import asyncio
import base64
import gzip
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "key-that-nobody-may-see"
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64
PAGE = """<!doctype html><html><head><title>Opening hours</title>
<meta property="article:published_time" content="2026-10-01"></head><body><nav>Home</nav><article>
<h1>Opening hours</h1><p>The Oslo shop opens at nine in the morning and closes at six in the evening.</p>
<p>It is closed on Sundays and on public holidays. See also <a href="/parking">how to park</a> there.</p>
</article></body></html>"""


def png() -> bytes:
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\x00\x80")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


class Providers:
    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Any, str | None]] = []
        self.task_states: list[dict[str, Any]] = []
        self.busy = 0

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body: Any = dict(request.query)
        if request.content_type == "application/json" and request.can_read_body:
            body = await request.json()
        elif request.content_type == "multipart/form-data":
            body = dict(await request.post())
        self.asked.append((request.path, body, request.headers.get("Authorization")))
        answer = self.answers.get(request.path) or getattr(self, f"_{_name(request.path)}", None)
        self.busy += 1
        try:
            return await answer(request) if answer is not None else web.Response(status=404)
        finally:
            self.busy -= 1

    async def _search(self, request: web.Request) -> web.StreamResponse:
        page = {
            "url": "https://example.com/hours",
            "title": "Hours",
            "content": "Opens at nine.",
            "score": 0.9,
        }
        if request.method == "GET":  # SearXNG
            found = [{**page, "publishedDate": "2026-10-01T00:00:00", "engine": "e", "category": "general"}]
            return web.json_response({"query": request.query["q"], "results": found, "answers": []})
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"detail": {"error": f"Unauthorized: {KEY}"}}, status=401)
        answer = {"query": "q", "results": [page], "images": [], "response_time": 0.1, "request_id": "r"}
        return web.json_response(answer)

    async def _extract(self, request: web.Request) -> web.StreamResponse:
        [url] = (await request.json())["urls"]
        found = [{"url": url, "title": "Hours", "raw_content": "# Hours\n\nOpens at nine."}]
        return web.json_response({"results": found, "failed_results": [], "response_time": 0.1})

    async def _images_generations(self, _: web.Request) -> web.StreamResponse:
        encoded = base64.b64encode(png()).decode()
        return web.json_response(
            {"created": 1, "data": [{"b64_json": encoded}], "usage": {"total_tokens": 9}}
        )

    _images_edits = _images_generations

    async def _v1_text_to_video(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "17f20503-6c24-4c16-946b-35dbbce2af2f"})

    _v1_image_to_video = _v1_text_to_video

    async def _v1_tasks(self, _: web.Request) -> web.StreamResponse:
        state = self.task_states.pop(0) if len(self.task_states) > 1 else self.task_states[0]
        task = {"id": "17f20503-6c24-4c16-946b-35dbbce2af2f", "createdAt": "2026-11-21T00:00:00Z"}
        return web.json_response({**task, **state})

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE, content_type="text/html")

    async def _video(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=MP4, content_type="video/mp4")


def _name(path: str) -> str:
    known = path.removeprefix("/openai/v1")
    return "v1_tasks" if known.startswith("/v1/tasks/") else known.strip("/").replace("/", "_")


def status(code: int, body: Any = None, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body or {"error": {"message": f"no: {KEY}"}}, status=code, headers=told)

    return answer


def body(data: bytes, content_type: str = "application/json") -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=data, content_type=content_type)

    return answer


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("unreachable")


async def truncated(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "5000"})
    await response.prepare(request)
    await response.write(b'{"results": [')
    assert request.transport is not None
    request.transport.close()
    return response


def endless(content_type: str = "application/json") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        await response.write(b'{"results": [{"url": "https://example.com/", "title": "')
        for _ in range(100):
            await response.write(b"x" * (1024 * 1024))
        return response

    return answer


async def packed(_: web.Request) -> web.StreamResponse:
    """Answer with 100 MB of blanks in some 100 KB, whether it was asked for or not."""
    data = gzip.compress(b'{"results": []' + b" " * 100_000_000 + b"}", compresslevel=1)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return web.Response(body=data, headers=headers)


@contextmanager
def running_providers() -> Iterator[Providers]:
    providers = Providers()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started = threading.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", providers.handle)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        providers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield providers
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
