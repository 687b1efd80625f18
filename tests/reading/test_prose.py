"""Only prose reaches the readers of meaning, and their languages are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.reading.languages import is_foreign, is_unread
from mavera.reading.prose import is_code, is_data, is_repetition, pick_prose, to_plain
from mavera.reading.sentences import split_sentences


@pytest.mark.parametrize(
    "text",
    [
        "I moved from Los Angeles to El Paso, and then to Del Mar.",
        "Je ne sais quoi is what it has.",
        "Milk, eggs, bread, butter, cheese, apples, bananas",
        "Fresh fruit and vegetables;",
        "For the weekend in winter:",
        "$ 500 is too much (for me).",
        "It is a class of its own:",
    ],
)
def test_english_prose_is_neither_foreign_nor_code(text: str) -> None:
    assert not is_foreign(text)
    assert not is_code(text)
    assert not is_data(text)
    assert not is_repetition(text)


@pytest.mark.parametrize(
    "text",
    ["def add(a, b):", "const total = 5;", "return add(1, 2)", "</Panel>", "from os import path", "x = 5"],
)
def test_lines_of_code_are_known_without_a_fence(text: str) -> None:
    assert is_code(text)


@pytest.mark.parametrize(
    "text",
    [
        "42",
        "5/5",
        "$ 199",
        "2024-01-01",
        "a@b.org",
        "www.example.com/x",
        "dGVzdA" * 12,
        "| a | b |",
        "--- | ---",
        "a\tb",
    ],
)
def test_numbers_tables_and_addresses_are_data(text: str) -> None:
    assert is_data(text)


@pytest.mark.parametrize("text", ["Yes", "no!", "идк", "我会买", "It costs $5 at https://example.com."])
def test_a_word_is_no_data(text: str) -> None:
    assert not is_data(text)


def test_a_sentence_repeats_itself_if_few_words_occur_often() -> None:
    assert is_repetition("buy it " * 40)
    assert not is_repetition("no no no no no")
    assert not is_repetition(
        "I said no and no and no, because the old one still works and the new one is loud."
    )


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("It's fine.", "It's fine."),
        ("<b>Tom</b> &amp; Ann", "Tom  & Ann"),
        ("\ufeffa\u202eb\x00", "ab"),
        ("𝗜 𝗯𝘂𝘆", "I buy"),
        ("x < y and y > z", "x < y and y > z"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_readers_see_plain_text(text: str, plain: str) -> None:
    assert to_plain(text) == plain


def test_prose_keeps_its_order_and_each_sentence_once() -> None:
    text = "I like it. | a | b |\n| 1 | 2 |\nI like it. 42. It is loud."

    assert [one.text for one in pick_prose(split_sentences("I like it. 42. I like it. It is loud."))] == [
        "I like it.",
        "It is loud.",
    ]
    assert "| 1 | 2 |" not in [one.text for one in pick_prose(split_sentences(text))]


@pytest.mark.parametrize("text", ["Nee, ik zou het niet kopen.", "Sì, è molto bello.", "Да", "はい", "نعم"])
def test_other_languages_than_those_of_the_encoder_are_unread(text: str) -> None:
    assert is_unread(text)
    assert is_foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        "Yes",
        "Nein, das ist mir zu teuer.",
        "Sí, claro.",
        "Non, je n'en veux pas.",
        "Não, eu não quero.",
        "ok",
    ],
)
def test_the_languages_of_the_encoder_are_read(text: str) -> None:
    assert not is_unread(text)


@given(st.text(alphabet="<>/ab p&;=\x00\ufeff.|", max_size=300))
def test_any_sentences_can_be_picked(text: str) -> None:
    sentences = split_sentences(text)

    assert set(pick_prose(sentences)) <= set(sentences)
