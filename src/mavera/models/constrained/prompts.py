"""
Prompts that give tools to a model without tools of its own.

    decision    no persona: tools in one line each, three examples, the last message → {"function": …}
    calls       persona, tools with their schemas, the conversation, a request → the calls as JSON
    answer      persona and conversation, without tools, so the model has no calls to imitate

Earlier calls and their results are described in words, in messages of alternating roles, because many chat
templates know neither tool messages nor two messages of one role in a row.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec
from msgspec.structs import replace

from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part, Text, make_message
from mavera.core.json_schema import Schema, modernize_schema, rebase_schema
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, Sampling, ToolChoice

NONE = "none"
MOST_CALLS = 8
_DECISION_TOKENS = 64
_CAREFUL_TEMPERATURE = 0.3
_RECENT_MESSAGES = 4

_DECIDE = """\
You sort messages that people send to an assistant. The assistant can talk, and it has these functions:
{functions}
For each message say which function the assistant has to call before it can answer. \
Say "none" for small talk, opinions, feelings, general knowledge, for what is known already, \
and for everything that no function does."""

_EXAMPLES = (
    "Hello, who are you?",
    "What do you think of long queues, and why?",
    "What is the capital of Italy?",
    'How late is it in Lima?\n(Done: clock {"city": "Lima"}, which gave 14:05. What is missing still?)',
)

_TOOLS = """\
You have these functions, each with the JSON Schema of its arguments:
{functions}"""

_CALL_SEVERAL = """\
Call the functions that the last message needs, once for each thing it asks for, and no other. \
Write only JSON: [{"name": ..., "arguments": {...}}]"""

_CALL_ONE = "Call {name} for the last message. Write only its arguments, as JSON."

_ANY_OBJECT: Schema = {"type": "object"}
# It stands for calls that have no outputs.
_WAITING = "One moment."
_ANSWER_WITH_THAT = "Now answer me with that."


def select_tools(prompt: Prompt) -> tuple[FunctionTool, ...]:
    """Return the functions that may be called."""
    choice = prompt.tool_choice
    if choice.mode == "none":
        return ()
    return tuple(tool for tool in prompt.tools if not choice.names or tool.name in choice.names)


def answer_prompt(prompt: Prompt) -> Prompt:
    """Return the prompt that answers in words. An answer from results is drawn more carefully."""
    return replace(
        prompt,
        items=tuple(_put_into_words(_with_hint(prompt))),
        hint="",
        tools=(),
        tool_choice=ToolChoice(),
        sampling=_choose_sampling(prompt),
    )


def _with_hint(prompt: Prompt) -> tuple[Item, ...]:
    """
    Return the items with the hint in the last question, unless that has results already.

    The hint says what the guidance says, in the place where it does not cost the voice. So it replaces that.
    """
    end = len(prompt.items) - prompt.guidance_length
    last = prompt.items[end - 1] if end else None
    if not prompt.hint or not isinstance(last, Message) or last.role != "user":
        return prompt.items
    asked = replace(last, parts=(*last.parts, Text(prompt.hint)))
    return (*prompt.items[: end - 1], asked)


def _choose_sampling(prompt: Prompt) -> Sampling:
    """
    Return the sampling of an answer. A temperature that the caller set stays.

    A penalty on words that stand in the prompt would change the figures of results.
    """
    sampling = prompt.sampling
    if not any(isinstance(item, FunctionOutput) for item in prompt.items):
        return sampling
    recommended = sampling.temperature is not None and "temperature" in prompt.preferences
    temperature = _CAREFUL_TEMPERATURE if recommended else sampling.temperature
    return replace(sampling, temperature=temperature, repetition=None)


def longest(prompt: Prompt) -> Prompt:
    """Return the longest of the prompts that are made of `prompt`."""
    tools = select_tools(prompt)
    return calls_prompt(prompt, tools, None) if tools else answer_prompt(prompt)


def decision_prompt(prompt: Prompt, tools: tuple[FunctionTool, ...]) -> Prompt:
    """Return the prompt that asks which of `tools` to call, if any, as `{"function": name}`."""
    functions = "\n".join(f"- {_signature(tool)}" for tool in tools)
    items = [make_message("system", _DECIDE.format(functions=functions))]
    for example in _EXAMPLES:
        items += [
            make_message("user", f"Message: {example}"),
            make_message("assistant", f'{{"function": "{NONE}"}}'),
        ]
    items.append(make_message("user", "\n".join(_situation(prompt.items[prompt.prefix_length :]))))
    schema = _object({"function": {"enum": [NONE, *(tool.name for tool in tools)]}})
    return replace(
        _constrain(prompt, items, schema),
        prefix_length=0,
        max_output_tokens=_DECISION_TOKENS,
        sampling=Sampling(temperature=0.0, seed=prompt.sampling.seed),
        preferences=prompt.preferences | {"temperature", "max_output_tokens"},
    )


def read_decision(text: str, tools: tuple[FunctionTool, ...]) -> FunctionTool | None:
    """Return the chosen function, or None to answer in words or if the decision cannot be read."""
    try:
        name = msgspec.json.decode(text)["function"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return next((tool for tool in tools if tool.name == name), None)


def one_call_prompt(prompt: Prompt, tool: FunctionTool, *, is_loose: bool = False) -> Prompt:
    """
    Return the prompt whose answer is the arguments of one call of `tool`.

    `is_loose` takes any object for arguments, for a schema that the model's server cannot decode under.
    """
    items = _with_tools(prompt, (tool,), _CALL_ONE.format(name=tool.name))
    return _calling(prompt, items, _ANY_OBJECT if is_loose else _parameters(tool))


def calls_prompt(
    prompt: Prompt,
    tools: tuple[FunctionTool, ...],
    first: FunctionTool | None,
    *,
    is_loose: bool = False,
) -> Prompt:
    """Return the prompt whose answer is a list of calls, the first one of `first` if that is settled."""
    calls = {tool.name: _call_schema(tool) for tool in tools}
    schema: Schema = {
        "type": "array",
        **({"prefixItems": [calls[first.name]]} if first is not None else {}),
        "items": {"anyOf": list(calls.values())},
        "minItems": 1,
        "maxItems": MOST_CALLS if prompt.parallel_tool_calls else 1,
        "$defs": {
            tool.name: _ANY_OBJECT if is_loose else rebase_schema(_parameters(tool), f"#/$defs/{tool.name}")
            for tool in tools
        },
    }
    return _calling(prompt, _with_tools(prompt, tools, _CALL_SEVERAL), schema)


def _calling(prompt: Prompt, items: Iterable[Item], schema: Schema) -> Prompt:
    """Sample arguments at temperature 0, unless the caller set one, without stop texts or penalties."""
    given, preferences = prompt.sampling, prompt.preferences
    if given.temperature is None or "temperature" in preferences:
        sampling = Sampling(temperature=0.0, seed=given.seed)
        preferences = preferences | {"temperature"}
    else:
        sampling = Sampling(temperature=given.temperature, top_p=given.top_p, seed=given.seed)
    return replace(_constrain(prompt, items, schema), sampling=sampling, preferences=preferences)


def _constrain(prompt: Prompt, items: Iterable[Item], schema: Schema) -> Prompt:
    return replace(
        prompt,
        items=tuple(items),
        tools=(),
        tool_choice=ToolChoice(),
        format=OutputFormat("json_schema", "calls", schema=schema, strict=True),
        top_logprobs=None,
    )


def _with_tools(prompt: Prompt, tools: tuple[FunctionTool, ...], request: str) -> Iterator[Item]:
    functions = "\n".join(_describe(tool) for tool in tools)
    yield from prompt.prefix
    yield make_message("system", _TOOLS.format(functions=functions))
    yield from _put_into_words(prompt.items[prompt.prefix_length :])
    yield make_message("system", request)


def _describe(tool: FunctionTool) -> str:
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return _json({name: value for name, value in described.items() if value is not None})


def _signature(tool: FunctionTool) -> str:
    parameters = tool.parameters or {}
    needed = parameters.get("required", ())
    names = (name if name in needed else f"{name}?" for name in parameters.get("properties", ()))
    first_line = (tool.description or "").strip().splitlines()[:1]
    return f"{tool.name}({', '.join(names)})" + "".join(f": {_clip(line, 300)}" for line in first_line)


def _parameters(tool: FunctionTool) -> Schema:
    if tool.parameters is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    kept = {name: value for name, value in modernize_schema(tool.parameters).items() if name != "$id"}
    return {"type": "object", **kept}


def _call_schema(tool: FunctionTool) -> Schema:
    return _object({"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{tool.name}"}})


def _object(properties: dict[str, Any]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _put_into_words(items: Iterable[Item]) -> Iterator[Item]:
    """
    Yield `items` with calls and their outputs described in words, in the message that asked for them.

    A turn of the assistant between the two ("One moment") would be said again by a small model.
    """
    calls: dict[str, FunctionCall] = {}
    asked = ""
    question: Message | None = None
    for is_message, group in groupby(items, lambda item: isinstance(item, Message)):
        if is_message:
            messages = [item for item in group if isinstance(item, Message)]
            asked = next(_users_texts(reversed(messages)), asked)
            question = messages.pop() if messages[-1].role == "user" else None
            yield from messages
            continue
        told: list[Part] = []
        for item in group:
            if isinstance(item, FunctionCall):
                calls[item.call_id] = item
            elif isinstance(item, FunctionOutput):
                told += _describe_output(item, calls.get(item.call_id))
        if told:
            before = (*question.parts, Text("\n\n")) if question is not None else ()
            yield Message("user", (*before, *told, Text(_ask_again(asked))))
        elif question is not None:
            yield from (question, make_message("assistant", _WAITING))
        question = None
    if question is not None:
        yield question


def _ask_again(question: str) -> str:
    """Results are long, and a small model has lost the question at their end."""
    return f"\nWith that, answer my question: {_clip(question, 1000)}" if question else _ANSWER_WITH_THAT


def _users_texts(items: Iterable[Item]) -> Iterator[str]:
    return (item.text for item in items if isinstance(item, Message) and item.role == "user")


def _describe_output(item: FunctionOutput, call: FunctionCall | None) -> Iterator[Part]:
    name = f"{call.name} {call.arguments}" if call is not None else "The function"
    yield Text(f"{name} gives: {_text(item)}\n")
    yield from (part for part in item.output if isinstance(part, Image))


def _text(item: FunctionOutput) -> str:
    return "".join(part.text for part in item.output if not isinstance(part, Image))


def _situation(conversation: tuple[Item, ...]) -> Iterator[str]:
    """Yield the lines of the decision's question: rules, recent messages, the last one, and results."""
    messages = [(n, item) for n, item in enumerate(conversation) if isinstance(item, Message)]
    rules = " ".join(message.text for _, message in messages if message.role == "system")
    if rules:
        yield f"(Rules: {_clip(rules, 1000)})"
    last, question = max(
        (n, message.text)
        for n, message in [(-1, make_message("user", "")), *messages]
        if message.role == "user"
    )
    talk = [message for n, message in messages if n < last and message.role != "system"]
    for message in talk[-_RECENT_MESSAGES:]:
        yield f"({message.role.capitalize()} before: {_clip(message.text, 300)})"
    yield f"Message: {_clip(question, 4000)}"
    calls = {item.call_id: item for item in conversation if isinstance(item, FunctionCall)}
    for item in conversation[last + 1 :]:
        if isinstance(item, FunctionOutput) and (call := calls.get(item.call_id)):
            known = _clip(_text(item), 500)
            yield f"(Done: {call.name} {call.arguments}, which gave {known}. What is missing still?)"


def _clip(text: str, most: int) -> str:
    """Shorten from the middle: what is asked stands at the beginning or at the end."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
