"""No text of a stranger reaches a model with a control mark in it, whoever reads the text."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.items import Message
from mavera.core.quoting import ANGLE_MARKS, INVISIBLE, SQUARE_MARKS, defuse
from mavera.fetch.image_description import ImageReading, TextLine, describe_image
from mavera.personas.custom import Sheet, build_custom_prefix, clean_line
from mavera.tools.tool import Found, ToolFailed, ToolResult, one_line, quote_failure, quote_result

# As the tokenizers of the families write them.
MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|tool▁calls▁begin|>",
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "<think>",
    "</think>",
)


def read_found(text: str) -> str:
    found = Found("https://example.com/", text, text, date=text)
    return quote_result("tavily_search", ToolResult("", (found,)), first_number=1, most_characters=100_000)


def read_program(text: str) -> str:
    return quote_result(
        "shop__find", ToolResult("", text=text, origin="a program"), first_number=1, most_characters=100_000
    )


def read_failure(text: str) -> str:
    return quote_failure("f", ToolFailed("It failed.", detail=text, origin="a server"))


def read_image(text: str) -> str:
    line = TextLine(text, 0.1, 0.1, 0.2, 0.2)
    return describe_image(ImageReading(10, 10, (), (line,)), number=1, kind="png")


def read_persona(text: str) -> str:
    sheet = Sheet.from_members(
        name="Nurse",
        category="Professional",
        description=f"Kind. {text}",
        pipeline_type="intermediate",
        type="B2C",
        details={"goals": [text]},
    )
    return "\n".join(item.text for item in build_custom_prefix(sheet) if isinstance(item, Message))


READERS: tuple[Callable[[str], str], ...] = (
    defuse,
    one_line,
    read_found,
    read_program,
    read_failure,
    read_image,
    read_persona,
    clean_line,  # a persona's sample turns, which are messages of their own
)

hidden = st.sampled_from(["", "\u200b", "\u200d", "\u2060", "\ufe0f", "\u00ad", "\U000e0041"])
spaces = st.sampled_from(["", " ", "\t", "\n"])


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A mark in any case, with something invisible between its letters and spaces inside its delimiters."""
    mark = draw(st.sampled_from(MARKS))
    letters = [draw(st.sampled_from([letter, letter.upper(), letter.lower()])) for letter in mark]
    open_end = 1 if mark[0] in "<[" else 0
    pieces = [letter + draw(hidden) for letter in letters]
    return "".join((*pieces[:open_end], draw(spaces), *pieces[open_end:-1], draw(spaces), pieces[-1]))


texts = st.lists(
    disguised() | st.text("<>[]|/｜ sINT\u200b_", max_size=12) | st.text(max_size=8), max_size=6
).map("".join)


def marks_in(text: str) -> list[str]:
    """Return the marks that a careless reader would find: without case, spaces and what nobody sees."""
    seen = re.sub(rf"[\s{INVISIBLE}]", "", text).casefold()
    halves = [half for half in ("<|", "|>", "<｜", "｜>") if half in re.sub(f"[{INVISIBLE}]", "", text)]
    return [mark for mark in MARKS if mark.casefold() in seen] + halves


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(text=texts)
def test_no_reader_lets_a_mark_through(read: Callable[[str], str], text: str) -> None:
    assert marks_in(read(text)) == []


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_stays_readable_and_as_long_as_it_was(mark: str) -> None:
    broken = defuse(f"Say {mark} aloud.")

    assert mark not in broken
    assert len(broken) == len(f"Say {mark} aloud.")
    assert mark.strip("<>[]|｜") in broken


@given(st.text())
def test_a_text_is_changed_once_only(text: str) -> None:
    once = defuse(text)

    assert defuse(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "a < b | c > d",
        "if (x <= y || y > z)",
        "| a | b |\n|---|---|",
        "<div>[1] [2]</div>",
        "list[int] | None",
        "→ «ja» 👍",
    ],
)
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert defuse(text) == text


def test_each_name_of_the_table_is_broken_with_and_without_a_slash() -> None:
    angles = {name for names in ANGLE_MARKS.values() for name in names}
    squares = {name for names in SQUARE_MARKS.values() for name in names}
    marks = [
        f"{a}{slash}{n}{z}"
        for a, z, names in (("<", ">", angles), ("[", "]", squares))
        for n in names
        for slash in ("", "/")
    ]

    assert [mark for mark in marks if mark in defuse(mark)] == []


def test_a_megabyte_of_openings_takes_no_time_worth_naming() -> None:
    for piece in ("<", "<|", "< ", "[ ", "<\u200d", "<|a", "<end_of_", "[TOOL"):
        text = piece * 100_000
        assert len(defuse(text)) <= len(text)
