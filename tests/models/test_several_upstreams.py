"""Requests to several upstreams: the routing header, failover before the first byte, and the calls made."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from mavera.errors import ConfigurationError
from mavera.models.choice import choose_upstream
from mavera.personas.builtin import PersonaLibrary
from mavera.settings import Settings, load_settings
from tests.conftest import Served, running_server
from tests.support.upstream_stub import (
    SAID,
    Behaviour,
    Upstream,
    answer,
    breaks_off,
    hangs_up,
    holds_its_headers,
    is_silent,
    refuses,
    running_upstream,
    sends,
    text,
)

PERSONAS = [persona.id for persona in PersonaLibrary.load().list()][:12]
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}


class Pair:
    """A server with two upstreams behind it."""

    def __init__(self, served: Served, upstreams: list[Upstream]) -> None:
        self.served = served
        self.upstreams = upstreams

    def set_script(self, *behaviours: Behaviour) -> None:
        """Let one upstream behave so, for every request; the other one answers."""
        self.upstreams[0].script = list(behaviours)
        self.upstreams[1].script = [answer()]

    def ask(self, persona: str | None, **members: Any) -> httpx.Response:
        body: dict[str, Any] = {"model": "mavera-1", "input": "Would you pay?", **members}
        if persona is not None:
            body["persona_id"] = persona
        headers = {**self.served.headers, "x-session-id": "the-callers-own"}
        return httpx.post(f"{self.served.base_url}/responses", json=body, headers=headers, timeout=30)

    @property
    def calls(self) -> int:
        return sum(len(upstream.asked) for upstream in self.upstreams)

    def find_keys(self) -> list[str | None]:
        return [headers.get("x-session-id") for upstream in self.upstreams for headers in upstream.headers]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        upstreams = [stack.enter_context(running_upstream()) for _ in range(2)]
        served = stack.enter_context(
            running_server(
                tmp_path / "data",
                model_backend="upstream",
                upstream_base_url=",".join(upstream.url for upstream in upstreams),
                upstream_model="stub",
                upstream_first_byte_timeout_seconds=1.0,
                upstream_idle_timeout_seconds=1.0,
            )
        )
        yield Pair(served, upstreams)


def test_each_persona_stays_with_one_server_and_all_servers_get_some(pair: Pair) -> None:
    for persona in PERSONAS * 2:
        assert pair.ask(persona).status_code == 200

    keys = [{headers["x-session-id"] for headers in upstream.headers} for upstream in pair.upstreams]
    assert keys[0]
    assert keys[1]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == len(PERSONAS)


def test_the_key_depends_on_the_persona_and_the_tools_and_not_on_the_question(pair: Pair) -> None:
    pair.ask(PERSONAS[0])
    pair.ask(PERSONAS[0], input="Something else entirely?", instructions="Be brief.")
    pair.ask(PERSONAS[0], tools=[TOOL])
    pair.ask(PERSONAS[1])

    by_tools = {len(set(pair.find_keys()))}
    assert by_tools == {3}


def test_without_a_persona_no_key_is_sent_and_a_callers_header_is_not_passed_on(pair: Pair) -> None:
    pair.ask(None)
    pair.ask(PERSONAS[0])

    keys = pair.find_keys()
    assert None in keys
    assert "the-callers-own" not in keys


@pytest.mark.parametrize(
    "behaviour",
    [
        refuses(500),
        refuses(503),
        refuses(401),
        refuses(404, {"error": {"code": "model_not_found", "message": "No worker available"}}),
        hangs_up,
        holds_its_headers,
        breaks_off(),
        is_silent(),
    ],
    ids=["500", "503", "401", "404", "hangs up", "no headers", "cut after its headers", "silent"],
)
def test_another_server_answers_if_nothing_of_an_answer_has_arrived(pair: Pair, behaviour: Behaviour) -> None:
    pair.set_script(behaviour)
    answered = [pair.ask(persona) for persona in PERSONAS]

    assert [one.status_code for one in answered] == [200] * len(PERSONAS)
    assert all(SAID in one.text for one in answered)
    # The server that failed was asked, and after its failure it was passed over at least once.
    assert 1 <= len(pair.upstreams[0].asked) < len(PERSONAS)
    assert pair.upstreams[0].busy == 0, "the first connection is still open"


@pytest.mark.parametrize(
    ("behaviour", "calls"),
    [(refuses(429), 1), (refuses(400), 1), (sends(text("I would ")), 1), (breaks_off(text("I would ")), 1)],
    ids=["429", "400", "ends early", "cut after its first byte"],
)
def test_no_other_server_is_asked_after_a_429_a_refusal_or_the_first_byte(
    pair: Pair, behaviour: Behaviour, calls: int
) -> None:
    for upstream in pair.upstreams:
        upstream.script = [behaviour]

    assert pair.ask(PERSONAS[0]).status_code >= 400
    assert pair.calls == calls


def test_a_question_to_servers_that_all_fail_causes_two_calls(pair: Pair) -> None:
    for upstream in pair.upstreams:
        upstream.script = [refuses(500)]

    failed = pair.ask(PERSONAS[0])

    assert failed.status_code == 503
    assert "retry-after" in failed.headers
    assert pair.calls == 2


def test_refusals_teach_forms_and_failures_do_not_begin_the_count_again(pair: Pair) -> None:
    """The most calls of one question: one for each form that a refusal teaches, and one after a failure."""
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    unsupported = refuses(400, {"error": {"message": message, "param": "max_tokens"}})

    async def behave(request: web.Request) -> web.StreamResponse:
        knows = "max_tokens" not in await request.json()
        return await (refuses(500) if knows else unsupported)(request)

    for upstream in pair.upstreams:
        upstream.script = [behave]

    assert pair.ask(PERSONAS[0], max_output_tokens=50).status_code == 503
    assert pair.calls == 3


def test_a_slow_server_does_not_stop_the_questions_of_the_other(pair: Pair) -> None:
    pair.set_script(holds_its_headers)
    answered = [pair.ask(persona).status_code for persona in PERSONAS * 2]

    assert answered == [200] * len(answered)
    assert len(pair.upstreams[0].asked) < len(answered) / 2


def test_readiness_names_the_server_that_is_passed_over(pair: Pair) -> None:
    pair.set_script(refuses(500))
    for persona in PERSONAS:
        pair.ask(persona)

    ready = httpx.get(f"{pair.served.url}/health/ready")

    assert ready.status_code == 200
    assert "1 of 2 servers answer" in ready.json()["model"]["detail"]


def test_a_list_in_the_file_is_the_list_of_the_variable(tmp_path: Path) -> None:
    (tmp_path / "mavera.toml").write_text('upstream_base_url = ["http://a/v1", "http://b/v1"]\n')

    in_file = load_settings({}, data_dir=tmp_path)
    named = load_settings({"MAVERA_UPSTREAM_BASE_URL": "http://a/v1,http://b/v1"})

    assert in_file.upstream_base_url == named.upstream_base_url


def test_the_routing_header_can_be_renamed_and_left_out() -> None:
    def header_for(name: str) -> str:
        settings = Settings(
            upstream_base_url="http://a/v1", upstream_model="stub", upstream_routing_header=name
        )
        return choose_upstream(settings).options.routing_header

    assert header_for("x-user-id") == "x-user-id"
    assert header_for("") == ""
    with pytest.raises(ConfigurationError, match="every request has that"):
        header_for("Content-Type")
