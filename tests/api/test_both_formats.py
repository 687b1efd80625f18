"""The same turn asked four ways, in each format streamed and not, is answered alike."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Served, running_server

JSON: dict[str, Any] = {
    "name": "rating",
    "schema": {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]},
}
FUNCTION: dict[str, Any] = {"name": "look_up", "parameters": JSON["schema"]}

# Each turn: what both formats say alike, what only /responses says, what only /chat/completions says.
Asked = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
TURNS: dict[str, Asked] = {
    "text": ({}, {}, {}),
    "sampling": ({"temperature": 0.7, "top_p": 0.9, "seed": 7}, {}, {}),
    "cut off": ({}, {"max_output_tokens": 3}, {"max_completion_tokens": 3}),
    "log-probabilities": (
        {"top_logprobs": 2},
        {"include": ["message.output_text.logprobs"]},
        {"logprobs": True},
    ),
    "JSON": (
        {},
        {"text": {"format": {"type": "json_schema", **JSON}}},
        {"response_format": {"type": "json_schema", "json_schema": JSON}},
    ),
    "a refusal": (
        {},
        {"text": {"format": {"type": "json_schema", "name": "none", "schema": {"not": {}}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "none", "schema": {"not": {}}}}},
    ),
    "a call": (
        {"tool_choice": "required"},
        {"tools": [{"type": "function", **FUNCTION}]},
        {"tools": [{"type": "function", "function": FUNCTION}]},
    ),
    "artifacts": ({"extra_body": {"canvas_mode": True}}, {}, {}),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_server(tmp_path_factory.mktemp("formats")) as served:
        yield served


@pytest.mark.parametrize("asked", TURNS.values(), ids=TURNS.keys())
def test_a_turn_is_answered_alike_in_both_formats_streamed_and_not(served: Served, asked: Asked) -> None:
    alike, responses, chat = asked
    client = served.client()
    items: Any = [{"role": "user", "content": "How do you feel about rain?"}]

    response = client.responses.create(model="mavera-1", input=items, **with_seed(alike), **responses)
    events = list(
        client.responses.create(model="mavera-1", input=items, stream=True, **with_seed(alike), **responses)
    )
    completion = client.chat.completions.create(model="mavera-1", messages=items, **alike, **chat)
    chunks = list(
        client.chat.completions.create(model="mavera-1", messages=items, stream=True, **alike, **chat)
    )

    said = of_response(response.to_dict())
    assert of_response(events[-1].to_dict()["response"]) == said
    assert of_events([event.to_dict() for event in events]) == said["text"]
    assert of_completion(completion.to_dict()) == said
    assert of_chunks([chunk.to_dict() for chunk in chunks]) == said
    assert bool(said["logprobs"]) == ("top_logprobs" in alike)


def with_seed(alike: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's library knows `seed` in chat only."""
    rest = {name: value for name, value in alike.items() if name != "seed"}
    extra = {"seed": alike["seed"]} if "seed" in alike else {}
    return {**rest, "extra_body": {**rest.get("extra_body", {}), **extra}}


def of_response(response: Any) -> dict[str, Any]:
    messages = [item for item in response["output"] if item["type"] == "message"]
    parts = [part for message in messages for part in message["content"]]
    usage = response["usage"]
    return {
        "text": "".join(part["text"] for part in parts if part["type"] == "output_text"),
        "refusal": "".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        "calls": [
            (item["call_id"], item["name"], item["arguments"])
            for item in response["output"]
            if item["type"] == "function_call"
        ],
        "logprobs": [token for part in parts for token in part.get("logprobs", ())],
        "cut off": response["status"] == "incomplete",
        "parsed": response.get("parsed"),
        "artifacts": response.get("artifacts"),
        "usage": (usage["input_tokens"], usage["output_tokens"], usage["credits_used"]),
    }


def of_events(events: Any) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def of_completion(completion: Any) -> dict[str, Any]:
    choice = completion["choices"][0]
    message = choice["message"]
    return of_choice(message, choice["logprobs"], choice["finish_reason"], completion["usage"])


def of_chunks(chunks: Any) -> dict[str, Any]:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    last = choices[-1]
    calls: dict[int, dict[str, Any]] = {}
    for choice in choices:
        for call in choice["delta"].get("tool_calls") or ():
            known = calls.setdefault(
                call["index"], {**call, "function": {**call["function"], "arguments": ""}}
            )
            known["function"]["arguments"] += call["function"]["arguments"]
    message = {
        "content": "".join(choice["delta"].get("content") or "" for choice in choices),
        "refusal": "".join(choice["delta"].get("refusal") or "" for choice in choices),
        "tool_calls": list(calls.values()),
        "parsed": last["delta"].get("parsed"),
        "artifacts": chunks[-1].get("artifacts"),
    }
    tokens = [token for choice in choices for token in (choice["logprobs"] or {}).get("content", ())]
    return of_choice(message, {"content": tokens}, last["finish_reason"], chunks[-1]["usage"])


def of_choice(message: Any, logprobs: Any, finish_reason: str, usage: Any) -> dict[str, Any]:
    return {
        "text": message["content"] or "",
        "refusal": message["refusal"] or "",
        "calls": [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        ],
        "logprobs": (logprobs or {}).get("content", []),
        "cut off": finish_reason == "length",
        "parsed": message.get("parsed"),
        "artifacts": message.get("artifacts"),
        "usage": (usage["prompt_tokens"], usage["completion_tokens"], usage["credits_used"]),
    }
