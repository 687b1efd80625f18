"""The order in which the embedded model reads the library while nobody asks."""

from mavera.personas.builtin import PersonaLibrary
from mavera.personas.likely import FIRST_PERSONA, order_by_use

LIBRARY = PersonaLibrary.load()


def test_the_persona_of_the_first_call_comes_first_then_those_asked_most() -> None:
    often, seldom = LIBRARY.find("Boomer"), LIBRARY.find("SMB Owner")

    ordered = order_by_use(LIBRARY, {seldom.id: 1, often.id: 9, "cmgone": 50})

    assert [persona.name for persona in ordered[:3]] == [FIRST_PERSONA, often.name, seldom.name]
    assert sorted(persona.id for persona in ordered) == sorted(persona.id for persona in LIBRARY)


def test_without_any_use_the_examples_come_before_the_others() -> None:
    names = [persona.name for persona in order_by_use(LIBRARY, {})]

    assert names[:2] == [FIRST_PERSONA, "SMB Owner"]
    assert names[2:] == [persona.name for persona in LIBRARY if persona.name not in names[:2]]
