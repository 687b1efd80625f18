"""An answer in words is held to its beginning and its least length, where decoding can do that."""

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
