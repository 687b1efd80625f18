"""Text that looks like a call never gets past the guard, and all other text does, as it came."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import TextDelta, TokenLogprob
from mavera.models.constrained.guard import CallGuard

NAMES = ("get_weather", "search")

CALLS = {
    '{"name": "get_weather", "arguments": {"city": "Oslo"}}': "get_weather",
    '{{"name": "get_weather", "arguments": {}}}': "get_weather",
    '[{"name":"search","arguments":{}}]': "search",
    '```json\n{"function": "search"}\n```': "search",
    '```\n[\n  {\n    "tool" : "search"': "search",
    '{"function": {"name": "search", "arguments": "{}"}}': "search",
    '{"type": "function", "function": {"name": "search"}}': "",
    '{"get_weather": {"city": "Oslo"}}': "get_weather",
    "get_weather(city='Oslo')": "get_weather",
    '`search("shoes")`': "search",
    '<tool_call>\n{"name": "search"}': "",
}

PLAIN = (
    "I would pay for that.",
    "search engines know; I {really} do.",
    '{"name": "Ana", "age": 3}',
    '{"names": ["get_weather"]}',
    "```python\nprint('hi')\n```",
    "<b>bold</b> and 1 < 2",
    "It calls get_weather (I think).",
    "a get_weather(city) call in the middle of a line",
    'The key "name": "search" without braces',
    "{" * 50,
    "\n" * 100 + "late",
)

fragments = st.sampled_from(
    [*CALLS, *PLAIN, "{", '"', "name", "search", "get_weather", "(", "\n", " ", "```", "json", "<tool", "["]
)
texts = st.lists(fragments, max_size=5).map("".join)


def said(text: str, cuts: list[int]) -> tuple[str, str | None]:
    """Feed `text` in pieces; return what came out and what was caught."""
    guard, out = CallGuard(NAMES), ""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        out += "".join(delta.text for delta in guard.feed(TextDelta(text[start:end])))
        if guard.caught is not None:
            return out, guard.caught
    return out + "".join(delta.text for delta in guard.flush()), None


@pytest.mark.parametrize("text", CALLS)
@pytest.mark.parametrize("before", ["", "Sure, let me see.\n\n", "Hm.\n"])
def test_a_call_is_caught_and_nothing_of_it_is_said(before: str, text: str) -> None:
    for cuts in ([], list(range(200))):
        out, caught = said(before + text, cuts)

        assert caught == CALLS[text]
        assert before.startswith(out.rstrip())


@pytest.mark.parametrize("cut", range(30))
def test_a_call_inside_what_looked_like_another_is_caught_wherever_the_text_is_cut(cut: int) -> None:
    out, caught = said('{"shop": {\n "search": {"query": "shoes"}}}', [cut])

    assert caught == "search"
    assert '"search"' not in out


def test_without_names_an_answer_in_json_goes_on_unchanged() -> None:
    guard = CallGuard(())
    deltas = [*guard.feed(TextDelta('{"search": {"name": "search"}}')), *guard.flush()]

    assert "".join(delta.text for delta in deltas) == '{"search": {"name": "search"}}'
    assert guard.caught is None


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_goes_on_unchanged(text: str) -> None:
    assert said(text, []) == (text, None)
    assert said(text, list(range(200))) == (text, None)


@given(texts, st.lists(st.integers(0, 400), max_size=30))
def test_it_does_not_matter_how_the_text_is_cut(text: str, cuts: list[int]) -> None:
    assert said(text, cuts) == said(text, [])


@given(st.lists(st.text(max_size=6), max_size=12))
def test_deltas_keep_their_log_probabilities(pieces: list[str]) -> None:
    deltas = [TextDelta(piece, (TokenLogprob(piece, -1.0),)) for piece in pieces]
    guard = CallGuard(("never_said_by_chance",))

    out = [passed for delta in deltas for passed in guard.feed(delta)] + list(guard.flush())

    if guard.caught is None:
        assert out == deltas


def test_at_most_some_hundred_characters_are_held() -> None:
    guard, waiting = CallGuard(NAMES), 0
    for character in json.dumps({"name": " " * 5000}) + "{" * 5000 + " \n" * 5000:
        waiting += 1 - sum(len(delta.text) for delta in guard.feed(TextDelta(character)))
        assert waiting < 200
