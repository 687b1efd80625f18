"""
What real servers refuse, in the words and shapes in which they refuse it.

`REFUSALS[name](body)` returns a status and a body, or None where that server would answer.
"""

import re
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.support.upstream_stub import DONE, FINISH, Behaviour, sends, text

Body = dict[str, Any]
Refused = tuple[int, Any] | None


def _openai(message: str, param: str | None, code: str | None = None) -> Refused:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return 400, {"error": error}


def openai(body: Body) -> Refused:
    """OpenAI's reasoning models, and Azure, which speaks the same."""
    if "max_tokens" in body:
        return _openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if body.get("temperature", 1) != 1:
        return _openai(
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
            "Only the default (1) value is supported.",
            "temperature",
            "unsupported_value",
        )
    for name in ("top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias"):
        if name in body:
            words = f"Unsupported parameter: '{name}' is not supported with this model."
            return _openai(words, name, "unsupported_parameter")
    for number, tool in enumerate(body.get("tools", ())):
        schema = tool["function"].get("parameters")
        if schema is not None and schema.get("type") == "object" and "properties" not in schema:
            return _openai(
                f"Invalid schema for function '{tool['function']['name']}': In context=(), object schema "
                "missing properties.",
                f"tools[{number}].function.parameters",
                "invalid_function_parameters",
            )
    wanted = body.get("response_format", {}).get("type")
    if wanted == "json_object" and "json" not in str(body["messages"]).lower():
        return _openai(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            "messages",
        )
    return None


def deepseek(body: Body) -> Refused:
    wanted = body.get("response_format", {}).get("type")
    if wanted == "json_schema":
        return _openai("This response_format type is unavailable now", None, "invalid_request_error")
    if wanted == "json_object" and "json" not in str(body["messages"]).lower():
        return _openai(
            "Prompt must contain the word 'json' in some form to use 'response_format' of type "
            "'json_object'.",
            None,
            "invalid_request_error",
        )
    return None


_MISTRAL_TAKES = {
    "model", "messages", "stream", "temperature", "top_p", "max_tokens", "stop", "random_seed",
    "response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction",
    "parallel_tool_calls", "prompt_mode", "safe_prompt", "reasoning_effort", "metadata",
}  # fmt: skip


def mistral(body: Body) -> Refused:
    unknown = [name for name in body if name not in _MISTRAL_TAKES]
    if unknown:
        details = [
            {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
            for name in unknown
        ]
        told = {"object": "error", "message": {"detail": details}, "type": "invalid_request_error"}
        return 422, {**told, "param": None, "code": None}
    ids = [call["id"] for message in body["messages"] for call in message.get("tool_calls") or ()]
    for call_id in ids:
        if not re.fullmatch("[a-zA-Z0-9]{9}", call_id):
            message = f"Tool call id was {call_id} but must be a-z, A-Z, 0-9, with a length of 9."
            return 400, {
                "object": "error", "message": message, "type": "invalid_request_error", "code": "3280",
            }  # fmt: skip
    return None


_GEMINI_LACKS = ("seed", "logit_bias", "logprobs", "top_logprobs", "parallel_tool_calls", "frequency_penalty")


def gemini(body: Body) -> Refused:
    lines = [
        f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        for name in _GEMINI_LACKS
        if name in body
    ]
    for number, tool in enumerate(body.get("tools", ())):
        at = f"tools[{number}].function"
        if "strict" in tool["function"]:
            lines.append(
                f"Invalid JSON payload received. Unknown name \"strict\" at '{at}': Cannot find field."
            )
        if tool["function"].get("parameters", {}).get("properties") == {}:
            lines.append(
                f"* GenerateContentRequest.tools[0].function_declarations[{number}].parameters.properties: "
                "should be non-empty for OBJECT type"
            )
    if not lines:
        return None
    return 400, [{"error": {"code": 400, "message": "\n".join(lines), "status": "INVALID_ARGUMENT"}}]


def vllm(body: Body) -> Refused:
    """vLLM takes every parameter of OpenAI's, and some templates take one system message only."""
    roles = [message["role"] for message in body["messages"]]
    if "system" in roles[1:]:
        error = {
            "message": "System message must be at the beginning.",
            "type": "BadRequestError",
            "code": 400,
        }
        return 400, {"error": {**error, "param": None}}
    return None


def takes_everything(_: Body) -> Refused:
    """llama.cpp, Ollama and Anthropic's layer for OpenAI's clients ignore what they do not know."""
    return None


REFUSALS: dict[str, Callable[[Body], Refused]] = {
    "openai": openai,
    "azure": openai,
    "vllm": vllm,
    "llama.cpp": takes_everything,
    "deepseek": deepseek,
    "mistral": mistral,
    "gemini": gemini,
    "anthropic-compatible": takes_everything,
    "ollama": takes_everything,
}


def speaks(name: str, *words: str) -> Behaviour:
    """Refuse what the server called `name` refuses, and say `words` to anything else."""
    answers = sends(*(text(word) for word in words), FINISH, DONE)

    async def behave(request: web.Request) -> web.StreamResponse:
        refused = REFUSALS[name](await request.json())
        if refused is not None:
            status, body = refused
            return web.json_response(body, status=status)
        return await answers(request)

    return behave
