"""Pieces of an answer are wrapped between words, however they are cut."""

from hypothesis import given
from hypothesis import strategies as st

from mavera.cli.wrapping import WordWriter


def write(pieces: list[str], width: int | None) -> str:
    written: list[str] = []
    writer = WordWriter(written.append, width)
    for piece in pieces:
        writer.add(piece)
    writer.end_word()
    return "".join(written)


def test_lines_break_between_words() -> None:
    assert write(["Would you pay ", "more for a jac", "ket?"], 16) == "Would you pay\nmore for a\njacket?"


def test_a_long_word_is_not_cut_and_lists_keep_their_indent() -> None:
    assert write(["see https://example.com/long"], 10) == "see\nhttps://example.com/long"
    assert write(["a\n  - b\n\n  - c"], 10) == "a\n  - b\n\n  - c"


def test_a_pipe_gets_the_text_as_it_is() -> None:
    assert write(["one ", "two three"], None) == "one two three"


@given(st.text(alphabet="ab \n", max_size=60), st.integers(1, 20), st.integers(0, 59))
def test_the_cuts_between_pieces_change_nothing(text: str, width: int, cut: int) -> None:
    whole = write([text], width)

    assert write([text[:cut], text[cut:]], width) == whole
    assert whole.split() == text.split()
    assert all(len(line) <= width or " " not in line.strip() for line in whole.split("\n"))
