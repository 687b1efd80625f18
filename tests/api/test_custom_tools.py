"""Custom tools, which take a text: through the official client, in both formats, streamed and not."""

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.api.responses.namespaces import join_name
from mavera.api.wire.custom_tools import InputReader
from mavera.core.text import clean_text
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve
from tests.support.obedient import ObedientModel

TEXT = 'ls -l\n"é" \U0001f41d'
SHELL: Any = {"type": "custom", "name": "shell", "description": "Runs a line."}
NESTED: Any = {"type": "custom", "custom": {"name": "shell", "description": "Runs a line."}}
ASKED: Any = [{"role": "user", "content": "What is in here?"}]


def calling(*texts: str, kept: bool = True) -> ConstrainedTools:
    return ConstrainedTools(ObedientModel(replies=[{"input": text} for text in texts], kept=kept))


def with_regex(definition: str) -> Any:
    return {**SHELL, "format": {"type": "grammar", "syntax": "regex", "definition": definition}}


def test_a_response_has_the_text_of_the_call(serve: Serve) -> None:
    client = serve(calling(TEXT)).client()

    response = client.responses.create(
        model="mavera-1", input="Hm?", tools=[SHELL], tool_choice={"type": "custom", "name": "shell"}
    )

    (call,) = response.output
    assert call.type == "custom_tool_call"
    assert (call.name, call.input) == ("shell", TEXT)
    assert str(call.id).startswith("ctc_")
    echoed: Any = response.tools[0]
    assert (echoed.type, echoed.name, echoed.format.type) == ("custom", "shell", "text")


def test_a_response_streams_the_text_of_the_call(serve: Serve) -> None:
    client = serve(calling(TEXT)).client()

    events: list[Any] = list(
        client.responses.create(
            model="mavera-1", input="Hm?", tools=[SHELL], tool_choice="required", stream=True
        )
    )

    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    (done,) = [event.input for event in events if event.type == "response.custom_tool_call_input.done"]
    assert "".join(deltas) == done == TEXT
    assert len(deltas) > 1
    assert events[-1].response.output[0].input == TEXT
    assert not any("function_call" in event.type for event in events)


def test_a_chat_completion_has_the_text_of_the_call(serve: Serve) -> None:
    client = serve(calling(TEXT)).client()

    choice = client.chat.completions.create(
        model="mavera-1",
        messages=ASKED,
        tools=[NESTED],
        tool_choice={"type": "custom", "custom": {"name": "shell"}},
    ).choices[0]

    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "custom"
    assert (call.custom.name, call.custom.input) == ("shell", TEXT)


def test_chat_chunks_add_up_to_the_text_of_the_call(serve: Serve) -> None:
    client = serve(calling(TEXT)).client()

    chunks = client.chat.completions.create(
        model="mavera-1", messages=ASKED, tools=[NESTED], tool_choice="required", stream=True
    )

    deltas: list[Any] = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert deltas[0].custom["name"] == "shell"
    assert "".join(delta.custom["input"] for delta in deltas) == TEXT


def test_the_call_and_its_output_come_back(serve: Serve) -> None:
    client = serve(model := ScriptedModel()).client()
    call: Any = {"type": "custom_tool_call", "call_id": "c1", "name": "shell", "input": TEXT}
    output: Any = {"type": "custom_tool_call_output", "call_id": "c1", "output": "README.md"}

    client.responses.create(model="mavera-1", input=[*ASKED, call, output], tools=[SHELL])

    said: list[Any] = list(model.prompts[-1].items[-2:])
    assert json.loads(said[0].arguments) == {"input": TEXT}
    assert said[1].output[0].text == "README.md"


def test_a_kept_response_with_a_call_goes_on_from_there(serve: Serve) -> None:
    client = serve(ConstrainedTools(inner := ObedientModel(replies=[{"input": TEXT}]))).client()
    first: Any = client.responses.create(
        model="mavera-1", input="Hm?", tools=[SHELL], tool_choice={"type": "custom", "name": "shell"}
    )
    call_id = first.output[0].call_id
    output: Any = {"type": "custom_tool_call_output", "call_id": call_id, "output": "notes"}

    client.responses.create(model="mavera-1", input=[output], previous_response_id=first.id)

    assert "notes" in str(inner.prompts[-1].items)


def test_a_custom_tool_in_a_namespace_has_its_own_name_in_the_call(serve: Serve) -> None:
    written = [{"name": join_name("box", "shell"), "arguments": {"input": "ls"}}]
    client = serve(ConstrainedTools(ObedientModel(replies=[written]))).client()
    other: Any = {"type": "function", "name": "now"}
    group: Any = {"type": "namespace", "name": "box", "description": "A box.", "tools": [SHELL, other]}

    response = client.responses.create(model="mavera-1", input="Hm?", tools=[group], tool_choice="required")

    (call,) = response.output
    assert call.type == "custom_tool_call"
    assert (call.namespace, call.name, call.input) == ("box", "shell", "ls")


def test_a_text_that_does_not_match_the_regex_is_asked_for_again(serve: Serve) -> None:
    client = serve(calling("rm -r", "ls x", kept=False)).client()

    response: Any = client.responses.create(
        model="mavera-1", input="Hm?", tools=[with_regex("ls [a-z]+")], tool_choice="required"
    )

    assert response.output[0].input == "ls x"


def test_a_regex_that_is_none_names_its_place(serve: Serve) -> None:
    client = serve(calling("ls")).client()

    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="mavera-1", input="Hm?", tools=[with_regex("ls (")])
    assert refused.value.param == "tools[0].format.definition"
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "("}}
    nested: Any = {"type": "custom", "custom": {"name": "shell", "format": grammar}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="mavera-1", messages=ASKED, tools=[nested])
    assert refused.value.param == "tools[0].custom.format.grammar.definition"


def test_a_lark_grammar_is_told_to_the_model(serve: Serve) -> None:
    client = serve(model := ScriptedModel()).client()
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "ls" WORD*'}
    told: Any = {**SHELL, "format": grammar}

    client.responses.create(model="mavera-1", input="Hm?", tools=[told])

    (tool,) = model.prompts[-1].tools
    assert tool.description == 'Runs a line.\n\nThe input follows this Lark grammar:\nstart: "ls" WORD*'


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A text, and the arguments that say it, cut anywhere."""
    text = draw(st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n\0/é\U0001f41d'), max_size=20))
    said = json.dumps(text, ensure_ascii=draw(st.booleans()))
    arguments = draw(st.sampled_from(("", " \n"))).join(("{", '"input"', ":", said, "}"))
    cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=8)))
    return text, [arguments[a:b] for a, b in zip([0, *cuts], [*cuts, len(arguments)], strict=True)]


@given(cut_texts())
def test_the_pieces_of_a_text_add_up_to_it(drawn: tuple[str, list[str]]) -> None:
    text, pieces = drawn
    reader = InputReader()

    said = [reader.feed(piece) for piece in pieces]

    assert "".join(said) == clean_text(text)
    assert reader.close() == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("ls -l", "ls -l"),
        ('"ls"', "ls"),
        ('{"command": "ls"}', '{"command": "ls"}'),
        ('{"why": 1, "input": "ls"}', "ls"),
        ('{"input": "ls -', "ls -"),
        ('{"input": "l\\ud83d', "l"),
        ('{"input": "a\\ud83db"}', "a\ufffdb"),
        ("", ""),
        ('{"input": 3}', '{"input": 3}'),
    ],
)
def test_arguments_in_another_form_lose_nothing(arguments: str, text: str) -> None:
    reader = InputReader()

    said = [reader.feed(piece) for piece in arguments]

    assert "".join([*said, reader.close()]) == text
