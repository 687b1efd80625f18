"""The AI SDK's default model refers to items that one of two workers kept, whichever of them answers next."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from mavera.settings import Settings
from tests.clients.conftest import HERE, Run
from tests.support.processes import make_key, serving
from tests.support.tables import make_tables
from tests.support.upstream_stub import chunk, running_upstream, sends, text

pytestmark = pytest.mark.proof


async def call_or_tell(request: web.Request) -> web.StreamResponse:
    """Call get_weather for the city of the last message, or repeat what it gave."""
    last = (await request.json())["messages"][-1]
    if last["role"] == "tool":
        return await sends(text(f"It gave {last['content']}"), chunk(reason="stop"))(request)
    city = re.findall(r"[A-Z]\w+", last["content"])[-1]
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    call = {"index": 0, "id": f"call_{city}", "type": "function", "function": function}
    return await sends(chunk({"tool_calls": [call]}), chunk(reason="tool_calls"))(request)


def test_two_turns_with_tools_are_answered_by_two_workers(run: Run, node: str, tmp_path: Path) -> None:
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    key = asyncio.run(make_key(Settings(data_dir=tmp_path), 1_000))
    with running_upstream() as upstream:
        upstream.script = [call_or_tell]
        environ = {
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": upstream.url,
            "MAVERA_UPSTREAM_MODEL": "stub",
        }
        with serving(environ, tmp_path, "--workers", "2") as (url, _):
            told = {"MAVERA_BASE_URL": url.removesuffix("/responses"), "MAVERA_API_KEY": key}
            printed = run(
                node, "--test", "--test-reporter=tap", "ai-sdk-history.test.mjs", cwd=HERE / "node", **told
            )

    assert re.search(r"^# pass 1$", printed, re.MULTILINE), printed
    assert len(upstream.asked) == 16
