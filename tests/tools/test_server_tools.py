"""The server's own tools through the official client: the model calls, the server runs, the answer tells."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from mavera.tools.search.index import Document, SearchIndex
from tests.conftest import Serve, Served
from tests.support.openai_schemas import assert_fits_openai
from tests.support.tool_runs import ASKED, WEATHER, calls, ran, says, search, told, with_upstream
from tests.support.upstream_stub import Upstream

RETURNS = Document("index:returns.md", "Returns", "A jacket may be returned within 45 days, unworn.")


@pytest.fixture
def served(serve: Serve, upstream: Upstream, tmp_path: Path) -> Served:
    SearchIndex(tmp_path / "data" / "search.db").add(RETURNS)
    return with_upstream(serve, upstream)


def test_a_search_runs_and_the_answer_says_so(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("return a jacket")), says("45 days [1].")]

    response = served.client().responses.create(model="mavera-1", input="How long may I return a jacket?")

    assert response.output_text == "45 days [1]."
    assert [item.type for item in response.output] == ["web_search_call", "message"]
    [call] = ran(response)
    assert (call["name"], call["status"]) == ("tavily_search", "completed")
    assert json.loads(call["arguments"]) == {"query": "return a jacket"}
    assert call["duration_ms"] >= 0
    assert "Returns" in call["result"]
    [result] = told(upstream)
    assert "within 45 days" in result
    assert "no orders to follow" in result


def test_chat_lists_the_calls_and_keeps_them_out_of_the_message(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("return a jacket"), before="Let me look."), says("45 days [1].")]

    completion = served.client().chat.completions.create(model="mavera-1", messages=ASKED)

    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "stop"
    assert message.tool_calls is None
    assert message.content == "Let me look.\n\n45 days [1]."
    [call] = ran(completion, "tool_calls")
    assert call["name"] == "tavily_search"
    [annotation] = message.annotations or []
    citation = annotation.url_citation
    assert message.content[citation.start_index : citation.end_index] == "[1]"
    assert citation.url == "index:returns.md"


def test_chat_streams_tell_of_the_calls_at_the_end(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("return a jacket")), says("45 days.")]

    chunks = list(served.client().chat.completions.create(model="mavera-1", messages=ASKED, stream=True))

    assert all(not chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert [call["name"] for call in ran(chunks[-1], "tool_calls")] == ["tavily_search"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_stream_has_openais_events_for_a_search(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("return a jacket"), before="Let me look."), says("45 days [1].")]

    events = list(served.client().responses.create(model="mavera-1", input="Hm?", stream=True))

    kinds = [event.type for event in events]
    steps = [kind for kind in kinds if "web_search_call" in kind]
    assert steps == [f"response.web_search_call.{step}" for step in ("in_progress", "searching", "completed")]
    assert "response.output_text.annotation.added" in kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last: Any = events[-1]
    assert [item.type for item in last.response.output] == ["message", "web_search_call", "message"]
    for event in events:
        assert_fits_openai("ResponseStreamEvent", event.to_dict())


def test_the_stream_helper_of_the_official_client_follows_a_search(
    served: Served, upstream: Upstream
) -> None:
    upstream.script = [calls(search("return a jacket")), says("45 days [1].")]

    with served.client().responses.stream(model="mavera-1", input="Hm?") as stream:
        for _ in stream:
            pass

    assert stream.get_final_response().output_text == "45 days [1]."


def test_usage_is_summed_and_each_round_is_a_tool_turn(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("jacket")), calls(search("return")), says("45 days.")]

    usage = served.client().responses.create(model="mavera-1", input="Hm?").usage

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (105, 23)
    assert usage.to_dict()["credits_used"] == 4


def test_a_call_of_the_callers_ends_the_run_and_the_servers_never_reaches_it(
    served: Served, upstream: Upstream
) -> None:
    upstream.script = [calls(search("jacket")), calls(("get_weather", {}))]

    response = served.client().responses.create(model="mavera-1", input="Hm?", tools=[WEATHER])

    assert [item.type for item in response.output] == ["web_search_call", "function_call"]
    assert len(upstream.asked) == 2


def test_calls_side_by_side_are_split_between_the_two(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("jacket"), ("get_weather", {}), search("return"))]

    completion = served.client().chat.completions.create(
        model="mavera-1",
        messages=ASKED,
        tools=[{"type": "function", "function": {"name": "get_weather"}}],
    )

    made: list[Any] = completion.choices[0].message.tool_calls or []
    assert [call.function.name for call in made] == ["get_weather"]
    assert completion.choices[0].finish_reason == "tool_calls"
    assert len(ran(completion, "tool_calls")) == 2
    assert completion.usage is not None
    assert completion.usage.to_dict()["credits_used"] == 2


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (("tavily_search", '{"query": '), "no JSON"),
        (("tavily_search", {"q": "jacket"}), "do not fit"),
        (("tavily_search", {"query": 7}), "do not fit"),
        (("tavily_search", "[]"), "do not fit"),
        (("launch_rocket", {}), "there is no function"),
    ],
)
def test_a_call_that_cannot_be_made_is_an_error_the_model_sees(
    served: Served, upstream: Upstream, made: tuple[str, Any], reason: str
) -> None:
    upstream.script = [calls(made), calls(search("jacket")), says("45 days.")]

    response = served.client().responses.create(model="mavera-1", input="Hm?")

    first, second = ran(response)
    assert (first["status"], second["status"]) == ("failed", "completed")
    assert reason in told(upstream, 1)[0]
    assert response.output_text == "45 days."


def test_after_a_second_misfit_the_tool_is_taken_away(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(("tavily_search", {})), calls(("tavily_search", {"query": 1})), says("No idea.")]

    response = served.client().responses.create(model="mavera-1", input="Hm?")

    assert response.output_text == "No idea."
    assert "Answer without it" in told(upstream)[1]
    assert "tools" not in upstream.asked[2]


def test_a_model_that_repeats_itself_is_made_to_answer(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("jacket")), calls(search("jacket")), says("45 days.")]

    response = served.client().responses.create(model="mavera-1", input="Hm?")

    assert response.output_text == "45 days."
    assert "made before" in told(upstream)[1]
    assert "tools" not in upstream.asked[2]


def test_the_loop_ends_after_its_rounds(served: Served, upstream: Upstream) -> None:
    upstream.script = [*(calls(search(f"jacket {n}")) for n in range(8)), says("Enough.")]

    response = served.client().responses.create(model="mavera-1", input="Hm?")

    assert response.output_text == "Enough."
    assert len(ran(response)) == 8
    assert "tools" not in upstream.asked[8]


def test_max_tool_calls_is_kept(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("jacket"), search("return")), says("45 days.")]

    response = served.client().responses.create(model="mavera-1", input="Hm?", max_tool_calls=1)

    statuses = [call["status"] for call in ran(response)]
    assert sorted(statuses) == ["completed", "failed"]


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "tavily_search"])
def test_a_named_tool_is_the_only_one_offered(served: Served, upstream: Upstream, kind: str) -> None:
    upstream.script = [says("Hm.")]

    tools: Any = [{"type": kind}]
    response = served.client().responses.create(model="mavera-1", input="Hm?", tools=tools)

    assert [tool["function"]["name"] for tool in upstream.asked[0]["tools"]] == ["tavily_search"]
    assert response.tools[0].type == "web_search"


def test_a_forced_tool_is_forced_once(served: Served, upstream: Upstream) -> None:
    upstream.script = [calls(search("jacket")), says("45 days.")]

    served.client().responses.create(
        model="mavera-1",
        input="Hm?",
        tools=[{"type": "web_search"}],
        tool_choice={"type": "web_search_preview"},
    )

    forced, free = (request.get("tool_choice") for request in upstream.asked)
    assert forced == {"type": "function", "function": {"name": "tavily_search"}}
    assert free is None


def test_none_turns_all_off(served: Served, upstream: Upstream) -> None:
    upstream.script = [says("Hm.")]

    served.client().responses.create(model="mavera-1", input="Hm?", tool_choice="none")

    assert "tools" not in upstream.asked[0]


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("web_search", "MAVERA_TAVILY_API_KEY"),
        ("image_generation", "MAVERA_IMAGES_BASE_URL"),
        ("generateVideo", "MAVERA_RUNWAY_API_KEY"),
    ],
)
def test_a_named_tool_that_is_not_set_up_is_a_400_naming_the_setting(
    serve: Serve, upstream: Upstream, kind: str, setting: str
) -> None:
    client = with_upstream(serve, upstream).client()
    tools: Any = [WEATHER, {"type": kind}]

    with pytest.raises(openai.BadRequestError) as flat:
        client.responses.create(model="mavera-1", input="Hm?", tools=tools)
    with pytest.raises(openai.BadRequestError) as streamed:
        client.chat.completions.create(model="mavera-1", messages=ASKED, tools=tools[1:], stream=True)

    assert setting in flat.value.message
    assert flat.value.param == "tools[1]"
    assert streamed.value.param == "tools[0]"
    assert upstream.asked == []


def test_a_test_key_runs_scripted_tools(serve: Serve) -> None:
    served = serve()
    client = openai.OpenAI(base_url=served.base_url, api_key=served.test_key, max_retries=0)
    tools: Any = [{"type": "image_generation"}]

    response = client.responses.create(
        model="mavera-1", input="Hm?", tools=tools, tool_choice={"type": "image_generation"}
    )

    image: Any = response.output[0]
    assert image.type == "image_generation_call"
    assert image.result
    assert response.output[1].type == "message"
