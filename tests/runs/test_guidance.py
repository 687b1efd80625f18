"""canvas_mode, reasoning_effort, verbosity and truncation through the official client, in both formats."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from mavera.core.items import Item, make_message
from mavera.core.turn import Turn
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.artifact_request import request_artifact
from mavera.runs.compose import compose
from tests.conftest import Serve
from tests.support.limited import CountingModel, RefusingModel

PERSONA = PersonaLibrary.load().list()[0]
CANVAS = {"canvas_mode": True}
PIECES = ["Sure.\n``", "`python Add", "ing\nprint(1 +", " 1)\n`", "``\nEnjoy", "."]
TEXT = (
    'Sure.\n<artifact identifier="adding" type="code" title="Adding" language="python">\n'
    "print(1 + 1)\n</artifact>\nEnjoy."
)
ARTIFACTS = [
    {
        "identifier": "adding",
        "type": "code",
        "title": "Adding",
        "language": "python",
        "content": "print(1 + 1)",
        "complete": True,
    }
]
QUESTION: list[Any] = [{"role": "user", "content": "Add one and one."}]


def test_artifacts_come_in_tags_and_as_a_list_in_responses(serve: Serve) -> None:
    client = serve(ScriptedModel(PIECES)).client()

    plain = client.responses.create(model="mavera-1", input="Add.", extra_body=CANVAS)
    events = list(client.responses.create(model="mavera-1", input="Add.", extra_body=CANVAS, stream=True))

    assert plain.output_text == TEXT
    assert plain.to_dict()["artifacts"] == ARTIFACTS
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.to_dict()["artifacts"] == ARTIFACTS
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == last.response.output_text == TEXT


def test_artifacts_come_in_tags_and_as_a_list_in_chat(serve: Serve) -> None:
    client = serve(ScriptedModel(PIECES)).client()

    plain = client.chat.completions.create(model="mavera-1", messages=QUESTION, extra_body=CANVAS)
    chunks = list(
        client.chat.completions.create(model="mavera-1", messages=QUESTION, extra_body=CANVAS, stream=True)
    )

    assert plain.choices[0].message.content == TEXT
    assert plain.choices[0].message.to_dict()["artifacts"] == ARTIFACTS
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].to_dict()["artifacts"] == ARTIFACTS
    assert not any("artifacts" in chunk.to_dict() for chunk in chunks[:-1])


def test_an_answer_cut_off_inside_an_artifact_is_closed(serve: Serve) -> None:
    client = serve(ScriptedModel(PIECES)).client()

    events = list(
        client.responses.create(
            model="mavera-1", input="Add.", extra_body=CANVAS, stream=True, max_output_tokens=3
        )
    )

    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text.endswith("\nprint(1 +\n</artifact>")
    artifacts: Any = last.response.to_dict()["artifacts"]
    assert artifacts[0]["complete"] is False


def test_a_run_that_fails_inside_an_artifact_closes_it_first(serve: Serve) -> None:
    client = serve(ScriptedModel(PIECES, fail_after=4, failure=ServiceUnavailable("Down."))).client()

    events = list(client.responses.create(model="mavera-1", input="Add.", extra_body=CANVAS, stream=True))

    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said.endswith("</artifact>")
    assert events[-1].type == "response.failed"


def test_without_canvas_mode_or_with_json_text_stays_as_it_is(serve: Serve) -> None:
    client = serve(ScriptedModel(PIECES)).client()

    plain = client.responses.create(model="mavera-1", input="Add.")

    assert plain.output_text == "".join(PIECES)
    assert "artifacts" not in plain.to_dict()


def test_guidance_comes_after_the_persona_and_the_conversation(serve: Serve) -> None:
    served = serve(ScriptedModel(PIECES))

    for options in ({}, {"verbosity": "high", **CANVAS}):
        served.client().responses.create(
            model="mavera-1",
            input="Add.",
            instructions="Be kind.",
            extra_body={"persona_id": PERSONA.id, **options},
        )

    plain, guided = (turn.items for turn in served.model.prompts)
    assert [item.text for item in plain[-2:]] == ["Be kind.", "Add."]
    assert guided[:-1] == plain
    assert "fenced block" in guided[-1].text
    assert "still as yourself" in guided[-1].text


def test_without_a_persona_the_guidance_does_not_speak_of_a_self(serve: Serve) -> None:
    served = serve(ScriptedModel(PIECES))

    served.client().responses.create(model="mavera-1", input="Add.", extra_body={"verbosity": "high"})

    assert "at length" in served.model.prompts[0].items[-1].text
    assert "yourself" not in served.model.prompts[0].items[-1].text


@pytest.mark.parametrize("stream", [False, True])
def test_high_effort_plans_unseen_and_counts_the_plan_as_reasoning(serve: Serve, stream: bool) -> None:
    served = serve(ScriptedModel(["No, ", "thanks."]))
    client = served.client()

    if stream:
        events = list(
            client.responses.create(model="mavera-1", input="Pay?", reasoning={"effort": "high"}, stream=True)
        )
        last = events[-1]
        assert last.type == "response.completed"
        response = last.response
    else:
        response = client.responses.create(model="mavera-1", input="Pay?", reasoning={"effort": "high"})
    completion = client.chat.completions.create(model="mavera-1", messages=QUESTION, reasoning_effort="high")

    assert response.output_text == completion.choices[0].message.content == "No, thanks."
    assert response.usage is not None
    assert response.usage.output_tokens == 4
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 2
    assert len(served.model.prompts) == 4


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium"])
def test_lower_effort_answers_at_once(serve: Serve, effort: Any) -> None:
    served = serve(ScriptedModel(["No."]))

    served.client().chat.completions.create(model="mavera-1", messages=QUESTION, reasoning_effort=effort)

    assert len(served.model.prompts) == 1


def test_a_client_that_leaves_during_the_plan_stops_it(serve: Serve) -> None:
    served = serve(ScriptedModel(["word "] * 200, delay_seconds=0.05))
    stream = served.client().responses.create(
        model="mavera-1", input="Pay?", reasoning={"effort": "high"}, stream=True
    )
    assert next(iter(stream)).type == "response.created"
    assert served.model.running == 1

    stream.close()

    deadline = time.monotonic() + 2
    while served.model.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert served.model.running == 0
    assert len(served.model.prompts) == 1


def test_verbosity_sets_the_length_asked_for_and_the_limit_where_there_is_none(serve: Serve) -> None:
    served = serve(ScriptedModel(["No."]))
    client = served.client()

    client.responses.create(model="mavera-1", input="Pay?", text={"verbosity": "low"})
    client.chat.completions.create(model="mavera-1", messages=QUESTION, verbosity="medium")
    client.chat.completions.create(model="mavera-1", messages=QUESTION, verbosity="high")
    client.chat.completions.create(model="mavera-1", messages=QUESTION, verbosity="low", max_tokens=7)
    client.chat.completions.create(
        model="mavera-1", messages=QUESTION, verbosity="low", response_format={"type": "json_object"}
    )

    low, medium, high, limited, as_json, _asked_again = served.model.prompts
    assert medium.max_output_tokens is None
    assert low.max_output_tokens < high.max_output_tokens
    assert limited.max_output_tokens == 7
    assert as_json.max_output_tokens is None
    assert len({turn.items[-1].text for turn in (low, medium, high)}) == 3


def test_a_planned_answer_in_json_is_checked_and_has_its_value(serve: Serve) -> None:
    served = serve()

    response = served.client().responses.create(
        model="mavera-1",
        input="Pay?",
        reasoning={"effort": "high"},
        text={"format": {"type": "json_object"}},
    )

    assert response.output_text == "{}"
    assert response.model_extra is not None
    assert response.model_extra["parsed"] == {}
    plan, answer = served.model.prompts
    assert (plan.format.type, answer.format.type) == ("text", "json_object")


def test_a_format_that_is_no_schema_is_refused_before_the_plan(serve: Serve) -> None:
    served = serve()
    wanted: Any = {"type": "json_schema", "name": "a", "schema": {"type": "none"}}

    with pytest.raises(openai.BadRequestError, match="not a valid JSON Schema"):
        served.client().responses.create(
            model="mavera-1", input="Pay?", reasoning={"effort": "high"}, text={"format": wanted}
        )

    assert served.model.prompts == []


def conversation(exchanges: int) -> list[Any]:
    return [
        message
        for number in range(exchanges)
        for message in (
            {"role": "user", "content": f"Question {number}? " + "x" * 200},
            {"role": "assistant", "content": f"Answer {number}. " + "y" * 200},
        )
    ][:-1]


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_conversation_is_a_400_with_the_numbers_before_any_stream(
    serve: Serve, stream: bool
) -> None:
    served = serve(CountingModel(["No."], context_tokens=2000))
    client = served.client()

    with pytest.raises(openai.BadRequestError) as by_response:
        client.responses.create(model="mavera-1", input=conversation(10), stream=stream)
    with pytest.raises(openai.BadRequestError) as by_chat:
        client.chat.completions.create(model="mavera-1", messages=conversation(10), stream=stream)

    assert by_response.value.code == by_chat.value.code == "invalid_request"
    assert (by_response.value.param, by_chat.value.param) == ("input", "messages")
    assert "2,000" in by_response.value.message
    assert "tokens" in by_chat.value.message
    assert served.model.prompts == []


@pytest.mark.parametrize("model", ["counting", "refusing"])
def test_auto_drops_from_the_middle_and_answers(serve: Serve, model: str) -> None:
    counting = CountingModel(["No."], context_tokens=2000)
    served = serve(counting if model == "counting" else RefusingModel(["No."], most_items=9))

    response = served.client().responses.create(
        model="mavera-1", input=conversation(10), instructions="Be kind.", truncation="auto"
    )

    assert response.output_text == "No."
    assert response.truncation == "auto"
    said = [item.text[:11] for item in served.model.prompts[0].items]
    assert said[:3] == ["Be kind.", "Question 0?", "Answer 0. y"]
    assert said[-1] == "Question 9?"
    assert len(said) < 10


class _Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that refuses what is long, with the words of vLLM."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        if len(body["messages"]) > 8:
            message = (
                "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."
            )
            self._answer(400, {"error": {"message": message, "type": "BadRequestError", "code": 400}})
            return
        choice = {"message": {"content": "No."}, "finish_reason": "stop"}
        self._answer(200, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def upstream() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Upstream) as server:
        server.bodies = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def upstream_settings(server: Any, **more: Any) -> dict[str, Any]:
    base_url = f"http://127.0.0.1:{server.server_port}/v1"
    return {"model_backend": "upstream", "upstream_base_url": base_url, "upstream_model": "m", **more}


def test_an_upstream_that_refuses_the_length_is_asked_again_with_less(serve: Serve) -> None:
    with upstream() as server:
        client = serve(**upstream_settings(server)).client()

        response = client.responses.create(model="mavera-1", input=conversation(10), truncation="auto")
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="mavera-1", messages=conversation(10), stream=True)

    assert response.output_text == "No."
    assert refused.value.param == "messages"
    assert "9000 tokens" in refused.value.message


@pytest.mark.parametrize(("thinks", "requests"), [(True, 1), (False, 2)])
def test_an_upstream_that_thinks_is_told_how_hard_and_is_given_no_plan(
    serve: Serve, thinks: bool, requests: int
) -> None:
    with upstream() as server:
        client = serve(**upstream_settings(server, upstream_reasoning_effort=thinks)).client()

        client.responses.create(model="mavera-1", input="Pay?", reasoning={"effort": "xhigh"})

    assert [body.get("reasoning_effort") for body in server.bodies] == (["xhigh"] if thinks else [None] * 2)
    assert len(server.bodies) == requests


def test_the_introduction_is_the_system_message_only_if_there_is_no_other() -> None:
    asked = make_message("user", "Who are you?")
    rules = make_message("system", "Be kind.")

    def first(turn: Turn) -> Item:
        return compose(turn, None, introduction="You are Mavera.").items[0]

    assert first(Turn("mavera-1", (asked,))) == make_message("system", "You are Mavera.")
    assert first(Turn("mavera-1", (asked,), instructions="Be brief.")) == make_message("system", "Be brief.")
    assert first(Turn("mavera-1", (rules, asked))) == rules
    assert compose(Turn("mavera-1", (asked,)), None).items == (asked,)


# Artifacts


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("Write a letter to a customer who has not paid.", "```markdown Letter"),
        ("Make a table of three suppliers.", "```markdown Table"),
        ("Write a Python function that adds up bills.", "```python Python"),
        ("Make a landing page in HTML for a thrift shop.", "```html Landing page"),
        ("Draw an SVG logo for a bakery.", "```svg SVG"),
        ("Make a diagram of the steps from sign-up to purchase.", "```mermaid Diagram"),
        ("Give me the prices as CSV.", "```csv CSV"),
    ],
)
def test_an_artifact_is_asked_for_in_the_kind_of_the_question(question: str, line: str) -> None:
    assert line in request_artifact(question).guidance.splitlines()
    assert request_artifact(question).begins.startswith(line + "\n")


def test_the_guidance_of_artifacts_has_no_example_to_copy() -> None:
    for question in ("Thank you.", "Write a letter to a tenant."):
        assert "sort" not in request_artifact(question).guidance.lower()
        assert "print" not in request_artifact(question).guidance
    assert "```" not in request_artifact("Thank you.").guidance
    assert request_artifact("Thank you.").begins == ""
