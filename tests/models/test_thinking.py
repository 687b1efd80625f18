"""Reasoning and answer come apart, whatever marks them and wherever the text is cut."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import (
    ModelEvent,
    ReasoningDelta,
    RunCompleted,
    TextDelta,
    TextWasReasoning,
    TokenLogprob,
    ToolCallStarted,
)
from mavera.core.items import make_message
from mavera.core.prompt import OutputFormat, Prompt
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.chunk_decoder import ChunkDecoder
from mavera.settings import Thinking
from tests.models.test_chat_wire import END, USAGE, Wire, body_of, call, chunk, decoded, decoded_body, lines

PROMPT = Prompt((make_message("user", "How much would you pay?"),))
MARKS = [
    ("<think>", "</think>"),
    ("<think>\n", "\n</think>\n\n"),
    ("\n<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
]


def cut_text(text: str, cuts: list[int]) -> bytes:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return lines(*(chunk({"content": text[start:end]}) for start, end in pairwise(places)), END)


def read(data: bytes, **options: object) -> tuple[str, str]:
    """Return reasoning and text, as somebody adds them up who waits for the end."""
    decoder = ChunkDecoder(PROMPT, **options)  # type: ignore[arg-type]
    return added_up([*decoder.feed(data), *decoder.close()])


def added_up(events: list[ModelEvent]) -> tuple[str, str]:
    thought, text = "", ""
    for event in events:
        match event:
            case ReasoningDelta(piece):
                thought += piece
            case TextDelta(piece):
                text += piece
            case TextWasReasoning(is_shown):
                thought, text = thought + (text if is_shown else ""), ""
    return thought, text


@pytest.mark.parametrize(("opener", "closer"), MARKS)
@given(cuts=st.lists(st.integers(0, 120), max_size=12))
def test_marked_reasoning_is_told_from_the_answer_wherever_it_is_cut(
    opener: str, closer: str, cuts: list[int]
) -> None:
    data = cut_text(f"{opener}Is 3 < 4? </thin> [/ ok{closer}I < you.</think>", cuts)
    thought, text = read(data)
    assert (thought.strip(), text) == ("Is 3 < 4? </thin> [/ ok", "I < you.</think>")


@pytest.mark.parametrize("closer", ["</think>", "\n</think>\n\n", "</thinking>\n"])
@given(cuts=st.lists(st.integers(0, 40), max_size=8))
def test_reasoning_that_began_in_the_prompt_is_told_from_the_answer(closer: str, cuts: list[int]) -> None:
    thought, text = read(cut_text(f"Is 3 < 4? Yes{closer}I do.", cuts))
    assert (thought.strip(), text) == ("Is 3 < 4? Yes", "I do.")


@given(
    st.text("<think>/ \n[THINK]`ab", max_size=40).filter(
        lambda text: (
            "</think" not in text and "[/" not in text and not text.lstrip().startswith(("<think", "["))
        )
    ),
    st.lists(st.integers(0, 40), max_size=8),
)
def test_an_answer_without_reasoning_is_passed_on_letter_by_letter(text: str, cuts: list[int]) -> None:
    assert read(cut_text(text, cuts)) == ("", text)


@pytest.mark.parametrize(
    "text",
    [
        "Close it with `</think>`.",
        "A tag <think> opens, </think> closes.",
        'Write "</think>" at the end.',
        "```\nhm</think>\n```",
        "I say <think>hm</think> here.",
    ],
)
def test_an_answer_that_speaks_of_marks_is_text(text: str) -> None:
    assert read(cut_text(text, [])) == ("", text)
    assert read(cut_text(text, list(range(len(text))))) == ("", text)


def test_no_more_is_held_back_than_may_be_a_mark() -> None:
    decoder = ChunkDecoder(PROMPT)
    pieces = ["<think>", "a <", "b", "</think>", "c <", "d", " </th", "e"]
    told = [list(decoder.feed(lines(chunk({"content": piece})))) for piece in pieces]

    assert told == [
        [],
        [ReasoningDelta("a ")],
        [ReasoningDelta("<b")],
        [],
        [TextDelta("c <")],
        [TextDelta("d")],
        [TextDelta(" </th")],
        [TextDelta("e")],
    ]


MEMBERS = {
    "reasoning_content": "Hm.",
    "reasoning": "Hm.",
    "thinking": "Hm.",
    "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": None}],
    "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "x"}],
    "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}],
}


@pytest.mark.parametrize("name", MEMBERS)
def test_reasoning_in_a_member_of_its_own_is_reported(name: str) -> None:
    data = lines(chunk({name: MEMBERS[name]}), chunk({"content": "Yes."}), END)
    assert decoded(data)[:2] == [ReasoningDelta("Hm."), TextDelta("Yes.")]


def test_reasoning_under_several_names_is_reported_once() -> None:
    twice = {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}
    assert read(lines(chunk(twice), chunk({"content": "Yes."}), END)) == ("Hm.", "Yes.")


def test_reasoning_and_text_in_one_delta_are_both_passed_on() -> None:
    assert read(lines(chunk({"reasoning_content": "Hm.", "content": "Yes."}), END)) == ("Hm.", "Yes.")


@pytest.mark.parametrize("begun", [{"reasoning_content": "Hm."}, {"content": "<think>Hm.</think>"}])
def test_reasoning_alone_is_a_failure(begun: Wire) -> None:
    with pytest.raises(ServiceUnavailable, match="no answer"):
        decoded(lines(chunk(begun), END))


@pytest.mark.parametrize("mode", ["auto", "drop"])
def test_an_answer_of_nothing_but_open_reasoning_is_a_failure(mode: Thinking) -> None:
    with pytest.raises(ServiceUnavailable, match="no answer"):
        read(lines(chunk({"content": "<think>Hm"}), END), thinking=mode)


def test_reasoning_that_is_cut_off_ends_as_cut_off() -> None:
    events = decoded(lines(chunk({"reasoning_content": "Hm."}), chunk(reason="length")))
    assert isinstance(events[-1], RunCompleted)
    assert events[-1].reason == "length"


def test_reasoning_before_a_call_is_no_failure() -> None:
    events = decoded(lines(chunk({"reasoning_content": "Hm."}), call("f", "{}", index=0, id="a"), END))
    assert isinstance(events[1], ToolCallStarted)


@pytest.mark.parametrize(
    "begun", [chunk({"reasoning_content": "Hm."}), chunk({"content": "<think>Hm.</think>"})]
)
def test_dropped_reasoning_is_not_reported_and_still_counted(begun: Wire) -> None:
    decoder = ChunkDecoder(PROMPT, thinking="drop")
    data = lines(begun, chunk({"content": "Yes"}), chunk(reason="stop", usage=USAGE))
    events = [*decoder.feed(data), *decoder.close()]
    assert events == [TextDelta("Yes"), RunCompleted("stop", Usage(7, 2, reasoning_tokens=1))]


def test_kept_marks_stay_in_the_text() -> None:
    assert read(cut_text("<think>Hm.</think>Yes.", [9]), thinking="keep") == ("", "<think>Hm.</think>Yes.")


def test_a_server_that_counts_reasoning_is_believed() -> None:
    usage = {**USAGE, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}
    events = decoded(
        lines(chunk({"reasoning_content": "Hm."}), chunk({"content": "Y"}), chunk(reason="stop", usage=usage))
    )
    assert events[-1] == RunCompleted("stop", Usage(7, 9, reasoning_tokens=4))


def test_whole_answers_are_separated_too() -> None:
    marked = decoded_body(body_of({"content": "<think>Hm.</think>\n\nYes."}))
    apart = decoded_body(body_of({"content": "Yes.", "reasoning_content": "Hm."}))
    assert added_up(marked) == added_up(apart) == ("Hm.", "Yes.")


def test_what_a_server_shows_of_its_template_helps_with_the_next_answer() -> None:
    first = ChunkDecoder(PROMPT)
    list(first.feed(cut_text("Hm.</think>Yes.", [2])))
    list(first.close())
    assert first.starts_inside is True

    second = ChunkDecoder(PROMPT, starts_inside=True)
    events = [*second.feed(cut_text("Hm.</think>Yes.", [2])), *second.close()]
    assert TextWasReasoning() not in events
    assert added_up(events) == ("Hm.", "Yes.")
    assert second.starts_inside is None


def test_an_expectation_that_fails_costs_no_text() -> None:
    decoder = ChunkDecoder(PROMPT, starts_inside=True)
    events = [*decoder.feed(cut_text("Just text.", [3])), *decoder.close()]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Just text."
    assert decoder.starts_inside is False


@pytest.mark.parametrize(
    "begun", [[chunk({"content": "<think>Hm.</think>"})], [chunk({"reasoning_content": "Hm."})]]
)
def test_an_expectation_gives_way_to_reasoning_that_is_marked(begun: list[Wire]) -> None:
    data = lines(*begun, chunk({"content": "Yes."}), END)
    assert read(data, starts_inside=True) == ("Hm.", "Yes.")


def test_json_does_not_begin_within_reasoning() -> None:
    prompt = msgspec.structs.replace(PROMPT, format=OutputFormat("json_object"))
    decoder = ChunkDecoder(prompt, starts_inside=True)
    assert added_up([*decoder.feed(cut_text('{"a": 1}', [3])), *decoder.close()]) == ("", '{"a": 1}')


def test_log_probabilities_of_reasoning_are_not_those_of_the_answer() -> None:
    def token(text: str) -> Wire:
        scored = {"content": [{"token": text, "logprob": -0.5}]}
        return {"choices": [{"delta": {"content": text}, "logprobs": scored, "finish_reason": None}]}

    pieces = ["<think>", "Hm", "</think>", "\n\n", "Yes", "."]
    events = decoded(lines(*map(token, pieces), END), top_logprobs=0)
    texts = [event for event in events if isinstance(event, TextDelta)]
    assert texts == [TextDelta(one, (TokenLogprob(one, -0.5),)) for one in ("Yes", ".")]
