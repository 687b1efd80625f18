"""A persona's question ends in a hint, in its language, unless it asks for a form of its own."""

from typing import Any

import pytest
from msgspec.structs import replace

from mavera.core.items import Image, Message, Part, Text, make_message
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt
from mavera.core.turn import Turn
from mavera.evaluation.items import QUESTIONS
from mavera.models.constrained.prompts import answer_prompt
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.compose import LEAST_WORDS_AT_LENGTH, compose
from mavera.runs.speaking import (
    HINTS,
    LONG_HINTS,
    REASON_OPENINGS,
    asks_for_form,
    asks_for_opinion,
    choose_opening,
    find_hint,
    find_language,
)

PERSONA = PersonaLibrary.load().find("SMB Owner")
TURN = Turn("mavera-1", (make_message("user", "Do you tip?"),), persona_id=PERSONA.id)


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Würden Sie für eine Jacke aus recyceltem Stoff mehr bezahlen?", "de"),
        ("Was halten Sie von Selbstbedienungskassen?", "de"),
        ("¿Pagarías más por una chaqueta reciclada?", "es"),
        ("Que pensez-vous des caisses automatiques ?", "fr"),
        ("Pourquoi changeriez-vous de banque ?", "fr"),
        ("Feriez-vous vos courses sur internet ?", "fr"),
        ("Is a drop-in sur-charge fair to you?", "en"),
        ("O que você acha de lojas sem dinheiro?", "pt"),
        ("What do you think of the El Camino in Las Vegas?", "en"),
        ("Bank?", "en"),
        ("", "en"),
    ],
)
def test_the_language_of_a_question_is_found(question: str, language: str) -> None:
    assert find_language(question) == language
    assert find_hint(question) == HINTS[language]


@pytest.mark.parametrize(
    "question",
    [
        "Write me an e-mail to a landlord.",
        "List five reasons to cancel.",
        "Make a table of your subscriptions.",
        "Write Python that adds two numbers.",
        "In one word: tea or coffee?",
        "Schreiben Sie einen Brief an den Vermieter.",
    ],
)
def test_a_form_of_its_own_gets_no_hint(question: str) -> None:
    assert find_hint(question) == ""


def test_questions_of_the_evaluation_are_english_and_ask_for_no_form() -> None:
    assert [ask for ask in QUESTIONS if asks_for_form(ask) or find_language(ask) != "en"] == []


def last_words(prompt: Prompt) -> str:
    last = answer_prompt(prompt).items[-1]
    assert isinstance(last, Message)
    return last.text


def test_a_persona_is_asked_with_the_hint_and_the_items_keep_the_callers_words() -> None:
    prompt = compose(TURN, PERSONA)

    assert last_words(prompt) == "Do you tip?" + HINTS["en"]
    assert prompt.items[-1] == TURN.items[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"verbosity": "low"},
        {"format": OutputFormat("json_object")},
        {"canvas_mode": True},
        {"instructions": "Answer in one word."},
    ],
    ids=["low", "JSON", "artifacts", "instructions"],
)
def test_other_wishes_go_before_the_hint(changes: dict[str, object]) -> None:
    assert compose(replace(TURN, **changes), PERSONA).hint == ""


@pytest.mark.parametrize(
    "parts",
    [
        (Text("What stands on it?"), Image("data:image/png;base64,AA")),
        (Text("What stands on it?"), Text("[Image 1. You cannot see it. A program read its text.]")),
    ],
)
def test_a_question_about_an_image_gets_no_hint(parts: tuple[Part, ...]) -> None:
    assert compose(replace(TURN, items=(Message("user", parts),)), PERSONA).hint == ""


def test_a_read_of_a_study_gets_no_hint() -> None:
    assert compose(replace(TURN, operation="focus_groups"), PERSONA).hint == ""
    assert compose(replace(TURN, max_output_tokens=1), PERSONA).hint == ""


def test_no_hint_is_looked_for_where_the_model_takes_none() -> None:
    assert compose(TURN, PERSONA, hints=False).hint == ""


def test_at_length_the_hint_takes_the_place_of_the_note() -> None:
    prompt = compose(replace(TURN, verbosity="high"), PERSONA)

    assert prompt.guidance_length == 1, "models that are given no hint read the note"
    assert last_words(prompt) == "Do you tip?" + LONG_HINTS["en"]
    assert LONG_HINTS.keys() == HINTS.keys()


def test_at_length_a_spoken_answer_has_a_least_number_of_words() -> None:
    long = replace(TURN, verbosity="high")

    assert compose(long, PERSONA).format.least_words == LEAST_WORDS_AT_LENGTH
    assert compose(TURN, PERSONA).format.least_words == 0
    assert compose(long, None).format.least_words == 0
    assert compose(long, PERSONA, hints=False).format.least_words == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"items": (make_message("user", "Write me a list of three tips."),)},
        {"items": (make_message("user", "你会给小费吗?"),)},
        {"tools": (FunctionTool("look_up"),)},
    ],
    ids=["a form", "no spaces", "tools"],
)
def test_forms_calls_and_scripts_without_spaces_have_no_least_number(changes: dict[str, Any]) -> None:
    assert compose(replace(TURN, verbosity="high", **changes), PERSONA).format.least_words == 0


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("Would you pay to skip a queue?", True),
        ("What do you think of tipping?", True),
        ("Is an electric car something for you?", True),
        ("Where do you live, and who with?", False),
        ("What would make you switch banks?", False),
        ("Hello!", False),
        ("Yes or no: would you pay for news?", False),
        ("Würden Sie für Nachrichten bezahlen?", False),
        ("Write an e-mail to someone who should pay.", False),
    ],
)
def test_a_question_for_an_opinion_is_known_in_english(question: str, asks: bool) -> None:
    assert asks_for_opinion(question) is asks


@pytest.mark.parametrize(
    ("changes", "gives"),
    [
        ({}, True),
        ({"items": (make_message("user", "Where do you live?"),)}, False),
        ({"top_logprobs": 2}, False),
        ({"tools": (FunctionTool("look_up"),)}, False),
        ({"verbosity": "high"}, False),
        ({"instructions": "Answer yes or no."}, False),
    ],
    ids=["an opinion", "a fact", "probabilities", "tools", "at length", "a form"],
)
def test_an_opinion_gives_its_reason(changes: dict[str, Any], gives: bool) -> None:
    assert bool(compose(replace(TURN, **changes), PERSONA).format.reason_opening) is gives
    assert not compose(replace(TURN, **changes), PERSONA, hints=False).format.reason_opening


def test_the_same_question_has_the_same_opening_and_others_have_others() -> None:
    openings = [choose_opening("anna", question) for question in QUESTIONS]

    assert openings == [choose_opening("anna", question) for question in QUESTIONS]
    assert set(openings) == set(REASON_OPENINGS)


def test_nobody_in_particular_gets_no_hint() -> None:
    assert compose(replace(TURN, persona_id=None), None).hint == ""


def test_a_length_is_asked_for_in_the_language_of_the_question() -> None:
    german = replace(TURN, items=(make_message("user", "Was halten Sie von Trinkgeld?"),), verbosity="low")

    assert last_words(compose(german, PERSONA)).endswith("Antworte auf Deutsch.")
