"""
Build the panel of a study: its personas with weights, attributes and the digest of their prompts.

    study.personas + personas of the catalogue  →  Panel

Quotas, weights and banners group by attributes. A persona's file gives `age` (a group, from the
middle of the age band), `place` and `category`; it gives `gender` only if its texts use a pronoun or a word
of kinship for the person. The study file adds attributes and replaces them.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mavera.focus_groups.study import PersonaChoice, Study
from mavera.personas.catalogue import AnyPersona, build_prefix
from mavera.personas.custom import CustomPersona

AGE = "age"
# Used if neither the weights nor the quotas of a study name age groups.
AGE_GROUPS = ("18-34", "35-54", "55+")

_BAND = re.compile(r"\s*(\d{1,3})\s*(?:[-–—]\s*(\d{1,3})|\+)\s*")
_SHE = re.compile(r"\b(she|her|hers|herself|widow|(grand)?mother of)\b", re.IGNORECASE)
_HE = re.compile(r"\b(he|his|him|himself|widower|(grand)?father of)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Panelist:
    """
    A persona of a study. The weights of a panel add up to 1.

    `prompt_digest` changes whenever the persona's prompt does. The personas of the library have version 1.
    """

    id: str
    name: str
    version: int
    weight: float
    attributes: Mapping[str, str]
    prompt_digest: str


Panel = tuple[Panelist, ...]


def build_panel(
    study: Study, personas: Sequence[AnyPersona], prompts: Mapping[str, str] | None = None
) -> Panel:
    """
    Return the panel of `study`. `personas` are those of `study.personas`, in the same order.

    `prompts` has the digests that a stored study was made with, by the persona's id. They name its cells,
    also after a release has changed the prompts of the library.
    """
    total = sum(choice.weight for choice in study.personas)
    groups = list_age_groups(study)
    return tuple(
        _build_panelist(choice, persona, choice.weight / total, groups, (prompts or {}).get(persona.id))
        for choice, persona in zip(study.personas, personas, strict=True)
    )


def _build_panelist(
    choice: PersonaChoice,
    persona: AnyPersona,
    weight: float,
    groups: Sequence[str],
    prompt_digest: str | None,
) -> Panelist:
    prefix = msgspec.json.encode(build_prefix(persona))
    return Panelist(
        id=persona.id,
        name=persona.name,
        version=persona.version if isinstance(persona, CustomPersona) else 1,
        weight=weight,
        attributes=read_attributes(persona, groups) | choice.attributes,
        prompt_digest=prompt_digest or hashlib.sha256(prefix).hexdigest(),
    )


def read_attributes(persona: AnyPersona, age_groups: Sequence[str] = AGE_GROUPS) -> dict[str, str]:
    """Return the attributes that a persona's file gives."""
    found = {"category": str(persona.category)}
    profile = persona.profile if isinstance(persona, CustomPersona) else persona
    details = persona.details if isinstance(persona, CustomPersona) else None
    band: str | None
    place: str | None
    if profile is not None:
        band, place = profile.demographics.age_band, profile.demographics.place
        gender = _read_gender(f"{profile.demographics.identity}\n{persona.description}")
    else:
        gender = None
        band, place = (details.age_band, details.locale_value) if details else (None, None)
    age = find_age_group(band, age_groups) if band else None
    return found | {k: v for k, v in (("age", age), ("gender", gender), ("place", place)) if v}


def _read_gender(text: str) -> str | None:
    is_female, is_male = bool(_SHE.search(text)), bool(_HE.search(text))
    if is_female == is_male:
        return None
    return "female" if is_female else "male"


def list_age_groups(study: Study) -> tuple[str, ...]:
    """Return the age groups that the weights and quotas of a study name, or the usual three."""
    named: Iterable[str] = study.sample.weights.get(AGE, {})
    quotas = (quota.where[AGE] for quota in study.sample.quotas if AGE in quota.where)
    groups = tuple(dict.fromkeys(group for group in (*named, *quotas) if _BAND.fullmatch(group)))
    return groups or AGE_GROUPS


def find_age_group(band: str, groups: Iterable[str]) -> str | None:
    """Return the group that has the middle of `band`, as in "25-38", or None if there is no such group."""
    age = _BAND.fullmatch(band)
    if age is None:
        return None
    middle = (int(age[1]) + int(age[2] or age[1])) / 2
    for group in groups:
        bounds = _BAND.fullmatch(group)
        # Ages are whole years, so somebody of 34.5 belongs to 18-34.
        if bounds and int(bounds[1]) <= middle < int(bounds[2] or 200) + 1:
            return group
    return None
