"""Each server is asked in its dialect, and what a refusal teaches is remembered."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, get_args

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mavera.core.events import ModelEvent, TextDelta
from mavera.core.items import FunctionCall, FunctionOutput, Text, make_message
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, Sampling, ToolChoice
from mavera.errors import APIError, ConversationTooLong, InvalidRequest
from mavera.models.chat_wire import build_request_body
from mavera.models.dialects import DIALECTS, Refusal, dialect_for, learn
from mavera.models.endpoint import Endpoint
from mavera.models.refusals import to_refusal
from mavera.models.upstream import USER_AGENT, UpstreamModel, UpstreamOptions
from mavera.settings import DialectName
from tests.support.dialect_stubs import REFUSALS, speaks
from tests.support.upstream_stub import Behaviour, Upstream, refuses, running_upstream

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
ASKED = Prompt(
    (
        make_message("system", "Be brief."),
        make_message("user", "How many?"),
        make_message("system", "One word."),
    )
)
CALLED = (
    make_message("user", "How late is it?"),
    FunctionCall("call_0123456789abcdef", "now", "{}"),
    FunctionOutput("call_0123456789abcdef", (Text("14:05"),)),
)
OWN = frozenset({"temperature", "max_output_tokens", "top_logprobs"})
PROMPTS = {
    "a token limit": replace(ASKED, max_output_tokens=50),
    "the server's own temperature": replace(ASKED, sampling=Sampling(temperature=0.2), preferences=OWN),
    "the server's own log-probabilities": replace(ASKED, top_logprobs=1, preferences=OWN),
    "a seed": replace(ASKED, sampling=Sampling(seed=7)),
    "a schema": replace(ASKED, format=OutputFormat("json_schema", "n", schema=SCHEMA, strict=True)),
    "any JSON": replace(ASKED, format=OutputFormat("json_object")),
    "a function without parameters": replace(ASKED, tools=(FunctionTool("now"),)),
    "a strict function": replace(ASKED, tools=(FunctionTool("add", None, SCHEMA, strict=True),)),
    "a demanded call": replace(ASKED, tools=(FunctionTool("now"),), tool_choice=ToolChoice("required")),
    "a call of long ago": replace(ASKED, items=CALLED, tools=(FunctionTool("now"),)),
    "neutral values": replace(
        ASKED, sampling=Sampling(temperature=1.0, top_p=1.0, frequency_penalty=0.0, presence_penalty=0.0)
    ),
}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


def model_at(upstream: Upstream, dialect: DialectName = "auto", name: str = "stub") -> UpstreamModel:
    async def endpoint() -> Endpoint:
        return Endpoint(upstream.url, "sk-1")

    return UpstreamModel(
        endpoint, UpstreamOptions(model=name, dialect=dialect_for(dialect, upstream.url, name))
    )


def ask(model: UpstreamModel, *prompts: Prompt) -> list[ModelEvent]:
    async def answer() -> list[ModelEvent]:
        events = []
        try:
            for prompt in prompts:
                async with aclosing(model.stream(prompt)) as stream:
                    events += [event async for event in stream]
        finally:
            await model.close()
        return events

    return asyncio.run(answer())


def test_the_table_has_every_dialect() -> None:
    assert set(DIALECTS) == set(get_args(DialectName))
    assert set(REFUSALS) == set(DIALECTS) - {"auto"}


@pytest.mark.parametrize("wanted", PROMPTS)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_server_answers_whatever_its_dialect_if_it_has_to_be_found_out(
    upstream: Upstream, name: str, wanted: str
) -> None:
    upstream.script = [speaks(name, '{"a": 1}')]

    events = ask(model_at(upstream), PROMPTS[wanted], PROMPTS[wanted])

    assert [event.text for event in events if isinstance(event, TextDelta)] == ['{"a": 1}'] * 2
    learned = len(upstream.asked) - 2
    assert upstream.asked[-1] == upstream.asked[-2] or learned == 0, "what was learned is remembered"


@pytest.mark.parametrize("wanted", PROMPTS)
@pytest.mark.parametrize("name", [name for name in REFUSALS if name != "vllm"])
def test_a_named_dialect_is_spoken_from_the_first_request(
    upstream: Upstream, name: DialectName, wanted: str
) -> None:
    upstream.script = [speaks(name, '{"a": 1}')]

    ask(model_at(upstream, name, "gpt-5-mini"), PROMPTS[wanted])

    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("name", "sampling", "param"),
    [
        ("openai", Sampling(temperature=0.2), "temperature"),
        ("openai", Sampling(top_p=0.5), "top_p"),
        ("gemini", Sampling(frequency_penalty=1.0), "frequency_penalty"),
        ("mistral", Sampling(logit_bias={"1": 2.0}), "logit_bias"),
    ],
)
def test_a_parameter_that_a_caller_chose_is_refused_by_its_name(
    upstream: Upstream, name: str, sampling: Sampling, param: str
) -> None:
    upstream.script = [speaks(name, "Yes.")]

    with pytest.raises(InvalidRequest) as refused:
        ask(model_at(upstream), replace(ASKED, sampling=sampling))

    assert refused.value.param == param
    assert param in refused.value.message


def test_log_probabilities_that_a_caller_chose_are_refused_by_their_name(upstream: Upstream) -> None:
    upstream.script = [speaks("openai", "Yes.")]

    with pytest.raises(InvalidRequest) as refused:
        ask(model_at(upstream), replace(ASKED, top_logprobs=3))

    assert refused.value.param == "top_logprobs"


def test_what_is_left_out_for_the_server_is_still_sent_for_a_caller(upstream: Upstream) -> None:
    mistral = DIALECTS["mistral"]

    body = build_request_body(replace(ASKED, top_logprobs=2), model="m", dialect=mistral)
    own = build_request_body(replace(ASKED, top_logprobs=2, preferences=OWN), model="m", dialect=mistral)

    assert body["top_logprobs"] == 2
    assert own.keys() == {"model", "messages", "stream"}


def test_only_what_was_asked_for_or_needed_is_sent() -> None:
    plain = build_request_body(ASKED, model="m")
    tools = build_request_body(replace(ASKED, tools=(FunctionTool("now"),)), model="m")

    assert plain.keys() == {"model", "messages", "stream", "stream_options"}
    assert tools.keys() == {*plain, "tools"}
    assert tools["tools"][0]["function"] == {
        "name": "now",
        "parameters": {"type": "object", "properties": {}},
    }


def test_llama_cpp_is_told_that_calls_may_be_made_side_by_side() -> None:
    prompt = replace(ASKED, tools=(FunctionTool("now"),))

    for is_parallel in (True, False):
        one = replace(prompt, parallel_tool_calls=is_parallel)
        assert (
            build_request_body(one, model="m", dialect=DIALECTS["llama.cpp"])["parallel_tool_calls"]
            is is_parallel
        )
    assert (
        build_request_body(replace(prompt, parallel_tool_calls=False), model="m")["parallel_tool_calls"]
        is False
    )


def test_a_server_that_says_it_is_llama_cpp_is_taken_at_its_word(upstream: Upstream) -> None:
    model = model_at(upstream)
    upstream.script = [answers_as("llama.cpp")]

    ask(model, ASKED)

    assert model.dialect.name == "llama.cpp"


def answers_as(server: str) -> Behaviour:
    async def behave(request: Any) -> Any:
        whole = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}
        return web.json_response(whole, headers={"Server": server})

    return behave


def test_a_schema_goes_along_in_words_if_the_server_takes_none(upstream: Upstream) -> None:
    upstream.script = [speaks("deepseek", '{"a": 1}')]

    ask(model_at(upstream), PROMPTS["a schema"])

    assert upstream.asked[-1]["response_format"] == {"type": "json_object"}
    assert json.dumps(SCHEMA, separators=(",", ":")) in upstream.asked[-1]["messages"][-1]["content"]


def test_one_schema_that_a_server_dislikes_does_not_take_schemas_from_others(upstream: Upstream) -> None:
    disliked = {
        "message": "Invalid schema for response_format 'n': 'additionalProperties' is required to be false.",
        "param": "response_format",
    }
    upstream.script = [refuses(400, {"error": disliked}), speaks("vllm", "{}"), speaks("vllm", "{}")]
    model = model_at(upstream)
    alone = replace(PROMPTS["a schema"], items=(make_message("user", "How many?"),))

    ask(model, alone, alone)

    kinds = [body["response_format"]["type"] for body in upstream.asked]
    assert kinds == ["json_schema", "json_object", "json_object", "json_schema"], (
        "the third joins its messages"
    )


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported: the maximum context length is 8192 tokens. Reduce the messages or 'max_tokens'.",
        "the request exceeds the available context size (4096 tokens)",
    ],
)
def test_a_prompt_that_is_too_long_teaches_nothing(upstream: Upstream, message: str) -> None:
    upstream.script = [refuses(400, {"error": {"message": message}})]

    with pytest.raises(ConversationTooLong):
        ask(model_at(upstream), PROMPTS["a token limit"])

    assert len(upstream.asked) == 1


def test_a_limit_of_the_wrong_size_is_not_sent_under_another_name(upstream: Upstream) -> None:
    message = "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"
    upstream.script = [refuses(400, {"error": {"message": message}})]

    with pytest.raises(InvalidRequest) as refused:
        ask(model_at(upstream), PROMPTS["a token limit"])

    assert (len(upstream.asked), refused.value.param) == (1, "max_tokens")


def test_a_server_that_refuses_whatever_it_is_sent_is_asked_a_handful_of_times(upstream: Upstream) -> None:
    async def refuse(request: Any) -> Any:
        names = ", ".join(f"'{name}'" for name in await request.json())
        return await refuses(400, {"error": {"message": f"Unsupported parameters: {names}"}})(request)

    upstream.script = [refuse]
    everything = replace(
        PROMPTS["a schema"],
        sampling=Sampling(temperature=0.2, seed=1),
        max_output_tokens=5,
        top_logprobs=1,
        tools=PROMPTS["a strict function"].tools,
        preferences=OWN,
    )

    with pytest.raises(APIError):
        ask(model_at(upstream), everything)

    assert len(upstream.asked) <= 8


words = st.sampled_from(
    ["max_tokens", "'temperature'", "seed", "response_format", "strict", "tool_choice", "unsupported", "any"]
)


@given(st.lists(words, max_size=6), st.sampled_from(sorted(PROMPTS)), st.sampled_from(sorted(DIALECTS)))
def test_lessons_come_to_an_end(said_words: list[str], wanted: str, name: DialectName) -> None:
    prompt, dialect, refusal = PROMPTS[wanted], DIALECTS[name], Refusal(" ".join(said_words))

    for _ in range(8):
        sent = build_request_body(prompt, model="m", dialect=dialect)
        lesson = learn(dialect, refusal, sent, prompt.preferences)
        if lesson is None:
            return
        assert lesson.dialect != dialect
        dialect = lesson.dialect
    raise AssertionError(f"still learning: {dialect}")


@pytest.mark.parametrize(
    ("told", "message", "params"),
    [
        ({"error": {"message": "no", "param": "seed"}}, "no", ("seed",)),
        ({"error": "no"}, "no", ()),
        ({"object": "error", "message": "no", "param": None}, "no", ()),
        ([{"error": {"message": "no"}}], "no", ()),
        ({"detail": [{"loc": ["body", "n"], "msg": "bad"}]}, "n: bad", ("n",)),
        (
            {"message": {"detail": [{"loc": ["body", "tools", 0], "msg": "bad"}]}},
            "tools.0: bad",
            ("tools.0",),
        ),
        ({"message": '{"detail": [{"loc": ["body", "n"], "msg": "bad"}]}'}, "n: bad", ("n",)),
        ({"detail": "no"}, "no", ()),
        ({"message": "{no"}, "{no", ()),
        ({"detail": [1, {"msg": 2}]}, "it gave no reason.", ()),
        ({"error": {"message": ["no"]}}, "it gave no reason.", ()),
        ([], "it gave no reason.", ()),
        (7, "it gave no reason.", ()),
    ],
)
def test_a_refusal_is_read_in_every_shape(told: Any, message: str, params: tuple[str, ...]) -> None:
    assert to_refusal(told) == Refusal(message, params)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.openai.azure.com/openai/v1", "azure"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini"),
        ("https://api.anthropic.com/v1", "anthropic-compatible"),
        ("http://127.0.0.1:11434/v1", "ollama"),
        ("http://127.0.0.1:8001/v1", "auto"),
        ("https://openai.azure.com.example/v1", "auto"),
    ],
)
def test_a_provider_is_known_by_its_host(url: str, name: str) -> None:
    assert dialect_for("auto", url, "m").name == name


@pytest.mark.parametrize(
    ("model", "is_fixed"),
    [("o3-mini", True), ("gpt-5", True), ("openai/gpt-5.2-codex", True), ("gpt-5-chat-latest", False),
     ("gpt-4o", False), ("olmo-2", False)],
)  # fmt: skip
def test_models_that_reason_get_no_temperature_of_ours(model: str, is_fixed: bool) -> None:
    dialect = dialect_for("openai", "https://gateway.example/v1", model)

    assert ("temperature" in dialect.left_out) is is_fixed


def test_a_refusal_in_plain_text_teaches_too_and_a_page_of_html_is_not_passed_on(upstream: Upstream) -> None:
    def says(text: str) -> Behaviour:
        async def behave(_: Any) -> Any:
            return web.Response(text=text, status=400)

        return behave

    upstream.script = [says("Unsupported parameter: max_tokens"), speaks("openai", "Yes.")]
    ask(model_at(upstream), PROMPTS["a token limit"])
    assert "max_completion_tokens" in upstream.asked[-1]

    upstream.asked.clear()
    upstream.script = [says("<html>Bad gateway</html>")]
    with pytest.raises(InvalidRequest, match="no reason"):
        ask(model_at(upstream), ASKED)


def test_every_request_says_who_asks(upstream: Upstream) -> None:
    agents = []

    async def behave(request: Any) -> Any:
        agents.append(request.headers.get("User-Agent"))
        return await speaks("openai", "Yes.")(request)

    upstream.script = [behave]
    ask(model_at(upstream), PROMPTS["a token limit"])

    assert set(agents) == {USER_AGENT}
    assert USER_AGENT.startswith("mavera/")
