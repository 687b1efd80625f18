"""Requests as Codex CLI 0.171 sends them, and the answers that it reads."""

import json
from typing import Any

import openai
import pytest

from mavera.core.items import FunctionCall, FunctionOutput
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve
from tests.support.obedient import ObedientModel

PATCH = "*** Begin Patch\n*** Add File: made.txt\n+hello\n*** End Patch\n"
APPLY_PATCH: Any = {
    "type": "custom",
    "name": "apply_patch",
    "description": "The tool to edit files. This is a FREEFORM tool, so do not wrap the patch in JSON.",
    "format": {
        "type": "grammar",
        "syntax": "lark",
        "definition": 'start: begin_patch hunk+ end_patch\nbegin_patch: "*** Begin Patch" LF\n',
    },
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "exec_command",
        "description": "Runs a command in a PTY.",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"cmd": {"type": "string"}, "yield_time_ms": {"type": "number"}},
            "required": ["cmd"],
            "additionalProperties": False,
        },
    },
    APPLY_PATCH,
    {"type": "web_search", "external_web_access": False},
    {
        "type": "tool_search",
        "execution": "client",
        "description": "Searches tools.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    },
    {
        "type": "namespace",
        "name": "multi_agent_v1",
        "description": "Tools for spawning and managing sub-agents.",
        "tools": [
            {"type": "function", "name": "close_agent", "strict": False, "parameters": {"type": "object"}}
        ],
    },
]
REQUEST: dict[str, Any] = {
    "model": "mavera-1",
    "tools": TOOLS,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a226b5-1f15-7072-a943-484ab2370dcf",
    "extra_body": {"client_metadata": {"x-codex-installation-id": "bdd6c635"}},
}
ASKED: list[Any] = [
    {
        "type": "message",
        "id": "msg_1",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Code."}],
    },
    {
        "type": "message",
        "id": "msg_2",
        "role": "user",
        "content": [{"type": "input_text", "text": "Make it."}],
    },
]
CALLED: list[Any] = [
    {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "status": "completed",
        "call_id": "call_1",
        "name": "apply_patch",
        "input": PATCH,
    },
    {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Exit code: 0"},
]


def test_a_patch_is_a_call_of_a_custom_tool(serve: Serve) -> None:
    written = [{"name": "apply_patch", "arguments": {"input": PATCH}}]
    client = serve(ConstrainedTools(ObedientModel(replies=[written], decides="apply_patch"))).client()

    *_, last = client.responses.create(**REQUEST, input=ASKED, stream=True)

    assert last.type == "response.completed"
    (call,) = last.response.output
    assert call.type == "custom_tool_call"
    assert (call.name, call.input) == ("apply_patch", PATCH)


def test_the_model_reads_the_patch_and_what_came_of_it(serve: Serve) -> None:
    client = serve(model := ScriptedModel()).client()

    *_, last = client.responses.create(**REQUEST, input=[*ASKED, *CALLED], stream=True)

    assert last.type == "response.completed"
    _, _, call, output = model.prompts[-1].items[-4:]
    assert isinstance(call, FunctionCall)
    assert isinstance(output, FunctionOutput)
    assert json.loads(call.arguments) == {"input": PATCH}
    offered = [tool.name for tool in model.prompts[-1].tools]
    assert offered == ["exec_command", "apply_patch", "multi_agent_v1__close_agent"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "web_search", "external_web_access": True}]},
        {"tools": [{"type": "web_search"}]},
        {"tool_choice": {"type": "web_search_preview"}},
        {"tool_choice": "required", "tools": [{"type": "web_search", "external_web_access": False}]},
    ],
)
def test_a_search_that_is_wanted_says_what_to_set_up(serve: Serve, changes: dict[str, Any]) -> None:
    client = serve().client()

    with pytest.raises(openai.BadRequestError, match="MAVERA_TAVILY_API_KEY or MAVERA_SEARXNG_URL"):
        client.responses.create(**{**REQUEST, **changes}, input=ASKED)
