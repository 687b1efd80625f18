"""The calls to the engine's API, against a server that answers as llama.cpp's does, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.models.embedded.engine_api import EngineApi, EngineCallFailed, EngineUnreachable
from mavera.models.embedded.process import EngineAddress

PROMPT = Prompt((make_message("system", "Be brief."), make_message("user", "Héllo")))


class EngineStub:
    """Its tokens are the code points of a text. `broken` are paths that answer 500, `garbled` no JSON."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.garbled: set[str] = set()
        self.busy = [True, True]
        self.asked: list[tuple[str, str | None, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body: Any = await request.json() if request.method == "POST" else None
        self.asked.append((request.path_qs, request.headers.get("Authorization"), body))
        if request.path in self.broken:
            return web.json_response({"error": "broken"}, status=500)
        if request.path in self.garbled:
            return web.Response(text="<html>")
        match request.method, request.path:
            case "GET", "/health":
                return web.json_response({"status": "ok"})
            case "GET", "/slots":
                slots = [{"id": n, "is_processing": busy} for n, busy in enumerate(self.busy)]
                return web.json_response(slots)
            case "POST", "/apply-template":
                texts = [f"<{message['role']}>{message['content']}" for message in body["messages"]]
                return web.json_response({"prompt": "".join(texts)})
            case "POST", "/tokenize":
                assert body["parse_special"]
                return web.json_response({"tokens": [ord(letter) for letter in body["content"]]})
            case "POST", "/completion":
                return web.json_response({"id_slot": len(body["prompt"]), "content": ""})
            case "POST", "/slots/3":
                return web.json_response({"id_slot": 3, "n_saved": 7})
        return web.json_response({"error": "not found"}, status=404)


@asynccontextmanager
async def open_stub(seconds: float = 10.0) -> AsyncIterator[tuple[EngineStub, EngineApi]]:
    stub = EngineStub()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        async with EngineApi(EngineAddress(f"http://127.0.0.1:{port}", "secret"), seconds=seconds) as api:
            yield stub, api
    finally:
        await runner.cleanup()


def test_a_prompt_is_tokenized_as_the_template_writes_it() -> None:
    async def run() -> None:
        async with open_stub() as (stub, api):
            tokens = await api.tokenize_prompt(PROMPT)
        assert "".join(map(chr, tokens)) == "<system>Be brief.<user>Héllo"
        assert [path for path, _, _ in stub.asked] == ["/apply-template", "/tokenize"]
        assert {key for _, key, _ in stub.asked} == {"Bearer secret"}
        # The template reads these members alone; sampling and the answer's form are no text for the model.
        assert stub.asked[0][2].keys() <= {"messages", "tools", "tool_choice"}

    asyncio.run(run())


def test_slots_are_read_saved_and_restored() -> None:
    async def run() -> None:
        async with open_stub() as (stub, api):
            assert not await api.has_idle_slot()
            stub.busy[1] = False
            assert await api.has_idle_slot()
            assert await api.evaluate([1, 2, 3]) == 3
            assert await api.save_slot(3, "a.state") == 7
            assert await api.restore_slot(3, "a.state")
            stub.broken.add("/slots/3")
            assert not await api.restore_slot(3, "a.state")
        assert [path for path, _, _ in stub.asked[-3:]] == [
            "/slots/3?action=save",
            "/slots/3?action=restore",
            "/slots/3?action=restore",
        ]

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["broken", "garbled"])
def test_an_engine_that_refuses_or_babbles_fails_the_call(fault: str) -> None:
    async def run() -> None:
        async with open_stub() as (stub, api):
            getattr(stub, fault).update({"/tokenize", "/slots", "/slots/3", "/completion"})
            for call in (
                api.tokenize_prompt(PROMPT),
                api.has_idle_slot(),
                api.save_slot(3, "a"),
                api.evaluate([1]),
            ):
                with pytest.raises(EngineCallFailed) as raised:
                    await call
                assert not isinstance(raised.value, EngineUnreachable)

    asyncio.run(run())


def test_health_is_what_the_engine_says_of_itself() -> None:
    async def run() -> None:
        async with open_stub() as (stub, api):
            assert await api.is_healthy()
            stub.broken.add("/health")
            assert not await api.is_healthy()

    asyncio.run(run())


def test_an_engine_that_is_gone_is_unreachable_and_not_healthy() -> None:
    async def run() -> None:
        async with open_stub() as (_, api):
            pass
        with pytest.raises(EngineUnreachable):
            await api.tokenize_text("x")
        assert not await api.is_healthy()

    asyncio.run(run())
