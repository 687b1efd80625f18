"""A turn of the assistant goes to the model's server as one message, as strict chat templates want it."""

from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from tests.support.upstream_stage import CHAT, RESPONSES, Stage
from tests.support.upstream_stub import answer, refuses


def call(call_id: str, name: str = "look") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "A cat."}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


LOOK = {"role": "user", "content": "Look."}
SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
TURNS: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str | None, list[str]]]]] = {
    "text, then a call": (
        [LOOK, said("I will."), call("a"), output("a")],
        [("user", "Look.", []), ("assistant", "I will.", ["a"]), ("tool", "A cat.", [])],
    ),
    "text, then two calls": (
        [LOOK, said("I will."), call("a"), call("b"), output("a"), output("b")],
        [
            ("user", "Look.", []),
            ("assistant", "I will.", ["a", "b"]),
            ("tool", "A cat.", []),
            ("tool", "A cat.", []),
        ],
    ),
    "a call, then text": (
        [LOOK, call("a"), said("Wait."), output("a")],
        [("user", "Look.", []), ("assistant", "Wait.", ["a"]), ("tool", "A cat.", [])],
    ),
    "calls alone": (
        [LOOK, call("a"), call("b"), output("a"), output("b")],
        [
            ("user", "Look.", []),
            ("assistant", None, ["a", "b"]),
            ("tool", "A cat.", []),
            ("tool", "A cat.", []),
        ],
    ),
    "two rounds": (
        [
            LOOK,
            said("One."),
            call("a"),
            output("a"),
            said("Two."),
            call("b"),
            output("b"),
            said("Done."),
            LOOK,
        ],
        [
            ("user", "Look.", []),
            ("assistant", "One.", ["a"]),
            ("tool", "A cat.", []),
            ("assistant", "Two.", ["b"]),
            ("tool", "A cat.", []),
            ("assistant", "Done.", []),
            ("user", "Look.", []),
        ],
    ),
    "text before and after a tool of the server's": (
        [LOOK, said("One."), SEARCHED, said("Two."), LOOK],
        [("user", "Look.", []), ("assistant", "One.\n\nTwo.", []), ("user", "Look.", [])],
    ),
}


async def strict(request: web.Request) -> web.StreamResponse:
    """Refuse as the templates of Mistral and Gemma do, and results that follow no call."""
    messages = (await request.json())["messages"]
    due: set[str] = set()
    before = ""
    for message in messages:
        role = message["role"]
        if role == "tool":
            due.remove(message["tool_call_id"])
        elif due or role == before:
            return await refuses(400, {"error": {"message": "Conversation roles must alternate."}})(request)
        due |= {call["id"] for call in message.get("tool_calls", ())}
        before = role
    return await answer()(request)


def sent(stage: Stage) -> list[tuple[str, str | None, list[str]]]:
    messages = stage.upstream.asked[-1]["messages"]
    return [(m["role"], m["content"], [one["id"] for one in m.get("tool_calls", ())]) for m in messages]


@pytest.mark.parametrize(("items", "messages"), TURNS.values(), ids=TURNS.keys())
def test_items_of_one_turn_are_one_message(
    shared_stage: Stage,
    items: list[dict[str, Any]],
    messages: list[tuple[str, str | None, list[str]]],
) -> None:
    shared_stage.upstream.asked.clear()
    shared_stage.upstream.script = [strict]
    told = httpx.post(
        shared_stage.served.base_url + RESPONSES,
        json={"model": "mavera-1", "input": items},
        headers=shared_stage.served.headers,
        timeout=30,
    )
    assert told.status_code == 200, told.text
    assert sent(shared_stage) == messages


@pytest.mark.parametrize("content", ["I will.", None, "", [{"type": "text", "text": "I will."}]])
def test_a_chat_message_with_text_and_calls_stays_one(shared_stage: Stage, content: Any) -> None:
    shared_stage.upstream.asked.clear()
    shared_stage.upstream.script = [strict]
    calls = [
        {"id": name, "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for name in ("a", "b")
    ]
    messages = [
        LOOK,
        {"role": "assistant", "content": content, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "A cat."},
        {"role": "tool", "tool_call_id": "b", "content": "A cat."},
    ]
    told = httpx.post(
        shared_stage.served.base_url + CHAT,
        json={"model": "mavera-1", "messages": messages},
        headers=shared_stage.served.headers,
        timeout=30,
    )
    assert told.status_code == 200, told.text
    role, text, called = sent(shared_stage)[1]
    assert (role, text or "", called) == ("assistant", "I will." if content else "", ["a", "b"])
