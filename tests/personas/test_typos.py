"""Searching with slips of the finger, and cleaning what people send."""

import unicodedata
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mavera.personas.builtin import PersonaLibrary, Roll
from mavera.personas.catalogue import AnyPersona
from mavera.personas.custom import CustomPersona, clean_line
from mavera.personas.typos import count_slips, find_words, match_words

LIBRARY = PersonaLibrary.load()
VOCABULARY = sorted(frozenset[str]().union(*(find_words(p.name) for p in LIBRARY.list())))
words = st.text("abcdé", max_size=9)


@given(words, words)
def test_a_distance_is_a_distance(a: str, b: str) -> None:
    assert count_slips(a, b) == count_slips(b, a)
    assert (count_slips(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= count_slips(a, b) <= max(len(a), len(b))


@given(words, st.integers(0, 8), st.sampled_from("xyz"))
def test_one_slip_is_one(word: str, at: int, letter: str) -> None:
    at = min(at, len(word))
    assert count_slips(word, word[:at] + letter + word[at:]) == 1
    if at < len(word) - 1 and word[at] != word[at + 1]:
        assert count_slips(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :]) == 1


@given(st.sampled_from([word for word in VOCABULARY if len(word) >= 4]), st.data())
def test_a_word_with_one_letter_missing_is_still_meant(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 1))
    typed = word[:at] + word[at + 1 :]
    assert len(typed) < 4 or word in match_words(typed, VOCABULARY)[0]


def test_a_search_with_a_slip_finds_who_was_meant() -> None:
    for typed, name in (
        ("budgte", "Budget Shopper"),
        ("milennial", "Millennial Consumer"),
        ("lagso", "Lagos Entrepreneur"),
    ):
        assert name in [persona.name for persona in LIBRARY.list(search=typed)]
    assert LIBRARY.list(search="xylophones quintet") == ()


def test_among_very_many_words_names_are_still_found() -> None:
    draw = Random(1)
    wordy = [
        CustomPersona(
            id=f"c{n:024}",
            version=1,
            created_at=0,
            updated_at=0,
            name="Lighthouse keepers" if n == 900 else f"Segment {n}",
            category="Lifestyle",
            description=" ".join("".join(draw.choices("abcdefghij", k=8)) for _ in range(200)),
            pipeline_type="advanced",
        )
        for n in range(1000)
    ]
    roll: Roll[AnyPersona] = Roll([*LIBRARY, *wordy])

    assert [one.name for one in roll.list(search="lighthuose kepers")] == ["Lighthouse keepers"]
    assert [one.name for one in roll.list(search="budgte shoper")] == ["Budget Shopper"]
    assert roll.list(search=wordy[7].description[50:90]) == (wordy[7],)


@given(st.text())
def test_cleaned_text_is_one_readable_line_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_line(text)
    assert clean_line(cleaned) == cleaned
    assert "\n" not in cleaned
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs", "Co")]


def test_scripts_and_emoji_survive_the_cleaning() -> None:
    for text in ("Zoë Müller", "می‌خواهم", "👩‍⚕️ nurse", "日本の会社員", "क्‍ष"):
        assert clean_line(text) == unicodedata.normalize("NFC", text)
