"""
Choose the personas that stand for the people of a survey.

    survey's age groups × gender  →  personas of the library that live in the United States

The surveys that ship with a declaration asked adults of the United States, so personas of other countries are
left out. A segment of people is the mixture of its personas, weighted by the people of each age and gender.
A group of people without a persona is left out, and the weights of the others are scaled up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mavera.evaluation.survey_data import GENDERS, Gender, Survey
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.persona import Persona

# The age is that of the persona's identity. The gender is that of the persona's texts and name.
AMERICANS: tuple[tuple[str, int, Gender], ...] = (
    ("Gen Z Consumer", 22, "female"),
    ("College Student", 19, "male"),
    ("New Parent", 29, "female"),
    ("Budget Shopper", 41, "female"),
    ("Millennial Consumer", 38, "male"),
    ("Health-Conscious", 39, "female"),
    ("Gamer", 34, "male"),
    ("Market Analyst", 43, "female"),
    ("Suburban Parent", 43, "male"),
    ("SMB Owner", 44, "male"),
    ("First-Time Home Buyer", 32, "male"),
    ("Startup Founder", 31, "male"),
    ("SaaS CMO", 44, "male"),
    ("Rural Midwest American", 51, "female"),
    ("Texan Suburbanite", 46, "male"),
    ("Healthcare", 50, "female"),
    ("Mid-Market CFO", 55, "male"),
    ("Education", 57, "female"),
    ("Retail Buyer", 48, "female"),
    ("B2B Decision Maker", 47, "female"),
    ("Caregiver", 54, "female"),
    ("Boomer", 70, "female"),
    ("Silent Generation", 85, "male"),
    ("Retiree on a Fixed Income", 76, "female"),
)
# People below this age are young, and the others old.
OLD = 45

# The number of a survey's age group, and of a gender.
Group = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two segments of people. The first one is compared with the second."""

    name: str
    first: frozenset[Group]
    second: frozenset[Group]


def choose_personas(
    survey: Survey, library: PersonaLibrary, most: int
) -> Mapping[Group, tuple[Persona, ...]]:
    """Return up to `most` personas for each age group and gender of `survey`."""
    found: dict[Group, tuple[Persona, ...]] = {}
    for name, age, gender in AMERICANS:
        number = next((n for n, group in enumerate(survey.age_groups) if age in group), None)
        if number is None:
            continue
        group = number, GENDERS.index(gender)
        if len(found.get(group, ())) < most:
            found[group] = (*found.get(group, ()), library.find(name))
    return found


def choose_everyone(library: PersonaLibrary, most: int) -> tuple[Persona, ...]:
    """Return up to `most` personas for each of four age groups and gender, for people of unknown age."""
    bounds = (30, OLD, 61, 200)
    found: dict[Group, list[Persona]] = {}
    for name, age, gender in AMERICANS:
        group = next(n for n, bound in enumerate(bounds) if age < bound), GENDERS.index(gender)
        if len(found.setdefault(group, [])) < most:
            found[group].append(library.find(name))
    return tuple(persona for personas in found.values() for persona in personas)


def list_groups(survey: Survey) -> tuple[Group, ...]:
    """Return every age group with every gender."""
    return tuple((age, gender) for age in range(len(survey.age_groups)) for gender in range(len(GENDERS)))


def list_contrasts(survey: Survey) -> tuple[Contrast, ...]:
    """Return the contrasts that are compared: people below 45 and above, and women and men."""
    groups = list_groups(survey)
    young = frozenset(one for one in groups if survey.age_groups[one[0]].high < OLD)
    old = frozenset(one for one in groups if survey.age_groups[one[0]].low >= OLD)
    women = frozenset(one for one in groups if one[1] == 0)
    return (Contrast("age", young, old), Contrast("gender", women, frozenset(groups) - women))


def count_people(survey: Survey) -> Mapping[Group, int]:
    """Return the respondents of each group, of those whose age and gender are known."""
    return {
        (age, gender): int(np.sum((survey.ages == age) & (survey.genders == gender)))
        for age, gender in list_groups(survey)
    }
