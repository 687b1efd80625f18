"""The facts that a customer's description gives, found by rules."""

import pytest

from mavera.personas.described import DescribedFacts, find_facts, find_unmentioned


@pytest.mark.parametrize(
    ("text", "ages"),
    [
        ("Mothers of 25-34 in Leeds", (25, 34)),
        ("Managers aged 45 to 60", (45, 60)),
        ("Commuters between 30 and 50", (30, 50)),
        ("28-year-old designers", (28, 28)),
        ("Men in their early thirties", (30, 33)),
        ("Couples in their 60s", (60, 69)),
        ("Drivers over 65", (65, 85)),
        ("Retired teachers", (58, 90)),
        ("A nurse of 41 who works nights and raises two teenagers", (41, 41)),
        ("Nurses who raise two teenagers", None),
        ("Tutors for students", None),
        ("Teams of 20 to 30 people", None),
        ("Hospitals with over 60 employees", None),
        ("Children aged 10 to 12", None),
        ("People who wait 30 to 40 minutes", None),
    ],
)
def test_ages_are_found_only_where_ages_are_meant(text: str, ages: tuple[int, int] | None) -> None:
    assert find_facts(text).ages == ages


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Nurses on nights in Spain", ("Spain",)),
        ("Farmers in rural Ohio and from New South Wales", ("Ohio", "New South Wales")),
        ("Vegans in London, England", ("London, England",)),
        ("Directors in the US", ("US",)),
        ("People who work in HR, in SAP and in January", ()),
        ("People who buy from Amazon", ()),
        ("Speakers in English", ()),
    ],
)
def test_places_are_names_behind_words_of_place(text: str, places: tuple[str, ...]) -> None:
    assert find_facts(text).places == places


def test_a_description_gives_its_household_income_and_figures() -> None:
    facts = find_facts(
        "Single mothers with two children who earn £28,000 a year and spend 45 minutes on a bus"
    )

    assert facts == DescribedFacts(
        gender="woman", household=("single", "two children"), income="£28,000 a year", figures=("45",)
    )


def test_alternatives_and_prices_are_no_facts_of_a_life() -> None:
    facts = find_facts("Widowed or married men and women who pay $12 a month for single-use cups")

    assert (facts.household, facts.gender, facts.income) == ((), None, "")
    assert facts.figures == ("12",)


@pytest.mark.parametrize(
    ("text", "household"),
    [
        ("Nurses who raise two teenagers", ("two teenagers",)),
        ("Fathers of three small children who live alone", ("three small children", "alone")),
        ("Men who live with flatmates", ("with flatmates",)),
        ("Nannies who look after two children", ()),
        ("Lawyers for divorced couples", ()),
    ],
)
def test_a_household_is_the_audiences_own(text: str, household: tuple[str, ...]) -> None:
    assert find_facts(text).household == household


def test_the_gender_is_the_audiences_own() -> None:
    assert find_facts("Men who buy gifts for their wives").gender == "man"
    assert find_facts("Shops for women").gender is None


def test_what_a_draft_does_not_repeat_is_named() -> None:
    facts = find_facts("Clerks in New Delhi who wait 40 minutes and pay 15 rupees")

    assert find_unmentioned(facts, "Anand lives in Delhi. He waits 40 minutes.") == ("New Delhi", "15")
