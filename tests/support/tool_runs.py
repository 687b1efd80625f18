"""Runs whose model calls the server's own tools."""

import json
import sqlite3
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import Serve, Served
from tests.support.provider_stub import (
    KEY,
    Providers,
)
from tests.support.upstream_stub import DONE, FINISH, Behaviour, Upstream, chunk, sends, text

WEATHER: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
ASKED: Any = [{"role": "user", "content": "How long may I return a jacket?"}]


def calls(*made: tuple[str, Any], before: str = "") -> Behaviour:
    """Answer with calls, the arguments as given: text as it is, anything else as JSON."""
    deltas = [
        {
            "index": number,
            "id": f"call_{number}_{name}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(made)
    ]
    said = [text(before)] if before else []
    usage = {"prompt_tokens": 50, "completion_tokens": 10}
    return sends(*said, chunk({"tool_calls": deltas}), chunk(reason="tool_calls", usage=usage), DONE)


def says(words: str) -> Behaviour:
    return sends(text(words), FINISH, DONE)


def search(query: str) -> tuple[str, Any]:
    return ("tavily_search", {"query": query})


def with_upstream(serve: Serve, upstream: Upstream, **settings: Any) -> Served:
    return serve(
        model_backend="upstream",
        upstream_base_url=upstream.url,
        upstream_model="m",
        fetch_allow="127.0.0.1",
        **settings,
    )


def ran(answer: Any, member: str = "server_tool_calls") -> list[dict[str, Any]]:
    """Return the calls that an answer lists."""
    calls_made: list[dict[str, Any]] = answer.to_dict()[member]
    return calls_made


def told(upstream: Upstream, request: int = -1) -> list[str]:
    """Return what the model was told by tools in a request."""
    return [m["content"] for m in upstream.asked[request]["messages"] if m["role"] == "tool"]


SUCCEEDED: dict[str, Any] = {"status": "SUCCEEDED", "cost": {"credits": 5}}
RUNNING: dict[str, Any] = {"status": "RUNNING", "progress": 0.4, "estimatedCost": {"credits": 5}}


def tavily(serve: Serve, upstream: Upstream, providers: Providers, **settings: Any) -> Served:
    given = {"tavily_api_key": KEY, "tavily_base_url": providers.url, **settings}
    return with_upstream(serve, upstream, **given)


def pages(serve: Serve, upstream: Upstream, providers: Providers, **settings: Any) -> Served:
    """Without any key: pages are fetched from here."""
    given = {"fetch_ports": f"80,443,{providers.port}", "tools": "tavily_extract", **settings}
    return with_upstream(serve, upstream, **given)


def ask(served: Served, **options: Any) -> Any:
    return served.client().responses.create(model="mavera-1", input="When does the shop open?", **options)


def extract(*urls: str) -> tuple[str, Any]:
    return ("tavily_extract", {"urls": list(urls)})


def images(serve: Serve, upstream: Upstream, providers: Providers, **settings: Any) -> Served:
    given = {"images_base_url": f"{providers.url}/openai/v1", "images_model": "m", "images_api_key": KEY}
    return with_upstream(serve, upstream, **given, **settings)


def video(serve: Serve, upstream: Upstream, providers: Providers, **settings: Any) -> Served:
    given = {"runway_api_key": KEY, "runway_base_url": providers.url, "runway_poll_seconds": 0.05}
    ports = {"fetch_ports": f"80,443,{providers.port}"}
    return with_upstream(serve, upstream, **given, **ports, **settings)


def media_of(served: Served, address: str, until: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        request = urllib.request.Request(served.url + address, headers=served.headers)
        with urllib.request.urlopen(request) as answer:
            media: dict[str, Any] = json.load(answer)
        if media["status"] in until:
            return media
        assert time.monotonic() < deadline, media
        time.sleep(0.05)


def statuses(served: Served, at_least: int = 1) -> list[str]:
    """Return how the calls in the audit ended, once there are enough."""
    deadline = time.monotonic() + 5
    while True:
        with sqlite3.connect(Path(served.settings.data_dir) / "mavera.db") as db:
            rows = [row[0] for row in db.execute("SELECT status FROM tool_calls")]
        db.close()
        if len(rows) >= at_least:
            return rows
        assert time.monotonic() < deadline
        time.sleep(0.05)
