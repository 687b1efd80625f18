"""Bodies that the API refuses, each with its status and the field that it names."""

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_BODY_BYTES = 1024 * 1024
RESPONSES, CHAT = "/api/v1/responses", "/api/v1/chat/completions"
VALID: dict[str, dict[str, Any]] = {
    RESPONSES: {"model": "mavera-1", "input": "Hm?"},
    CHAT: {"model": "mavera-1", "messages": [{"role": "user", "content": "Hm?"}]},
}
DEEP = 100_000


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


OMITTED = object()
Fields = dict[str, Any]
Refusal = tuple[Fields, int, str | None]


def tool(name: Any = "f") -> Fields:
    return {"type": "function", "name": name}


def chat_tool(name: Any = "f") -> Fields:
    return {"type": "function", "function": {"name": name}}


def user(content: Any = "Hm?", **fields: Any) -> Fields:
    return {"role": "user", "content": content, **fields}


COMMON: list[Refusal] = [
    ({"model": OMITTED}, 400, "model"),
    ({"model": None}, 422, "model"),
    ({"model": 1}, 422, "model"),
    ({"model": ["mavera-1"]}, 422, "model"),
    ({"model": ""}, 422, "model"),
    ({"model": "gpt-5"}, 422, "model"),
    ({"model": "MAVERA-1"}, 422, "model"),
    ({"model": "mavera-1\u202e"}, 422, "model"),
    ({"model": "m" * 100_000}, 422, "model"),
    ({"persona_id": 7}, 422, "persona_id"),
    ({"persona_id": {"id": "x"}}, 422, "persona_id"),
    ({"persona_id": ""}, 404, "persona_id"),
    ({"persona_id": "nobody"}, 404, "persona_id"),
    ({"persona_id": "../../etc/passwd"}, 404, "persona_id"),
    ({"persona_id": "' OR 1=1 --"}, 404, "persona_id"),
    ({"persona_id": "\u0000\u202e\U0001f600"}, 404, "persona_id"),
    ({"persona_id": "c" * 100_000}, 422, "persona_id"),
    ({"analysis_mode": "yes"}, 422, "analysis_mode"),
    ({"analysis_mode": 1}, 422, "analysis_mode"),
    ({"canvas_mode": "true"}, 422, "canvas_mode"),
    ({"mosaic_mode": []}, 422, "mosaic_mode"),
    ({"reasoning_effort": "extreme"}, 422, "reasoning_effort"),
    ({"reasoning_effort": 3}, 422, "reasoning_effort"),
    ({"verbosity": "silent"}, 422, "verbosity"),
    ({"verbosity": True}, 422, "verbosity"),
    ({"temperature": -0.1}, 422, "temperature"),
    ({"temperature": 2.1}, 422, "temperature"),
    ({"temperature": "0.7"}, 422, "temperature"),
    ({"temperature": True}, 422, "temperature"),
    ({"temperature": 1e308}, 422, "temperature"),
    ({"top_p": 1.5}, 422, "top_p"),
    ({"top_p": -1}, 422, "top_p"),
    ({"top_p": [0.5]}, 422, "top_p"),
    ({"frequency_penalty": 2.5}, 422, "frequency_penalty"),
    ({"frequency_penalty": "none"}, 422, "frequency_penalty"),
    ({"presence_penalty": -2.5}, 422, "presence_penalty"),
    ({"presence_penalty": {}}, 422, "presence_penalty"),
    ({"seed": 2**63}, 422, "seed"),
    ({"seed": 1.5}, 422, "seed"),
    ({"top_logprobs": 21}, 422, "top_logprobs"),
    ({"top_logprobs": -1}, 422, "top_logprobs"),
    ({"top_logprobs": 1.5}, 422, "top_logprobs"),
    ({"parallel_tool_calls": "no"}, 422, "parallel_tool_calls"),
    ({"metadata": []}, 422, "metadata"),
    ({"metadata": "a=b"}, 422, "metadata"),
    ({"metadata": {"a": 1}}, 422, "metadata[...]"),
    ({"metadata": {"k" * 65: "v"}}, 422, "metadata"),
    ({"metadata": {"k": "v" * 513}}, 422, "metadata[...]"),
    ({"metadata": {str(n): "v" for n in range(17)}}, 422, "metadata"),
    ({"store": "false"}, 422, "store"),
    ({"user": 5}, 422, "user"),
    ({"safety_identifier": "s" * 65}, 422, "safety_identifier"),
    ({"prompt_cache_key": {}}, 422, "prompt_cache_key"),
    ({"prompt_cache_retention": "1h"}, 422, "prompt_cache_retention"),
    ({"prompt_cache_options": "all"}, 422, "prompt_cache_options"),
    ({"service_tier": "gold"}, 422, "service_tier"),
    ({"moderation": True}, 422, "moderation"),
    ({"tools": {}}, 422, "tools"),
    ({"tools": ["f"]}, 422, "tools[0]"),
    ({"tools": [{"type": "telepathy"}]}, 422, "tools[0].type"),
    ({"tool_choice": "required"}, 400, "tool_choice"),
    ({"tool_choice": "always"}, 422, "tool_choice"),
    ({"tool_choice": 1}, 422, "tool_choice"),
    ({"tool_choice": {"type": "hosted"}}, 422, "tool_choice.type"),
    ({"stream_options": True}, 422, "stream_options"),
    ({"nonsense": 1}, 400, "nonsense"),
    ({"": 1}, 400, ""),
    ({"x" * 5_000: 1}, 400, "x" * 100),
    ({"\u202e\u0000\U0001f600": 1}, 400, "\u202e\ufffd\U0001f600"),
]
RESPONSES_ONLY: list[Refusal] = [
    ({"input": OMITTED}, 400, "input"),
    ({"input": None}, 422, "input"),
    ({"input": 5}, 422, "input"),
    ({"input": {}}, 422, "input"),
    ({"input": ""}, 422, "input"),
    ({"input": []}, 422, "input"),
    ({"input": "x" * 100_001}, 422, "input"),
    ({"input": "\U0001f600" * 100_001}, 422, "input"),
    ({"input": [user("x" * 60_000), user("x" * 40_001)]}, 422, "input"),
    ({"input": ["Hm?"]}, 422, "input[0]"),
    ({"input": [user(), 1]}, 422, "input[1]"),
    ({"input": [{"content": "Hm?"}]}, 400, "input[0].role"),
    ({"input": [{"role": "user"}]}, 400, "input[0].content"),
    ({"input": [{"role": "boss", "content": "Hm?"}]}, 422, "input[0].role"),
    ({"input": [user(7)]}, 422, "input[0].content"),
    ({"input": [user([{"type": "smell"}])]}, 422, "input[0].content[0].type"),
    ({"input": [user([{"text": "Hm?"}])]}, 400, "input[0].content[0].type"),
    ({"input": [user([{"type": "input_text"}])]}, 400, "input[0].content[0].text"),
    ({"input": [user([{"type": "input_text", "text": 5}])]}, 422, "input[0].content[0].text"),
    (
        {"input": [user([{"type": "input_image", "image_url": ""}])]},
        422,
        "input[0].content[0].image_url",
    ),
    ({"input": [user([{"type": "input_image"}])]}, 400, "input[0].content[0].image_url"),
    ({"input": [user(mood="glad")]}, 400, "input[0].mood"),
    ({"input": [{"type": "telegram"}]}, 422, "input[0].type"),
    ({"input": [{"type": "reasoning", "summary": []}]}, 400, "input"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, 400, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, 400, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, 400, "input[0].output"),
    (
        {"input": [{"type": "function_call_output", "call_id": "c" * 16_385, "output": ""}]},
        422,
        "input[0].call_id",
    ),
    ({"instructions": ["Be brief."]}, 422, "instructions"),
    ({"max_output_tokens": 0}, 422, "max_output_tokens"),
    ({"max_output_tokens": -5}, 422, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, 422, "max_output_tokens"),
    ({"max_output_tokens": "100"}, 422, "max_output_tokens"),
    ({"max_output_tokens": 10**30}, 422, "max_output_tokens"),
    ({"max_tool_calls": -1}, 422, "max_tool_calls"),
    ({"max_tool_calls": 10**30}, 422, "max_tool_calls"),
    ({"text": "json"}, 422, "text"),
    ({"text": {"format": "json"}}, 422, "text.format"),
    ({"text": {"format": {}}}, 400, "text.format.type"),
    ({"text": {"format": {"type": "xml"}}}, 422, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, 400, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, 400, "text.format.schema"),
    (
        {"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}},
        422,
        "text.format.name",
    ),
    (
        {"text": {"format": {"type": "json_schema", "json_schema": {"name": "n"}}}},
        400,
        "text.format.json_schema.schema",
    ),
    ({"text": {"verbosity": "huge"}}, 422, "text.verbosity"),
    ({"analysis_mode": True, "text": {"format": {"type": "json_object"}}}, 400, "analysis_mode"),
    (
        {
            "analysis_mode": True,
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        },
        400,
        "analysis_mode",
    ),
    ({"tools": [tool(f"f{n}") for n in range(65)]}, 422, "tools"),
    ({"tools": [tool("")]}, 422, "tools[0].name"),
    ({"tools": [tool("no spaces")]}, 422, "tools[0].name"),
    ({"tools": [tool("n" * 65)]}, 422, "tools[0].name"),
    ({"tools": [tool("ø")]}, 422, "tools[0].name"),
    ({"tools": [{"name": "f"}]}, 400, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, 400, "tools[0].name"),
    ({"tools": [{**tool(), "parameters": "none"}]}, 422, "tools[0].parameters"),
    ({"tools": [chat_tool()]}, 400, "tools[0].function"),
    ({"tools": [tool(), tool()]}, 400, "tools[1].name"),
    ({"tools": [tool()], "tool_choice": tool("g")}, 400, "tool_choice"),
    ({"tool_choice": tool("g")}, 400, "tool_choice"),
    ({"tools": [tool()], "tool_choice": {"type": "function"}}, 400, "tool_choice.name"),
    (
        {"tools": [tool()], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        422,
        "tool_choice.tools",
    ),
    (
        {"tools": [tool()], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [tool("g")]}},
        400,
        "tool_choice",
    ),
    ({"reasoning": "high"}, 422, "reasoning"),
    ({"reasoning": {"effort": "extreme"}}, 422, "reasoning.effort"),
    ({"reasoning": {"efort": "low"}}, 400, "reasoning.efort"),
    ({"include": "everything"}, 422, "include"),
    ({"include": ["everything"]}, 422, "include[0]"),
    ({"truncation": "some"}, 422, "truncation"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options.include_usage"),
    ({"previous_response_id": 9}, 422, "previous_response_id"),
    ({"background": "later"}, 422, "background"),
    ({"conversation": 1}, 422, "conversation"),
    ({"context_management": {}}, 422, "context_management"),
    ({"prompt": "p"}, 422, "prompt"),
    ({"messages": [user()]}, 400, "messages"),
    ({"max_tokens": 5}, 400, "max_tokens"),
    ({"n": 1}, 400, "n"),
]
CHAT_ONLY: list[Refusal] = [
    ({"messages": OMITTED}, 400, "messages"),
    ({"messages": None}, 422, "messages"),
    ({"messages": "Hm?"}, 422, "messages"),
    ({"messages": {}}, 422, "messages"),
    ({"messages": []}, 422, "messages"),
    ({"messages": [user()] * 129}, 422, "messages"),
    ({"messages": ["Hm?"]}, 422, "messages[0]"),
    ({"messages": [None]}, 422, "messages[0]"),
    ({"messages": [{"content": "Hm?"}]}, 400, "messages[0].role"),
    ({"messages": [{"role": "boss", "content": "Hm?"}]}, 422, "messages[0].role"),
    ({"messages": [{"role": 1, "content": "Hm?"}]}, 422, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
    ({"messages": [user(), user(), user(), {"role": "user"}]}, 400, "messages[3].content"),
    ({"messages": [user(None)]}, 422, "messages[0].content"),
    ({"messages": [user(7)]}, 422, "messages[0].content"),
    ({"messages": [user([])]}, 422, "messages[0].content"),
    ({"messages": [user(["Hm?"])]}, 422, "messages[0].content[0]"),
    ({"messages": [user([{"type": "smell"}])]}, 422, "messages[0].content[0].type"),
    ({"messages": [user([{"text": "Hm?"}])]}, 400, "messages[0].content[0].type"),
    ({"messages": [user([{"type": "text"}])]}, 400, "messages[0].content[0].text"),
    (
        {"messages": [user([{"type": "image_url", "image_url": "http://x/y.png"}])]},
        422,
        "messages[0].content[0].image_url",
    ),
    (
        {"messages": [user([{"type": "image_url", "image_url": {"url": ""}}])]},
        422,
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "x", "detail": "fine"}}])]},
        422,
        "messages[0].content[0].image_url.detail",
    ),
    ({"messages": [user(attachments="x")]}, 422, "messages[0].attachments"),
    (
        {"messages": [user(attachments=[{"type": "film", "url": "x"}])]},
        422,
        "messages[0].attachments[0].type",
    ),
    ({"messages": [user(mood="glad")]}, 400, "messages[0].mood"),
    ({"messages": [{"role": "system", "content": 1}]}, 422, "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "5"}]}, 400, "messages[0].tool_call_id"),
    ({"messages": [{"role": "tool", "content": "5", "tool_call_id": ""}]}, 422, "messages[0].tool_call_id"),
    ({"messages": [{"role": "tool", "content": "5", "tool_call_id": "c"}]}, 400, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, 422, "messages[0].tool_calls"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        400,
        "messages[0].tool_calls[0].id",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}]},
        400,
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"max_tokens": 0}, 422, "max_tokens"),
    ({"max_tokens": "5"}, 422, "max_tokens"),
    ({"max_tokens": 10**30}, 422, "max_tokens"),
    ({"max_completion_tokens": -1}, 422, "max_completion_tokens"),
    ({"n": 2}, 422, "n"),
    ({"n": 0}, 422, "n"),
    ({"n": "1"}, 422, "n"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 422, "stop"),
    ({"stop": ""}, 422, "stop"),
    ({"stop": [""]}, 422, "stop[0]"),
    ({"stop": 5}, 422, "stop"),
    ({"logprobs": 3}, 422, "logprobs"),
    ({"top_logprobs": 3}, 400, "top_logprobs"),
    ({"logit_bias": {"50": 101}}, 422, "logit_bias[...]"),
    ({"logit_bias": {"50": "much"}}, 422, "logit_bias[...]"),
    ({"logit_bias": [50]}, 422, "logit_bias"),
    ({"stream_options": {"include_useage": True}}, 400, "stream_options.include_useage"),
    ({"stream_options": {"include_usage": "yes"}}, 422, "stream_options.include_usage"),
    ({"response_format": "json"}, 422, "response_format"),
    ({"response_format": {}}, 400, "response_format.type"),
    ({"response_format": {"type": "xml"}}, 422, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        400,
        "response_format.json_schema.name",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n" * 65}}},
        422,
        "response_format.json_schema.name",
    ),
    ({"analysis_mode": True, "response_format": {"type": "json_object"}}, 400, "analysis_mode"),
    (
        {"analysis_mode": True, "response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        400,
        "analysis_mode",
    ),
    ({"tools": [chat_tool(f"f{n}") for n in range(65)]}, 422, "tools"),
    ({"tools": [chat_tool("")]}, 422, "tools[0].function.name"),
    ({"tools": [chat_tool("no spaces")]}, 422, "tools[0].function.name"),
    ({"tools": [chat_tool("n" * 65)]}, 422, "tools[0].function.name"),
    ({"tools": [{"function": {"name": "f"}}]}, 400, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, 400, "tools[0].function"),
    ({"tools": [tool()]}, 400, "tools[0].name"),
    ({"tools": [chat_tool(), chat_tool()]}, 400, "tools[1].function.name"),
    ({"tools": [chat_tool()], "tool_choice": chat_tool("g")}, 400, "tool_choice"),
    ({"tool_choice": chat_tool("g")}, 400, "tool_choice"),
    ({"tools": [chat_tool()], "tool_choice": {"type": "function"}}, 400, "tool_choice.function"),
    (
        {
            "tools": [chat_tool()],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [chat_tool("g")]},
            },
        },
        400,
        "tool_choice",
    ),
    ({"modalities": ["audio"]}, 422, "modalities"),
    ({"modalities": ["smell"]}, 422, "modalities[0]"),
    ({"audio": "loud"}, 422, "audio"),
    ({"prediction": "x"}, 422, "prediction"),
    ({"web_search_options": 1}, 422, "web_search_options"),
    ({"functions": {}}, 422, "functions"),
    ({"input": "Hm?"}, 400, "input"),
    ({"instructions": "Be brief."}, 400, "instructions"),
    ({"max_output_tokens": 5}, 400, "max_output_tokens"),
]
TABLE = [
    *((path, *refusal) for refusal in COMMON for path in (RESPONSES, CHAT)),
    *((RESPONSES, *refusal) for refusal in RESPONSES_ONLY),
    *((CHAT, *refusal) for refusal in CHAT_ONLY),
]


def mended(path: str, fields: Fields) -> Fields:
    """Return the valid body of `path` with `fields` in place of its own."""
    body = {**VALID[path], **fields}
    return {name: value for name, value in body.items() if value is not OMITTED}


Alter = Callable[[bytes], bytes]


def after_first_brace(text: bytes) -> Alter:
    return lambda body: b"{" + text + b", " + body[1:]


UNPARSABLE: dict[str, Alter] = {
    "empty": lambda _: b"",
    "blank": lambda _: b" \r\n\t ",
    "array": lambda body: b"[" + body + b"]",
    "null": lambda _: b"null",
    "text": lambda _: b'"Hm?"',
    "number": lambda _: b"5",
    "no JSON at all": lambda _: b"model=mavera-1&input=Hm",
    "cut short": lambda body: body[:-2],
    "something behind": lambda body: body + b" {}",
    "two objects": lambda body: body + b"\n" + body,
    "trailing comma": lambda body: body[:-1] + b",}",
    "single quotes": lambda body: body.replace(b'"', b"'"),
    "comment": lambda body: b"/* hello */" + body,
    "NaN": after_first_brace(b'"temperature": NaN'),
    "Infinity": after_first_brace(b'"temperature": Infinity'),
    "leading zero": after_first_brace(b'"temperature": 01'),
    "byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "Latin-1": lambda body: body.replace(b"Hm?", "Café".encode("latin-1")),
    "cut-off UTF-8": lambda body: body.replace(b"Hm?", b"\xf0\x9f\x98"),
    "overlong UTF-8": lambda body: body.replace(b"Hm?", b"\xc0\xaf"),
    "a surrogate in UTF-8": lambda body: body.replace(b"Hm?", b"\xed\xa0\x80"),
    "a raw control character": lambda body: body.replace(b"Hm?", b"\x00"),
    "a raw line end in a text": lambda body: body.replace(b"Hm?", b"a\nb"),
    "invalid UTF-8 in a name": after_first_brace(b'"\xff": 1'),
    "invalid UTF-8 in a free member": after_first_brace(b'"moderation": {"a": "\xff"}'),
    "100,000 arrays": lambda _: b"[" * DEEP + b"]" * DEEP,
    "100,000 arrays, unclosed": lambda _: b"[" * DEEP,
    "100,000 arrays in a free member": after_first_brace(
        b'"moderation": {"a": ' + b"[" * DEEP + b"]" * DEEP + b"}"
    ),
    "100,000 objects in a free member": after_first_brace(
        b'"moderation": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP
    ),
    "129 levels": after_first_brace(b'"moderation": ' + b'{"a":' * 128 + b"1" + b"}" * 128),
    "900 levels": after_first_brace(b'"moderation": {"a": ' + b"[" * 900 + b"]" * 900 + b"}"),
}
