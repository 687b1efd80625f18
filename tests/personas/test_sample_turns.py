"""
The sample turns of the library, linted as prose: a small model copies their length, mood and words.

`docs/reference/personas.md` says what a good one is. A failing test names the answers to rewrite.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

import msgspec
import pytest

from mavera.evaluation.items import ITEMS, QUESTIONS
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.persona import Persona, Profile, SampleTurn
from mavera.runs.compose import LENGTH, LENGTH_IN_PERSONA

PERSONAS = PersonaLibrary.load().list()
TURNS = [(persona.name, turn) for persona in PERSONAS for turn in persona.turns]

each_persona = pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.name)

# Words that many questions share without having the same subject.
COMMON_WORDS = """
about after and another any anyone are ask before best better buy can could does doing eat ever few for
from get good had has have home house how idea instead into its job less like live long make many more
most much need new not now old once one other out over own part pay per prefer put real really should
small some still than that the their them then there these they thing things think this time too two
under use used way well what when where which while who why with without work worth would year years you
your yourself
"""
COMMON = frozenset(COMMON_WORDS.split())


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w€£$₦₹₱¥]+(?:['’.,-]\w+)*", text.casefold())


def subject_of(ask: str) -> frozenset[str]:
    """Return the words of a question that carry its subject, without plural endings."""
    return frozenset(word.rstrip("s") for word in words_of(ask) if len(word) > 2 and word not in COMMON)


def grams(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[at : at + length]) for at in range(len(words) - length + 1))


def used_more_than(most: int, phrases: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [phrase for phrase, count in Counter(phrases).items() if count > most]


@each_persona
def test_sample_turns_are_four_or_five_and_mixed_in_mood(persona: Persona) -> None:
    stances = [turn.stance for turn in persona.turns]
    assert len(stances) in (4, 5)
    assert set(stances) == {"yes", "no", "undecided"}


@each_persona
def test_sample_answers_have_30_to_60_words(persona: Persona) -> None:
    for turn in persona.turns:
        assert 30 <= len(turn.answer.split()) <= 60, turn.answer
        assert turn.ask.endswith("?")


@each_persona
def test_sample_answers_are_of_a_life(persona: Persona) -> None:
    """Each speaks of the speaker: I, we or my, or, in the tersest voices, a figure of their own."""
    own = re.compile(
        r"\b(i|i'm|i've|i'd|i'll|me|my|mine|we|we'd|we're|we've|our|ours|us)\b|[0-9]", re.IGNORECASE
    )
    assert not [turn.answer for turn in persona.turns if not own.search(turn.answer)]


@each_persona
def test_a_persona_never_says_its_own_taboo_phrases(persona: Persona) -> None:
    said = " ".join(turn.answer for turn in persona.turns).casefold()
    assert not [phrase for phrase in persona.voice.taboo if phrase.casefold() in said]


@each_persona
def test_a_persona_says_one_of_its_phrases_and_none_in_every_answer(persona: Persona) -> None:
    answers = [turn.answer.casefold() for turn in persona.turns]
    phrases = [phrase.casefold().rstrip(",.") for phrase in persona.voice.phrases]
    counts = [sum(phrase in answer for answer in answers) for phrase in phrases]
    assert 1 <= max(counts) < len(answers)


def test_no_two_sample_answers_share_six_words_in_a_row() -> None:
    places: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for number, (_, turn) in enumerate(TURNS):
        for gram in grams(words_of(turn.answer), 6):
            places[gram].add(number)
    assert [gram for gram, numbers in places.items() if len(numbers) > 1] == []


def test_no_opening_of_three_words_is_used_more_than_twice() -> None:
    assert used_more_than(2, (tuple(words_of(turn.answer)[:3]) for _, turn in TURNS)) == []


def test_no_ending_of_three_words_is_used_twice() -> None:
    assert used_more_than(1, (tuple(words_of(turn.answer)[-3:]) for _, turn in TURNS)) == []


@each_persona
def test_the_answers_of_a_persona_begin_with_different_words(persona: Persona) -> None:
    assert used_more_than(1, (tuple(words_of(turn.answer)[:2]) for turn in persona.turns)) == []


def test_no_subject_is_asked_about_twice() -> None:
    subjects = [(name, turn.ask, subject_of(turn.ask)) for name, turn in TURNS]
    assert [ask for _, ask, subject in subjects if not subject] == []
    assert [(a[:2], b[:2]) for a, b in combinations(subjects, 2) if alike(a[2], b[2])] == []


def test_no_sample_turn_answers_a_question_of_the_evaluation() -> None:
    asked = [*QUESTIONS, *(item.ask for item in ITEMS)]
    subjects = [(ask, subject_of(ask)) for ask in asked]
    assert [
        (turn.ask, ask) for _, turn in TURNS for ask, s in subjects if alike(subject_of(turn.ask), s)
    ] == []


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two subjects share more than half of the words of the shorter one."""
    return 2 * len(one & other) > min(len(one), len(other))


# Personas stored by earlier versions


def test_an_older_profile_is_read_with_its_short_turns_and_its_stances() -> None:
    turn = {"ask": "Do you like shopping apps?", "answer": "It's a logo.", "stance": "shrug"}
    profile = msgspec.to_builtins(
        Profile(**{name: getattr(PERSONAS[0], name) for name in Profile.__struct_fields__})
    )
    read = msgspec.convert({**profile, "turns": [turn] * 8}, Profile)
    assert [turn.stance for turn in read.turns] == ["undecided"] * 8
    assert msgspec.json.decode(msgspec.json.encode(read), type=Profile) == read


def test_a_stance_that_no_version_had_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="stance"):
        msgspec.convert({"ask": "Do you like it?", "answer": "Not much.", "stance": "meh"}, SampleTurn)


# Guidance


def test_a_persona_keeps_its_voice_at_length_and_others_are_told_plainly() -> None:
    assert set(LENGTH) == set(LENGTH_IN_PERSONA) == {"low", "high"}
    assert "as yourself" in LENGTH_IN_PERSONA["high"]
    assert "yourself" not in LENGTH["high"]
