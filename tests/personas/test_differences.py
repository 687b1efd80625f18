"""The differences between two versions of a persona."""

from typing import Any

from mavera.personas.builtin import PersonaLibrary
from mavera.personas.custom import Sheet
from mavera.personas.differences import Difference, list_differences
from mavera.personas.files import to_sheet


def make_sheet(**members: Any) -> Sheet:
    given = {
        "name": "Nurse",
        "description": "Works nights",
        "category": "Lifestyle",
        "pipeline_type": "advanced",
    }
    return Sheet.from_members(**{**given, "details": {}, **members})


def test_equal_sheets_do_not_differ() -> None:
    assert list_differences(make_sheet(), make_sheet()) == ()


def test_a_list_says_which_entries_left_and_came() -> None:
    before = make_sheet(details={"pains": ["noise", "light"], "goals": ["sleep"]})
    after = make_sheet(details={"pains": ["light", "meals"]})
    assert list_differences(before, after) == (
        Difference("details.goals", ("sleep",), ()),
        Difference("details.pains", ("noise",), ("meals",)),
    )


def test_another_order_is_a_difference() -> None:
    before, after = (make_sheet(details={"pains": one}) for one in (["a", "b"], ["b", "a"]))
    assert list_differences(before, after) == (Difference("details.pains", ("a", "b"), ("b", "a")),)


def test_weights_flags_and_profiles_are_texts() -> None:
    person = to_sheet(next(iter(PersonaLibrary.load())))
    before = make_sheet(details={"mcda_weights": {"price": 3}, "is_localized": False}, profile=None)
    after = make_sheet(details={"mcda_weights": {"price": 5}, "is_localized": True}, profile=person.profile)
    found = {one.field: one for one in list_differences(before, after)}
    assert found["details.mcda_weights.price"] == Difference("details.mcda_weights.price", ("3",), ("5",))
    assert found["details.is_localized"] == Difference("details.is_localized", ("no",), ("yes",))
    assert person.profile is not None
    assert found["profile.demographics.speaker"].added == (person.profile.demographics.speaker,)
    assert person.profile.turns[0].ask in found["profile.turns"].added[0]
