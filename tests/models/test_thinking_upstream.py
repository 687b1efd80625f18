"""A thinking model behind a server: both formats report its reasoning, and nothing else reads it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from mavera.personas.builtin import PersonaLibrary
from tests.conftest import running_server
from tests.support.openai_schemas import assert_fits_openai
from tests.support.upstream_stage import (
    CHAT,
    RESPONSES,
    Stage,
    assert_failed,
    events_of,
    said_in,
)
from tests.support.upstream_stub import DONE, FINISH, Behaviour, chunk, running_upstream, sends, text

MARKED = sends(
    text("<thi"), text("nk>Hm, "), text("4 €.</think>"), text("\n\nFour "), text("euros."), FINISH, DONE
)
APART = sends(
    chunk({"reasoning_content": "Hm, "}),
    chunk({"reasoning_content": "4 €."}),
    text("Four euros."),
    FINISH,
    DONE,
)
IN_PROMPT = sends(text("Hm, "), text("4 €."), text("</think>\n\n"), text("Four euros."), FINISH, DONE)
BEHAVIOURS = {"marked": MARKED, "apart": APART, "begun in the prompt": IN_PROMPT}
TALK = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]}


def ask(
    stage: Stage, behaviour: Behaviour, path: str, *, stream: bool = False, **members: Any
) -> httpx.Response:
    stage.upstream.asked.clear()
    stage.upstream.script = [behaviour]
    body = {"model": "mavera-1", "stream": stream, **members}
    asked = {"input": "Would you pay?"} if path == RESPONSES else {"messages": TALK["messages"]}
    return httpx.post(
        stage.served.base_url + path, json={**asked, **body}, headers=stage.served.headers, timeout=30
    )


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_chat_reports_reasoning_beside_the_answer(
    shared_stage: Stage,
    behaviour: Behaviour,
) -> None:
    whole = ask(shared_stage, behaviour, CHAT).json()
    message = whole["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Four euros.", "Hm, 4 €.")
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0

    events = events_of(ask(shared_stage, behaviour, CHAT, stream=True))
    thoughts = [choice["delta"].get("reasoning_content") for one in events for choice in one["choices"]]
    assert said_in(events) == "Four euros."
    assert "".join(one or "" for one in thoughts) == "Hm, 4 €."


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_responses_report_reasoning_as_an_item_before_the_message(
    shared_stage: Stage,
    behaviour: Behaviour,
) -> None:
    whole = ask(shared_stage, behaviour, RESPONSES).json()
    thought, message = whole["output"]
    assert_fits_openai("Response", whole)
    assert (thought["type"], thought["content"]) == (
        "reasoning",
        [{"type": "reasoning_text", "text": "Hm, 4 €."}],
    )
    assert message["content"][0]["text"] == "Four euros."

    events = events_of(ask(shared_stage, behaviour, RESPONSES, stream=True))
    deltas = [one["delta"] for one in events if one["type"] == "response.reasoning_text.delta"]
    assert (said_in(events), "".join(deltas)) == ("Four euros.", "Hm, 4 €.")
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]
    for event in events:
        assert_fits_openai("ResponseStreamEvent", event)


def test_an_answer_with_reasoning_can_be_fed_back(shared_stage: Stage) -> None:
    output = ask(shared_stage, MARKED, RESPONSES).json()["output"]
    talk = [{"role": "user", "content": "Would you pay?"}, *output, {"role": "user", "content": "And five?"}]
    assert ask(shared_stage, MARKED, RESPONSES, input=talk).status_code == 200
    assert [one["role"] for one in shared_stage.upstream.asked[-1]["messages"]] == [
        "user",
        "assistant",
        "user",
    ]

    message = ask(shared_stage, MARKED, CHAT).json()["choices"][0]["message"]
    again = [*TALK["messages"], message, {"role": "user", "content": "And five?"}]
    assert ask(shared_stage, MARKED, CHAT, messages=again).status_code == 200


@pytest.mark.parametrize("closing", ["<think>Hm {4}</think>", "Hm {4}</think>"])
def test_reasoning_is_kept_out_of_json(shared_stage: Stage, closing: str) -> None:
    behaviour = sends(text(closing), text('{"price": '), text("4}"), FINISH, DONE)
    wanted = {"type": "json_object"}
    whole = ask(shared_stage, behaviour, CHAT, response_format=wanted).json()
    message = whole["choices"][0]["message"]
    assert (message["content"], message["parsed"]) == ('{"price": 4}', {"price": 4})
    assert len(shared_stage.upstream.asked) == 1

    events = events_of(ask(shared_stage, behaviour, CHAT, response_format=wanted, stream=True))
    assert json.loads(said_in(events)) == {"price": 4}


@pytest.mark.parametrize("behaviour", [MARKED, IN_PROMPT])
def test_reasoning_is_kept_out_of_a_mosaic(shared_stage: Stage, behaviour: Behaviour) -> None:
    ids = [one.id for one in PersonaLibrary.load().list()[:2]]
    whole = ask(shared_stage, behaviour, CHAT, mosaic_mode=True, persona_ids=ids).json()
    answers = [one["text"] for one in whole["mosaic"]["answers"]]
    assert answers == ["Four euros."] * 2
    assert not any("Hm, 4" in json.dumps(asked, ensure_ascii=False) for asked in shared_stage.upstream.asked)


def test_reasoning_is_kept_out_of_an_analysis(shared_stage: Stage) -> None:
    whole = ask(shared_stage, APART, CHAT, analysis_mode=True).json()
    assert "Hm, 4" not in json.dumps(whole["analysis"], ensure_ascii=False)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("begun", [chunk({"reasoning_content": "Hm."}), text("<think>Hm.</think>")])
def test_reasoning_without_an_answer_is_a_failure(shared_stage: Stage, path: str, begun: bytes) -> None:
    behaviour = sends(begun, FINISH, DONE)
    whole = ask(shared_stage, behaviour, path)
    assert whole.status_code == 503
    assert "no answer" in whole.json()["error"]["message"]
    assert "no answer" in assert_failed(events_of(ask(shared_stage, behaviour, path, stream=True)))


def test_reasoning_that_is_cut_off_is_incomplete(shared_stage: Stage) -> None:
    behaviour = sends(chunk({"reasoning_content": "Hm."}), chunk(reason="length"), DONE)
    assert ask(shared_stage, behaviour, RESPONSES).json()["status"] == "incomplete"
    assert ask(shared_stage, behaviour, CHAT).json()["choices"][0]["finish_reason"] == "length"


@pytest.fixture(scope="module", params=["drop", "keep"])
def other_stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Stage]]:
    with (
        running_upstream() as upstream,
        running_server(
            tmp_path_factory.mktemp("data"),
            model_backend="upstream",
            upstream_base_url=upstream.url,
            upstream_model="stub",
            upstream_thinking=request.param,
        ) as served,
    ):
        yield request.param, Stage(served, upstream)


def test_the_setting_drops_or_keeps_reasoning(other_stage: tuple[str, Stage]) -> None:
    mode, stage = other_stage
    expected = "Four euros." if mode == "drop" else "<think>Hm, 4 €.</think>\n\nFour euros."
    message = ask(stage, MARKED, CHAT).json()["choices"][0]["message"]
    assert message["content"] == expected
    assert "reasoning_content" not in message
    assert said_in(events_of(ask(stage, MARKED, RESPONSES, stream=True))) == expected
    if mode == "drop":
        output = ask(stage, IN_PROMPT, RESPONSES).json()["output"]
        assert [item["type"] for item in output] == ["message"]
        assert output[0]["content"][0]["text"] == "Four euros."
