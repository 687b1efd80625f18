"""Whatever a server of these formats answers is taken as history in the next request, in the same format."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mavera.api.chat_completions.schemas import CreateChatCompletion
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.http.decoding import decode_at_once
from mavera.api.responses.schemas import CreateResponse
from mavera.core.items import FunctionCall, FunctionOutput, Text
from mavera.errors import InvalidRequest, ValidationFailed
from tests.support.event_streams import CUSTOM_TOOLS, completed_runs, encoder
from tests.support.openai_schemas import strategy_of

USER = {"role": "user", "content": "And now?"}


def fed_back(output: list[Any]) -> CreateResponse:
    body = msgspec.json.encode({"model": "mavera-1", "input": [*output, USER]})
    read = decode_at_once(body, CreateResponse)
    read.to_turn()
    return read


def fed_back_to_chat(message: dict[str, Any], *more: dict[str, Any]) -> CreateChatCompletion:
    body = msgspec.json.encode({"model": "mavera-1", "messages": [USER, message, *more, USER]})
    read = decode_at_once(body, CreateChatCompletion)
    read.to_turn()
    return read


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(strategy_of("OutputItem"), max_size=3))
def test_any_output_that_openai_describes_is_taken(output: list[dict[str, Any]]) -> None:
    # The outputs of functions, and what a compaction holds, are not the answer's: other tests have those.
    theirs = ("function_call_output", "custom_tool_call_output", "compaction")
    fed_back([item for item in output if item["type"] not in theirs])


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(strategy_of("ChatCompletionResponseMessage"))
def test_any_message_that_openai_describes_is_taken(message: dict[str, Any]) -> None:
    fed_back_to_chat(message)


VLLM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "phase": "final_answer"}
ITEMS = [
    {**VLLM, "content": [{"type": "output_text", "text": "Hm.", "annotations": [], "logprobs": None}]},
    {**VLLM, "content": [], "created_by": "assistant", "channel": "final", "recipient": None},
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "So"}],
        "encrypted_content": None,
        "status": None,
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "So"}],
        "encrypted_content": "gAAAA",
        "content": [{"type": "summary_text", "text": "So"}],
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "status": "completed",
        "server_label": "shop",
        "name": "look.up/x",
        "arguments": "{}",
        "output": "3",
        "error": None,
        "approval_request_id": None,
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "server_label": "shop",
        "name": "f",
        "arguments": "{}",
        "error": {"type": "mcp_protocol_error", "code": 1, "message": "no"},
        "status": "calling",
    },
    {
        "type": "mcp_list_tools",
        "id": "mcpl_1",
        "server_label": "shop",
        "tools": [{"name": "f"}],
        "error": None,
    },
    {"type": "mcp_approval_request", "id": "a", "arguments": "{}", "name": "f", "server_label": "shop"},
    {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True, "id": "b", "reason": None},
    {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "generating",
        "result": "aGk=",
        "size": "1024x1024",
        "revised_prompt": "A cat.",
        "quality": "high",
        "background": "opaque",
        "output_format": "png",
        "action": {"type": "generate"},
    },
    {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "c",
        "name": "sh",
        "input": "ls",
        "status": "completed",
    },
    {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "", "stderr": "", "outcome": {}}]},
    {
        "type": "computer_call_output",
        "call_id": "c",
        "output": {"type": "computer_screenshot", "file_id": "f"},
    },
    {"type": "local_shell_call_output", "id": "c", "output": "{}"},
    {
        "type": "tool_search_call",
        "id": "t",
        "arguments": {"paths": ["a"]},
        "execution": "server",
        "call_id": None,
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
        "provider_specific_fields": {"thought_signature": "x"},
        "namespace": None,
        "caller": None,
    },
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["type"])
def test_items_as_servers_write_them_are_taken(item: dict[str, Any]) -> None:
    fed_back([item])


MESSAGES: list[dict[str, Any]] = [
    {"content": "Hm.", "reasoning": "So.", "reasoning_content": "So.", "refusal": None, "audio": None},
    {"content": "Hm.", "reasoning": None, "function_call": None, "tool_calls": None, "annotations": None},
    {"content": "Hm.", "tool_calls": [], "reasoning_details": [{"type": "reasoning.text", "text": "So."}]},
    {"content": "Hm.", "thinking_blocks": [{"type": "thinking", "thinking": "So.", "signature": "x"}]},
    {"content": "Hm.", "provider_specific_fields": {"refusal": None}, "cache_control": {"type": "ephemeral"}},
    {"content": [{"type": "text", "text": "Hm.", "cache_control": {"type": "ephemeral"}}]},
    {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "So."}]},
            {"type": "text", "text": "Hm."},
        ]
    },
    {"content": "Hm.", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
]


@pytest.mark.parametrize("members", MESSAGES, ids=str)
def test_messages_as_servers_write_them_are_taken(members: dict[str, Any]) -> None:
    fed_back_to_chat({"role": "assistant", **members})


def test_calls_as_servers_write_them_are_taken_and_answered() -> None:
    function = {"name": "f", "arguments": "{}", "provider_specific_fields": None}
    gemini = {
        "id": "g" * 1_000,
        "type": "function",
        "function": function,
        "index": 0,
        "extra_content": {"google": {"thought_signature": "x"}},
        "provider_specific_fields": {},
    }
    custom = {"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    outputs = [{"role": "tool", "tool_call_id": one["id"], "content": "3"} for one in (gemini, custom)]

    read = fed_back_to_chat({"role": "assistant", "content": None, "tool_calls": [gemini, custom]}, *outputs)

    calls = [item for item in read.to_turn().items if isinstance(item, FunctionCall)]
    assert [(call.name, call.arguments) for call in calls] == [("f", "{}"), ("sh", '{"input":"ls"}')]


def test_a_call_of_a_custom_tool_comes_back_with_its_output() -> None:
    call = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "sh", "input": "ls\n"}
    output = {
        "type": "custom_tool_call_output",
        "call_id": "c",
        "output": [{"type": "input_text", "text": "a"}],
    }

    items = fed_back([call, output]).to_turn().items

    assert items[:2] == (FunctionCall("c", "sh", '{"input":"ls\\n"}'), FunctionOutput("c", (Text("a"),)))


@pytest.mark.parametrize("kind", ["function", "custom_tool"])
def test_an_output_without_its_call_is_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest, match="stands before its output"):
        fed_back([{"type": f"{kind}_call_output", "call_id": "c", "output": "a"}])


def test_a_call_without_a_function_names_what_is_missing() -> None:
    with pytest.raises(InvalidRequest) as refused:
        fed_back_to_chat(
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]}
        )
    assert refused.value.param == "messages[1].tool_calls[0].function"


@pytest.mark.parametrize("length", [65, 1_024])
def test_long_call_ids_come_back_with_their_outputs(length: int) -> None:
    call_id = "c" * length
    call = {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}
    fed_back([call, {"type": "function_call_output", "call_id": call_id, "output": "3"}])


@given(completed_runs)
def test_any_answer_of_ours_is_taken(events: list[Any]) -> None:
    encoding = encoder()
    for event in events:
        encoding.take(event)
    fed_back(encoding.build_body()["output"])


@given(completed_runs)
def test_any_completion_of_ours_is_taken(events: list[Any]) -> None:
    encoding = ChatCompletionEncoder("chatcmpl_1", 1, "mavera-1", custom_tools=CUSTOM_TOOLS)
    for event in events:
        encoding.take(event)
    message = encoding.build_body()["choices"][0]["message"]
    outputs = [
        {"role": "tool", "tool_call_id": call["id"], "content": "3"} for call in message.get("tool_calls", ())
    ]
    fed_back_to_chat(message, *outputs)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text"}]},
            "output[0].text",
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": 1}]},
            "output[0].text",
        ),
        ({"type": "function_call_output", "call_id": "c", "output": {"a": 1}}, "output"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}}, "arguments"),
        ({"role": "critic", "content": "Hm."}, "role"),
    ],
)
def test_what_a_model_is_to_read_is_still_checked(item: dict[str, Any], param: str) -> None:
    with pytest.raises((InvalidRequest, ValidationFailed)) as refused:
        fed_back([item])
    assert refused.value.param == f"input[0].{param}"
