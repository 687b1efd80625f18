"""What is dropped of a conversation that is too long, and what never is."""

from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.core.items import FunctionCall, FunctionOutput, Item, Message, Text, make_message
from mavera.core.prompt import Prompt
from mavera.errors import ConversationTooLong
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.runs.truncation import FitToContext, find_droppable, most_tokens, without
from tests.conftest import Serve
from tests.support.limited import CountingModel, RefusingModel
from tests.support.stages import answer


def spoken(items: tuple[Item, ...]) -> list[int]:
    """Where the items are that are no system messages."""
    return [at for at, item in enumerate(items) if not (isinstance(item, Message) and item.role == "system")]


MESSAGES = st.builds(
    make_message, st.sampled_from(["system", "user", "assistant"]), st.text("ab ", max_size=30)
)
CALL_IDS = st.sampled_from(["c1", "c2", "c3"])
CALLS = st.builds(FunctionCall, CALL_IDS, st.just("f"), st.just("{}"))
OUTPUTS = st.builds(FunctionOutput, CALL_IDS, st.just((Text("12"),)))
CONVERSATIONS = st.lists(MESSAGES | CALLS | OUTPUTS, min_size=1, max_size=25).map(tuple)


@settings(max_examples=400)
@given(CONVERSATIONS)
def test_the_ends_and_the_system_messages_stay_and_nothing_is_named_twice(items: tuple[Item, ...]) -> None:
    groups = find_droppable(Prompt(items))
    gone = [at for group in groups for at in group]

    assert len(gone) == len(set(gone))
    assert set(gone) <= set(spoken(items)[1:-1])
    assert all(groups)


@settings(max_examples=400)
@given(CONVERSATIONS, st.integers(0, 30))
def test_a_call_and_its_output_go_together(items: tuple[Item, ...], number: int) -> None:
    def orphans(of: tuple[Item, ...]) -> tuple[int, int]:
        """How many outputs have no call before them, how many calls no output after them."""
        outputs = calls = 0
        for at, item in enumerate(of):
            if isinstance(item, FunctionOutput):
                before = (o.call_id for o in of[:at] if isinstance(o, FunctionCall))
                outputs += item.call_id not in before
            if isinstance(item, FunctionCall):
                after = (o.call_id for o in of[at:] if isinstance(o, FunctionOutput))
                calls += item.call_id not in after
        return outputs, calls

    left = without(Prompt(items), find_droppable(Prompt(items))[:number]).items

    assert orphans(left)[0] <= orphans(items)[0]
    assert orphans(left)[1] <= orphans(items)[1]


def exchange(number: int) -> tuple[Item, ...]:
    return (
        make_message("user", f"question {number}"),
        FunctionCall(f"call_{number}", "f", "{}"),
        FunctionOutput(f"call_{number}", (Text("1"),)),
        make_message("assistant", f"answer {number}"),
    )


def test_whole_exchanges_go_first_the_oldest_of_the_middle_before_the_others() -> None:
    items = (make_message("system", "Be brief."), *(item for number in range(4) for item in exchange(number)))

    groups = find_droppable(Prompt(items))

    assert groups[:2] == (frozenset({5, 6, 7, 8}), frozenset({9, 10, 11, 12}))


def test_an_agents_many_calls_after_one_question_lose_their_middle() -> None:
    rounds = [
        item
        for number in range(4)
        for item in (
            FunctionCall(f"call_{number}", "f", "{}"),
            FunctionOutput(f"call_{number}", (Text("1"),)),
        )
    ]

    groups = find_droppable(Prompt((make_message("user", "Go."), *rounds)))

    assert groups == (frozenset({1, 2}), frozenset({3, 4}), frozenset({5, 6}))


def ask(
    model: Model, items: tuple[Item, ...], *, drops: bool = False, answer_tokens: int | None = None
) -> None:
    stage = FitToContext(model.profile.context, drops, answer_tokens, "input")
    answer(model, Prompt(items, max_output_tokens=answer_tokens), lambda: stage)


def refusal(model: Model, items: tuple[Item, ...], *, drops: bool) -> ConversationTooLong | None:
    try:
        ask(model, items, drops=drops, answer_tokens=20)
    except ConversationTooLong as error:
        return error
    return None


@settings(max_examples=200)
@given(CONVERSATIONS, st.integers(300, 800), st.booleans())
def test_what_is_sent_fits_and_no_more_is_dropped_than_has_to_be(
    items: tuple[Item, ...], context: int, drops: bool
) -> None:
    prompt = Prompt(items, max_output_tokens=20)
    groups = find_droppable(prompt) if drops else ()
    model = CountingModel(["ok"], context_tokens=context)

    if refused := refusal(model, items, drops=drops):
        assert most_tokens(without(prompt, groups)) >= context
        assert refused.param == "input"
        assert f"{context:,}" in refused.message
        return

    sent = model.prompts[0]
    possible = [without(prompt, groups[:number]) for number in range(len(groups) + 1)]
    room = 20 if groups else 1
    enough = [candidate for candidate in possible if most_tokens(candidate) <= context - room]
    assert sent == (enough or possible[-1:])[0]
    assert most_tokens(sent) < context


def test_a_usual_conversation_is_not_counted() -> None:
    model = CountingModel(["ok"], context_tokens=8192)

    ask(model, (make_message("user", "word " * 1000),))

    assert model.counted == 0


def test_a_model_that_cannot_count_is_asked_again_with_less() -> None:
    model = RefusingModel(["ok"], most_items=9)
    items = tuple(item for number in range(10) for item in exchange(number))

    ask(model, items, drops=True)

    assert model.refused == 2
    assert model.prompts[0].items == (*exchange(0), *exchange(9))


def test_without_auto_the_models_own_refusal_is_passed_on() -> None:
    model = RefusingModel(["ok"], most_items=2)

    with pytest.raises(ConversationTooLong, match="maximum context length"):
        ask(model, exchange(0))

    assert model.refused == 1


def test_a_failure_after_the_first_event_is_not_tried_again() -> None:
    failing = ScriptedModel(["a", "b"], fail_after=1, failure=ConversationTooLong("Too long."))
    items = tuple(item for number in range(4) for item in exchange(number))

    with pytest.raises(ConversationTooLong):
        ask(failing, items, drops=True)

    assert len(failing.prompts) == 1


@settings(max_examples=200)
@given(CONVERSATIONS, CONVERSATIONS)
def test_the_prefix_is_never_dropped(prefix: tuple[Item, ...], items: tuple[Item, ...]) -> None:
    prompt = Prompt((*prefix, *items), prefix_length=len(prefix))

    assert without(prompt, find_droppable(prompt)).prefix == prefix


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "Hm?"}]}, "messages"),
        ("/responses", {"input": "Hm?"}, "input"),
    ],
)
def test_the_models_refusal_names_the_field_at_fault(
    serve: Serve, path: str, body: dict[str, Any], param: str
) -> None:
    served = serve(RefusingModel(["ok"], most_items=0))

    refused = httpx.post(
        served.base_url + path, json={"model": "mavera-1", **body}, headers=served.headers, timeout=30
    )

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
