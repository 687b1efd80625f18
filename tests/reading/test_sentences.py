"""Sentences are exact pieces of a text."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mavera.reading.sentences import split_sentences

texts = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="aB1 .!?\n\"'`-*。I’", max_size=400),
    st.from_regex(r"(\w+ ){0,30}\."),
)


@given(texts)
def test_sentences_are_exact_pieces_in_order(text: str) -> None:
    found = split_sentences(text)

    assert all(text[one.start : one.end] == one.text == one.text.strip() for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


def test_sentences_end_where_a_reader_says_and_code_is_none() -> None:
    answer = "Dr. Smith paid $3.50 (vs. $4). Why?\n\n- First point\n2. Second!\n```py\nx = 1. \n```\nThe end"

    assert [one.text for one in split_sentences(answer)] == [
        "Dr. Smith paid $3.50 (vs. $4).",
        "Why?",
        "First point",
        "Second!",
        "The end",
    ]
