"""The panel: weights, attributes from the personas' files, and digests."""

import pytest

from mavera.focus_groups.panel import build_panel, find_age_group, read_attributes
from mavera.focus_groups.study import NPS, PersonaChoice, Quota, Sample, Study
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.custom import CustomPersona, Details
from mavera.personas.persona import Persona


@pytest.fixture(scope="module")
def library() -> PersonaLibrary:
    return PersonaLibrary.load()


def make_study(personas: list[Persona], sample: Sample, weights: list[float]) -> Study:
    return Study(
        name="Oats",
        personas=tuple(
            PersonaChoice(id=p.id, weight=w, attributes={"region": "North"})
            for p, w in zip(personas, weights, strict=True)
        ),
        sample=sample,
        questions=(NPS(id="q1", text="Recommend?"),),
    )


def test_the_weights_of_a_panel_add_up_to_one(library: PersonaLibrary) -> None:
    personas = [library.find("gen x"), library.find("foodie")]

    panel = build_panel(make_study(personas, Sample(), [1, 3]), personas)

    assert [one.weight for one in panel] == [0.25, 0.75]
    assert panel[0].attributes["region"] == "North"
    assert panel[0].prompt_digest != panel[1].prompt_digest


def test_an_age_band_falls_into_the_groups_that_the_study_names(library: PersonaLibrary) -> None:
    persona = library.find("B2B Decision Maker")  # 38 to 58, so 48
    usual = make_study([persona], Sample(), [1])
    own = make_study(
        [persona],
        Sample(weights={"age": {"18-45": 50, "46-49": 30}}, quotas=(Quota(where={"age": "50+"}, size=9),)),
        [1],
    )

    assert build_panel(usual, [persona])[0].attributes["age"] == "35-54"
    assert build_panel(own, [persona])[0].attributes["age"] == "46-49"


@pytest.mark.parametrize(
    ("band", "group"),
    [("18-51", "18-34"), ("18-52", "35-54"), ("60+", "55+"), ("retired", None), ("5-9", None)],
)
def test_the_middle_of_a_band_decides(band: str, group: str | None) -> None:
    assert find_age_group(band, ("18-34", "35-54", "55+")) == group


def test_gender_is_known_only_if_the_file_says_so(library: PersonaLibrary) -> None:
    assert read_attributes(library.find("gen x"))["gender"] == "male"  # "spent on him", "his fifties"
    assert read_attributes(library.find("foodie"))["gender"] == "male"  # "his pay"
    assert read_attributes(library.find("B2B Decision Maker"))["gender"] == "female"  # "of her own size"
    assert "gender" not in read_attributes(library.find("boomer"))
    # "looks after a mother" says nothing about who looks after her.
    assert "gender" not in read_attributes(library.find("caregiver"))


def test_a_custom_persona_without_a_profile_has_the_attributes_of_its_details() -> None:
    persona = CustomPersona(
        id="c" * 25,
        name="Night nurses",
        category="Professional",
        description="Nurses who work at night. She sleeps by day.",
        pipeline_type="advanced",
        details=Details(age_band="25-40", locale_value="Leeds"),
        version=3,
        created_at=1,
        updated_at=1,
    )

    assert read_attributes(persona) == {"category": "Professional", "age": "18-34", "place": "Leeds"}
