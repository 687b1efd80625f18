"""An answer in words is held to its beginning, its reason and its length, where decoding can do that."""

import re

import pytest

from mavera.core.items import make_message
from mavera.core.prompt import OutputFormat, Prompt
from mavera.models.chat_wire import build_request_body
from mavera.models.embedded.grammar import build_grammar

FENCE = "```markdown Letter\n"
PROMPT = Prompt((make_message("user", "Write a letter."),), format=OutputFormat(begins=FENCE))


def test_a_server_that_takes_grammars_gets_the_beginning() -> None:
    held = build_request_body(PROMPT, model="m", constrain=lambda wanted: {"grammar": wanted.begins})

    assert held["grammar"] == FENCE


def test_other_servers_are_not_told() -> None:
    sent = build_request_body(PROMPT, model="m")

    assert sent.keys() == {"model", "messages", "stream", "stream_options"}


def test_a_server_that_takes_grammars_gets_the_least_length() -> None:
    prompt = Prompt(PROMPT.items, format=OutputFormat(least_words=80))

    held = build_request_body(prompt, model="m", constrain=lambda wanted: {"grammar": build_grammar(wanted)})

    assert held["grammar"].splitlines()[1] == r"start: /(\S+\s+){80,400}\S*/"
    assert "grammar" not in build_request_body(prompt, model="m")


def test_the_grammar_leaves_the_rest_open() -> None:
    assert build_grammar(PROMPT.format).splitlines()[1] == r'start: "```markdown Letter\n" /(.|\n)*/'


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("no, because it is $4.90 and i walk. that's it.", True),
        ("No. I have never paid for it. That's because my road is empty.", True),
        ("i would walk at 6 a.m. because i can.", True),
        ("Not since the bank closed.", True),
        ("i would not pay for it.my friends do, because they can.", False),
        ("It is too dear for me, and I walk.", True),
        ("i would go. that's because i can!", True),
        ("I would go. Because I can!", False),
        ("No.", False),
        ("I would pay $4.90. I have done so for years, because I can.", False),
        ("I would not.\nBecause I can.", False),
    ],
)
def test_a_view_has_its_reason_or_is_followed_by_one(text: str, fits: bool) -> None:
    rule = build_grammar(OutputFormat(reason_opening="That's because")).splitlines()[1]

    expression = rule.removeprefix("start: /").removesuffix("/")
    assert (re.fullmatch(expression, text) is not None) is fits


def test_a_long_answer_is_held_to_its_length_alone() -> None:
    long = OutputFormat(least_words=80)

    assert build_grammar(OutputFormat(least_words=80, reason_opening="Because")) == build_grammar(long)
    assert OutputFormat(reason_opening="That's because").constrains_text
