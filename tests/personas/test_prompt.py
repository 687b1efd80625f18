"""The facts of a persona are grammatical sentences, however a model or a customer has worded them."""

import re

import pytest
from msgspec.structs import replace

from mavera.personas.builtin import PersonaLibrary
from mavera.personas.persona import Profile
from mavera.personas.prompt import build_facts

PLAIN: Profile = PersonaLibrary.load().find("Gen X")


def reword(**changes: object) -> str:
    """Return the facts of a profile with `changes`, which may be fields of its buying and its voice."""
    buying = {name: value for name, value in changes.items() if name in ("channels", "triggers")}
    voice = {name: value for name, value in changes.items() if name == "register"}
    own = {name: value for name, value in changes.items() if name not in {*buying, *voice}}
    return build_facts(
        replace(PLAIN, buying=replace(PLAIN.buying, **buying), voice=replace(PLAIN.voice, **voice), **own)
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"goals": ("to earn a degree", "You want to sleep by day.", "toast for all")},
            "Your goals: earn a degree; sleep by day; toast for all.",
        ),
        (
            {"goals": ("keep five trucks busy", "two bedrooms")},
            "Your goals: keep five trucks busy; two bedrooms.",
        ),
        ({"values": ("you value sleep", "You care about family")}, "You care about sleep, family."),
        (
            {"pains": ("You suffer from noise.", "late buses at 6 a.m.")},
            "Your troubles: noise; late buses at 6 a.m.",
        ),
        (
            {"channels": ("from a colleague", "through the radio")},
            "You hear of things from a colleague, the radio.",
        ),
        ({"decision_style": "You decide slowly."}, "You decide slowly."),
        ({"money": "Money: by card"}, "Money: by card."),
        ({"technology": "technology: an old phone"}, "Technology: an old phone."),
        ({"unknowns": ("nothing about farming", "about trains")}, "You know little of farming, trains;"),
        ({"register": "You talk fast, and you stop early"}, "You talk fast, and you stop early."),
        ({"register": "talks fast"}, "You talk fast."),
    ],
)
def test_a_text_that_repeats_the_words_before_it_says_them_once(
    changes: dict[str, object], sentence: str
) -> None:
    facts = reword(**changes)

    assert sentence in facts
    assert ".." not in facts
    assert not re.search(r"\b(?:to to|you you|from from|of of)\b", facts, re.IGNORECASE)


def test_a_text_of_nothing_else_stays() -> None:
    assert "You decide decide." in reword(decision_style="decide")
