"""
The library is linted as data, the prompt is pinned byte for byte, the lookups are used as a caller would.

After a persona or the template was changed on purpose, write the pinned hashes anew:

    PYTHONPATH=src python tests/personas/test_builtin.py > tests/personas/persona_prompts.json
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mavera.core.ids import is_cuid
from mavera.core.items import Message
from mavera.errors import ConfigurationError, InvalidRequest, PersonaNotFound
from mavera.personas.builtin import PersonaLibrary, decode_persona
from mavera.personas.persona import CATEGORIES, Persona
from mavera.personas.prompt import build_library_prefix

LIBRARY = PersonaLibrary.load()
PERSONAS = LIBRARY.list()
PINNED = Path(__file__).parent / "persona_prompts.json"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "personas.md"

BANNED = re.compile(
    r"^as an? |as an AI|language model|\bAI\b|aligns? with|I believe in|it is important to", re.IGNORECASE
)
THIRD_PERSON = re.compile(r"\b(he|she|him|her|his|hers|himself|herself)\b", re.IGNORECASE)

each_persona = pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.name)


def prompt_messages(persona: Persona) -> list[tuple[str, str]]:
    items = build_library_prefix(persona)
    return [(item.role, item.text) for item in items if isinstance(item, Message)]


def prompt_hashes() -> dict[str, str]:
    messages = {persona.name: json.dumps(prompt_messages(persona)) for persona in LIBRARY.list()}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in messages.items()}


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(strings, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(strings, value))


def facts(persona: Persona) -> dict[str, Any]:
    """Return what the prompt says about the persona, as plain data."""
    public = ("id", "name", "category", "description", "expert", "created_at", "turns")
    return {key: value for key, value in msgspec.to_builtins(persona).items() if key not in public}


def own_words(persona: Persona) -> frozenset[str]:
    text = " ".join([*strings(facts(persona)), *(turn.answer for turn in persona.turns)])
    return frozenset(word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3)


def sentences(answer: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<!\b[ap]\.m)[.!?]+(?:\s+|$)", answer) if sentence.strip()]


def words_per_sentence(persona: Persona) -> float:
    return mean(len(sentence.split()) for turn in persona.turns for sentence in sentences(turn.answer))


# The files


def test_the_library_covers_every_category() -> None:
    assert {persona.category for persona in PERSONAS} == set(CATEGORIES)
    assert any(persona.name == "Gen Z Consumer" for persona in PERSONAS)


def test_every_persona_has_an_id_a_name_and_a_speaker_of_its_own() -> None:
    assert all(is_cuid(persona.id) for persona in PERSONAS)
    for field in ("id", "name", "description", "demographics.speaker"):
        values = [field_of(persona, field) for persona in PERSONAS]
        assert len(set(values)) == len(PERSONAS), field


def field_of(persona: Persona, path: str) -> object:
    value: object = persona
    for name in path.split("."):
        value = getattr(value, name)
    return value


@each_persona
def test_a_library_persona_is_not_custom_and_the_experts_are_expert(persona: Persona) -> None:
    assert not persona.is_custom
    assert persona.is_expert or persona.category != "Expert"


@each_persona
def test_a_speaker_is_of_the_age_band(persona: Persona) -> None:
    youngest, oldest = map(int, persona.demographics.age_band.split("-"))
    age = int(persona.demographics.identity.split(",")[0])
    assert youngest <= age <= oldest


@each_persona
def test_no_text_has_a_phrase_of_an_assistant(persona: Persona) -> None:
    assert not [text for text in strings(msgspec.to_builtins(persona)) if BANNED.search(text)]


@each_persona
def test_facts_address_the_persona_and_end_without_a_full_stop(persona: Persona) -> None:
    said_by_the_persona = set(persona.voice.phrases)
    for text in set(strings(facts(persona))) - said_by_the_persona:
        assert not THIRD_PERSON.search(text), text
        assert not text.endswith(".") or text.endswith(("a.m.", "p.m.")), text
        assert text == text.strip()


@each_persona
def test_a_description_is_one_or_two_sentences_and_keeps_the_speaker_private(persona: Persona) -> None:
    assert len(sentences(persona.description)) in (1, 2)
    assert persona.description.endswith(".")
    assert not any(name in persona.description for name in persona.demographics.speaker.split())


def test_no_two_personas_are_near_duplicates() -> None:
    for one, other in itertools.combinations(PERSONAS, 2):
        shared = own_words(one) & own_words(other)
        every = own_words(one) | own_words(other)
        assert len(shared) / len(every) < 0.2, (one.name, other.name)


def test_voices_differ_widely_in_the_length_of_their_sentences() -> None:
    lengths = sorted(words_per_sentence(persona) for persona in PERSONAS)
    assert lengths[0] < 8
    assert lengths[-1] > 4 * lengths[0]


def test_a_file_with_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"gen_q\.toml.*favourite_colour"):
        decode_persona(b'favourite_colour = "red"', "gen_q.toml")


@pytest.mark.parametrize("data", [b"name = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"gen_q\.toml"):
        decode_persona(data, "gen_q.toml")


def test_the_page_about_personas_lists_them_all() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [f"| {p.name} | {p.category} | {p.demographics.speaker}, " for p in PERSONAS]
    assert [row for row in rows if row not in page] == []
    assert [persona.id for persona in PERSONAS] == re.findall(r"`(c[0-9a-z]{24})`", page)


# The prompt


def test_prompts_are_the_pinned_bytes() -> None:
    assert prompt_hashes() == json.loads(PINNED.read_text(encoding="utf-8"))


@each_persona
def test_a_prompt_is_a_system_message_then_the_sample_turns(persona: Persona) -> None:
    roles = [role for role, _ in prompt_messages(persona)]
    assert roles == ["system", *["user", "assistant"] * len(persona.turns)]


@each_persona
def test_a_prompt_says_who_speaks_and_not_which_record_it_is(persona: Persona) -> None:
    text = "".join(text for _, text in prompt_messages(persona))
    assert text.startswith(f"You are {persona.demographics.speaker}, ")
    assert persona.id not in text
    assert str(persona.created_at) not in text
    assert "{" not in text


def prompt_characters(persona: Persona) -> int:
    return sum(len(text) for _, text in prompt_messages(persona))


@each_persona
def test_a_prompt_is_at_most_800_tokens_by_its_characters(persona: Persona) -> None:
    assert 2400 <= prompt_characters(persona) <= 3050


def test_the_median_prompt_is_at_most_750_tokens_by_its_characters() -> None:
    # Counted with the embedded model's tokenizer, the median of 2,841 characters is 742 tokens.
    assert median(map(prompt_characters, PERSONAS)) <= 2860


@each_persona
def test_every_fact_but_the_age_band_and_the_taboo_phrases_reaches_the_prompt(persona: Persona) -> None:
    text = prompt_messages(persona)[0][1]
    left_out = [fact for fact in strings(facts(persona)) if fact not in text]
    assert left_out == [persona.demographics.age_band, *persona.voice.taboo]


@each_persona
def test_a_prompt_has_no_phrase_that_its_persona_never_says(persona: Persona) -> None:
    text = " ".join(text for _, text in prompt_messages(persona)).casefold()
    assert not [phrase for phrase in persona.voice.taboo if phrase.casefold() in text]


@given(scores=st.lists(st.integers(0, 100), min_size=5, max_size=5))
@example(scores=[30, 31, 50, 69, 70])
def test_every_temperament_is_put_into_words(scores: list[int]) -> None:
    persona = PERSONAS[0]
    big_five = type(persona.big_five)(**dict(zip(persona.big_five.__struct_fields__, scores, strict=True)))
    text = prompt_messages(msgspec.structs.replace(persona, big_five=big_five))[0][1]
    found = re.search(r"By nature you are ([a-z][a-z ,-]+)\.\n", text)
    assert found
    standing_out = sum(score <= 30 or score >= 70 for score in scores)
    assert len(found[1].split(", ")) == max(standing_out, 1)
    assert (found[1] == "even-tempered") == (standing_out == 0)


# Looking up


@each_persona
def test_a_persona_is_found_by_its_id_and_its_name(persona: Persona) -> None:
    assert LIBRARY.get(persona.id) is persona
    assert LIBRARY.find(persona.id) is persona
    assert LIBRARY.find(persona.name.upper()) is persona


def test_an_unknown_id_is_not_found_and_tells_where_to_look() -> None:
    with pytest.raises(PersonaNotFound, match=r"GET /api/v1/personas") as caught:
        LIBRARY.get("c" * 10_000)
    assert caught.value.param == "persona_id"
    assert len(caught.value.message) < 150


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("gen z c", "Gen Z Consumer"),
        ("gen_z_consumer", "Gen Z Consumer"),
        ("Gen X", "Gen X"),
        ("health-con", "Health-Conscious"),
        ("healthcare", "Healthcare"),
        ("founder", "Startup Founder"),
    ],
)
def test_a_name_may_be_shortened_while_it_fits_only_one(typed: str, name: str) -> None:
    assert LIBRARY.find(typed).name == name


def test_the_beginning_of_a_name_wins_over_a_part_of_another() -> None:
    names = ["Tech Lead", "Big Tech"]
    library = PersonaLibrary(
        msgspec.structs.replace(persona, name=name) for persona, name in zip(PERSONAS[:2], names, strict=True)
    )
    assert library.find("tech").name == "Tech Lead"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("gen", "matches several personas: Gen X, Gen Z Consumer"),
        ("gen z", "matches several personas: Gen Z Consumer, Gen Z Professional"),
        ("genz consumer", "Did you mean Gen Z Consumer"),
        ("zzzzzz", "List them with"),
        ("", "List them with"),
    ],
)
def test_a_name_that_fits_none_or_several_is_answered_with_advice(typed: str, message: str) -> None:
    with pytest.raises(PersonaNotFound, match=message):
        LIBRARY.find(typed)


# Lists and pages

filters = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from([*CATEGORIES, "None of them"]),
        "search": st.sampled_from(["", "gen", "BUDGET", "evidence", "no such words"]),
        "custom": st.booleans(),
        "expert": st.booleans(),
    },
)


@given(limit=st.integers(1, 100), chosen=filters)
def test_pages_add_up_to_the_list(limit: int, chosen: dict[str, Any]) -> None:
    seen: list[Persona] = []
    cursor: str | None = None
    for _ in range(len(PERSONAS) + 1):
        shown, cursor = LIBRARY.page(limit, cursor, **chosen)
        assert len(shown) <= limit
        seen.extend(shown)
        if cursor is None:
            break
        assert shown[-1].id == cursor
    assert tuple(seen) == LIBRARY.list(**chosen)


@given(order=st.permutations(PERSONAS))
def test_the_order_does_not_depend_on_the_order_of_the_files(order: list[Persona]) -> None:
    assert PersonaLibrary(order).list() == PERSONAS


def test_the_order_is_by_category_and_then_by_name() -> None:
    names = [persona.name for persona in PERSONAS]
    assert names[:4] == ["Boomer", "Gen X", "Gen Z Consumer", "Gen Z Professional"]
    assert PERSONAS[-1].category == "Regional"


def test_a_list_keeps_what_its_filters_ask_for() -> None:
    assert all(persona.is_expert for persona in LIBRARY.list(expert=True))
    assert {persona.category for persona in LIBRARY.list(category="Lifestyle")} == {"Lifestyle"}
    assert [persona.name for persona in LIBRARY.list(search="RUNWAY")] == ["Startup Founder"]
    assert LIBRARY.list(custom=True) == ()
    assert LIBRARY.list(custom=False) == PERSONAS


def test_a_cursor_outside_the_filters_still_marks_its_place() -> None:
    shown, _ = LIBRARY.page(1, LIBRARY.find("Gen X").id, category="Lifestyle")
    assert shown == LIBRARY.list(category="Lifestyle")[:1]


def test_an_unknown_cursor_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest) as caught:
        LIBRARY.page(10, "c0000")
    assert caught.value.param == "cursor"


if __name__ == "__main__":
    print(json.dumps(prompt_hashes(), indent=2))
