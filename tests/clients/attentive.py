"""A language model that goes by rules: it calls what it is asked about, and then says what came back."""

import json
import re
from collections.abc import Iterator
from typing import Any

from mavera.core.events import ModelEvent, TextDelta, ToolCallDelta, ToolCallStarted
from mavera.core.items import FunctionCall, FunctionOutput, Message
from mavera.core.prompt import FunctionTool, Prompt
from mavera.models.minimal import build_minimal_value
from mavera.models.scripted import ScriptedModel


class AttentiveModel(ScriptedModel):
    """
    Calls the functions that the question names by a word, once; told what they gave, says it.

    Numbers in arguments and in JSON answers are the question's first number, texts what it has
    in quotes, else its last name. JSON without a schema follows the one in the conversation, or
    has the keys that the question quotes. A question that asks for JSON in words alone names the keys in
    backticks, as DSPy's do. Asked for the user's name, it says the one it was told.
    """

    def _choose_deltas(self, prompt: Prompt) -> Iterator[ModelEvent]:
        called = self._called(prompt)
        if called:
            yield from _calls(called, prompt)
        elif prompt.format.type != "text":
            value = _filled(prompt.format.schema or _schema_told(prompt), _question(prompt))
            yield from map(TextDelta, re.findall(r".{1,5}", json.dumps(value)))
        elif outputs := [item for item in prompt.items if isinstance(item, FunctionOutput)]:
            told = " and ".join("".join(getattr(p, "text", "") for p in item.output) for item in outputs)
            yield from map(TextDelta, re.findall(r"\s*\S+", f"It gave {told}"))
        elif (keys := _keys_in_words(_question(prompt))) is not None:
            yield from map(TextDelta, re.findall(r".{1,5}", json.dumps(keys)))
        elif (name := _name_told(prompt)) and "my name?" in _question(prompt):
            yield TextDelta(name)
        else:
            yield from super()._choose_deltas(prompt)

    def _called(self, prompt: Prompt) -> list[FunctionTool]:
        choice = prompt.tool_choice
        offered = [tool for tool in prompt.tools if not choice.names or tool.name in choice.names]
        answered = bool(prompt.items) and isinstance(prompt.items[-1], FunctionOutput)
        if choice.mode == "none" or (answered and choice.mode == "auto"):
            return []
        question = _question(prompt).lower()
        named = [tool for tool in offered if any(w in question for w in re.findall(r"[a-z]{4,}", tool.name))]
        wanted = named or (offered[:1] if choice.mode == "required" else [])
        return wanted if prompt.parallel_tool_calls else wanted[:1]


def _calls(tools: list[FunctionTool], prompt: Prompt) -> Iterator[ModelEvent]:
    made = sum(isinstance(item, FunctionCall) for item in prompt.items)
    for index, tool in enumerate(tools):
        yield ToolCallStarted(index, f"call_{made + index}", tool.name)
        schema = {"type": "object", **(tool.parameters or {})}
        arguments = json.dumps(_filled(schema, _question(prompt)), ensure_ascii=False)
        yield from (ToolCallDelta(index, piece) for piece in re.findall(r".{1,5}", arguments))


def _question(prompt: Prompt) -> str:
    questions = [item.text for item in prompt.items if isinstance(item, Message) and item.role == "user"]
    return questions[-1] if questions else ""


def _keys_in_words(question: str) -> dict[str, Any] | None:
    """Return the JSON that a question asks for after all else, None if it asks for none."""
    told, found, wanted = question.partition("Respond with a JSON object")
    if not found:
        return None
    keys = re.findall(r"`(\w+)`( \(must be formatted as a valid Python int\))?", wanted)
    kinds = {key: {"type": "integer" if is_number else "string"} for key, is_number in keys}
    return dict(_filled({"type": "object", "properties": kinds, "required": list(kinds)}, told))


def _name_told(prompt: Prompt) -> str:
    """Return the name that a user gave in any message, or an empty text."""
    texts = [item.text for item in prompt.items if isinstance(item, Message) and item.role == "user"]
    names = [match[1] for text in texts if (match := re.search(r"My name is (\w+)", text))]
    return names[-1] if names else ""


def _schema_told(prompt: Prompt) -> dict[str, Any]:
    """Return the schema that stands in a message, as some clients tell it, or one of the quoted keys."""
    for item in prompt.items:
        start = item.text.find("{") if isinstance(item, Message) else -1
        if start >= 0 and isinstance(item, Message) and '"properties"' in item.text:
            schema, _ = json.JSONDecoder().raw_decode(item.text, start)
            if isinstance(schema, dict):
                return schema
    keys = re.findall(r"'(\w+)'", _question(prompt))
    return {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": keys}


def _filled(schema: dict[str, Any], question: str) -> Any:
    """Return a value that fits `schema`, with what the question says in it."""
    numbers = re.findall(r"\d+", question)
    names = re.findall(r"'([^']+)'", question)[:1] or re.findall(r"\b[^\W\d_a-z]\w+", question)
    return _replaced(
        build_minimal_value(schema), int(numbers[0]) if numbers else 0, names[-1] if names else "thing"
    )


def _replaced(value: Any, number: int, name: str) -> Any:
    match value:
        case dict():
            return {key: _replaced(inner, number, name) for key, inner in value.items()}
        case list():
            return [_replaced(inner, number, name) for inner in value]
        case bool() | None:
            return value
        case "":
            return name
        case 0:
            return number
        case _:
            return value
