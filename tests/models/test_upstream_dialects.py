"""A server in front of an upstream that refuses what OpenAI's reasoning models refuse, as clients see it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from mavera.errors import ConfigurationError
from mavera.models.choice import choose_model
from mavera.settings import Settings
from tests.conftest import Served, running_server
from tests.support.dialect_stubs import openai
from tests.support.upstream_stub import DONE, FINISH, Upstream, running_upstream, sends, text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Upstream]]:
    with (
        running_upstream() as upstream,
        running_server(
            tmp_path_factory.mktemp("data"),
            model_backend="upstream",
            upstream_base_url=f"{upstream.url}/chat/completions",
            upstream_model="reasoner",
        ) as served,
    ):
        upstream.script = [_reasoner]
        yield served, upstream


async def _reasoner(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    refused = openai(body)
    if refused is not None:
        return web.json_response(refused[1], status=refused[0])
    wanted = body.get("response_format", {}).get("json_schema", {}).get("name")
    return await sends(text({"n": "{}"}.get(wanted, "Yes.")), FINISH, DONE)(request)


def ask(served: Served, path: str, **body: Any) -> httpx.Response:
    asked = {"model": "mavera-1", **body}
    return httpx.post(served.base_url + path, json=asked, headers=served.headers, timeout=30)


def test_a_mosaic_has_positions_though_the_model_takes_one_temperature(
    stage: tuple[Served, Upstream],
) -> None:
    served, _ = stage
    personas = httpx.get(f"{served.base_url}/personas?limit=2", headers=served.headers).json()["data"]
    ids = [persona["id"] for persona in personas[:2]]

    answer = ask(served, "/responses", input="Would you pay?", mosaic_mode=True, persona_ids=ids)

    assert answer.status_code == 200
    assert [one["position"] for one in answer.json()["mosaic"]["positions"]] == ["yes: Yes."]


def test_a_conversation_is_compacted_though_the_model_takes_one_temperature(
    stage: tuple[Served, Upstream],
) -> None:
    served, _ = stage
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

    assert ask(served, "/responses/compact", input=talk).status_code == 200


@pytest.mark.parametrize(
    "wish",
    [
        {"max_output_tokens": 50},
        {"verbosity": "low"},
        {"seed": 1},
        {"temperature": 1},
        {"analysis_mode": True},
        {"text": {"format": {"type": "json_object"}}},
        {"tools": [{"type": "function", "name": "now"}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_client_may_wish_is_answered(
    stage: tuple[Served, Upstream], wish: dict[str, Any], stream: bool
) -> None:
    served, _ = stage
    answer = ask(served, "/responses", input="Would you pay?", stream=stream, **wish)

    assert answer.status_code == 200
    assert "response.failed" not in answer.text


def test_a_temperature_that_a_caller_chose_is_a_400_that_names_it(stage: tuple[Served, Upstream]) -> None:
    served, _ = stage
    messages = [{"role": "user", "content": "Would you pay?"}]

    answer = ask(served, "/chat/completions", messages=messages, temperature=0.2)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "temperature")


def test_a_base_url_that_cannot_work_ends_the_start_with_the_right_one(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, upstream_base_url="https://api.openai.com/v1/responses", upstream_model="m"
    )
    with pytest.raises(ConfigurationError, match=r"https://api\.openai\.com/v1$"):
        choose_model(settings)
