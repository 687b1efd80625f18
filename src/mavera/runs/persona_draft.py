"""
Draft a person from a name and a description, in parts.

    description → facts that hold (rules) ┐
                                          ├→ life → wishes, buying, voice → sample turns → Drafted
    name, description, as data            ┘

A part is one small JSON answer whose grammar leaves no room against the facts: an age of 25 to 34 can only
be one of these. Other facts that a part lost are put back. A draft that copies the example of the
documentation is not returned. Tokens and time of a draft are bounded.
"""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from mavera.core.events import RunCompleted
from mavera.core.prompt import Prompt
from mavera.core.speech import find_copied_grams
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.collecting import collect_text
from mavera.models.model import Model
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.custom import (
    PLAIN_TURNS,
    PersonaType,
    Sheet,
    build_custom_prefix,
    clean_line,
    clean_value,
)
from mavera.personas.described import DescribedFacts, find_facts, find_stems, find_unmentioned, mentions
from mavera.personas.persona import Buying as BuyingFacts
from mavera.personas.persona import Demographics, Persona, Profile, SampleTurn
from mavera.personas.persona import Voice as SpokenVoice
from mavera.runs.persona_parts import (
    Buying,
    Life,
    Part,
    Voice,
    Wishes,
    build_part_prompt,
    copies_example,
    describe_request,
    speaks_of,
    tidy_part,
)
from mavera.runs.sample_turns import draw_turns
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.stage import join_stages
from mavera.runs.structured_output import HoldToFormat

# The persona that the documentation shows. Models know it, and copies of it are refused.
EXAMPLE = "SMB Owner"
# A slow machine with the embedded model needs about a minute, and a shared one several.
MOST_SECONDS = 600.0
TRIES = 2
PART_TRIES = 3
_MOST_SAYINGS = 2
# No drafted person says these phrases. The prompt does not contain them.
_TABOO = ("As an AI", "Great question", "In conclusion")

P = TypeVar("P", Life, Wishes, Buying, Voice)


@dataclass(frozen=True, slots=True)
class Drafted:
    """
    A drafted person.

    `facts` are those that the description gives, and the profile contradicts none of them. `unmentioned` are
    its places and figures that the profile does not repeat. The prompt still has them, in the description.
    """

    profile: Profile
    facts: DescribedFacts
    unmentioned: tuple[str, ...]
    usage: Usage


async def draft(model: Model, name: str, description: str, kind: PersonaType | None) -> Drafted:
    """
    Return a person, and the usage of drafting them.

    Raises ServiceUnavailable if no answer of the model fits or if it takes more than ten minutes, and
    APIError if the model fails.
    """
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await _Drafter(model, name, description, kind).draft()
    except TimeoutError as error:
        raise _make_unusable_error() from error


class _Drafter:
    """Drafts one person. `usage` grows with each answer of the model."""

    def __init__(self, model: Model, name: str, description: str, kind: PersonaType | None) -> None:
        self._model = model
        self._sheet = Sheet(
            name=name, description=description, category="Lifestyle", pipeline_type="north_star", type=kind
        )
        self._asked = describe_request(name, description, kind)
        self._facts = find_facts(description)
        self._stems = find_stems(f"{name} {description}")
        self._checker = SchemaChecker()
        self._usage = Usage()

    async def draft(self) -> Drafted:
        example = PersonaLibrary.load().find(EXAMPLE)
        for _ in range(TRIES):
            life = keep_facts(await self._ask_part(Life), self._facts)
            wishes = await self._ask_part(Wishes, life)
            buying = await self._ask_part(Buying, life, wishes)
            voice = await self._ask_part(Voice, life, wishes, buying)
            profile = to_profile(life, wishes, buying, voice)
            if not find_copies(profile, example):
                break
        else:
            raise _make_unusable_error()
        prefix = build_custom_prefix(replace(self._sheet, profile=profile))
        forbidden = [turn.answer for turn in example.turns]
        turns, spent = await draw_turns(
            self._ask_text,
            prefix,
            audience=self._sheet.description,
            seed="\n".join(self._asked.values()),
            forbidden=forbidden,
        )
        profile = replace(profile, turns=clean_turns(turns))
        text = " ".join(list_texts(profile))
        return Drafted(profile, self._facts, find_unmentioned(self._facts, text), self._usage + spent)

    async def _ask_part(self, part: type[P], *done: Part) -> P:
        """
        Return one part. Raises ServiceUnavailable if no answer fits.

        A second try follows an answer that does not fit or copies the example. The last one has no example.
        Wishes that could be anybody's are asked for once more.
        """
        for left in reversed(range(PART_TRIES)):
            prompt = build_part_prompt(part, self._asked, self._facts, done, has_example=left > 0)
            found = await self._ask_json(prompt)
            try:
                answer = msgspec.convert(tidy_part(clean_value(found)), part)
            except msgspec.ValidationError:  # a text was empty when it was cleaned
                continue
            if copies_example(answer):
                continue
            if (
                left < PART_TRIES - 1
                or part is not Wishes
                or speaks_of(msgspec.to_builtins(answer), self._stems)
            ):
                return answer
        raise _make_unusable_error()

    async def _ask_json(self, prompt: Prompt) -> Any:
        """Return the value of an answer in JSON, or None if it is not whole."""
        ask = join_stages([HoldToFormat(prompt.format, self._model.profile, self._checker)], self._model)
        completed: RunCompleted | None = None
        async with aclosing(await ask(prompt)) as events:
            async for event in events:
                if isinstance(event, RunCompleted):
                    completed = event
        if completed is None:
            return None
        self._usage += completed.usage
        return completed.parsed.value if completed.parsed is not None else None

    async def _ask_text(self, prompt: Prompt) -> tuple[str, Usage]:
        return await collect_text(await join_stages([], self._model)(prompt))


def keep_facts(life: Life, facts: DescribedFacts) -> Life:
    """Return `life` with the place, household and income of the description, if it lost them."""
    changed: dict[str, Any] = {}
    if any(not mentions(life.place, place) for place in facts.places):
        changed |= {"town": "; ".join(facts.places)[:50], "country": ""}
    lost = [one for one in facts.household if not mentions(life.household, one)]
    if lost:
        changed["household"] = ", ".join(facts.household)[:50]
    if facts.income and not mentions(life.income, facts.income):
        changed["income"] = facts.income[:40]
    if facts.ages is not None:
        # A model that decoding does not hold to the schema may have another age.
        changed["age"] = min(max(life.age, facts.ages[0]), facts.ages[1])
    return replace(life, **changed)


def to_profile(life: Life, wishes: Wishes, buying: Buying, voice: Voice) -> Profile:
    """Join the parts to a profile, with the plain turns in the place of the person's own."""
    young, old = max(10, life.age - 5), min(99, life.age + 5)
    return Profile(
        demographics=Demographics(
            speaker=f"{life.first_name} {life.surname}",
            identity=f"{life.age}, {life.occupation}",
            age_band=f"{young}-{old}",
            place=life.place,
            income=life.income,
            education=life.education,
            household=life.household,
        ),
        buying=BuyingFacts(triggers=buying.triggers, objections=buying.objections, channels=buying.channels),
        decision_style=buying.decision_style,
        money=buying.money,
        technology=buying.technology,
        voice=SpokenVoice(
            reading_level=voice.reading_level,
            register=voice.register,
            phrases=voice.phrases,
            taboo=_TABOO,
        ),
        big_five=voice.big_five.to_big_five(),
        turns=PLAIN_TURNS,
        **asdict(wishes),
    )


def clean_turns(turns: tuple[SampleTurn, ...]) -> tuple[SampleTurn, ...]:
    """Return sample turns with cleaned texts."""
    return tuple(replace(turn, answer=clean_line(turn.answer)) for turn in turns)


def find_copies(profile: Profile, example: Persona) -> list[str]:
    """Return which parts of `profile` are the example's: name, home, household, sayings or other texts."""
    names = ("speaker", "place", "household")
    copies = [name for name in names if _fold(profile, name) == _fold(example, name)]
    sayings = {phrase.casefold() for phrase in example.voice.phrases}
    if len(sayings.intersection(phrase.casefold() for phrase in profile.voice.phrases)) >= _MOST_SAYINGS:
        copies.append("phrases")
    if not _find_example_grams().isdisjoint(find_copied_grams(list_texts(profile))):
        copies.append("texts")
    return copies


@lru_cache(maxsize=1)
def _find_example_grams() -> set[tuple[str, ...]]:
    return find_copied_grams(list_texts(PersonaLibrary.load().find(EXAMPLE)))


def list_texts(profile: Profile) -> list[str]:
    """Return every text of `profile`, except the plain turns."""
    own = replace(profile, turns=tuple(turn for turn in profile.turns if turn not in PLAIN_TURNS))
    return list(_walk(msgspec.to_builtins(own)))


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _walk(inner)


def _fold(profile: Profile, name: str) -> str:
    return str(getattr(profile.demographics, name)).casefold()


def _make_unusable_error() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The model did not draft a usable persona; nothing was charged. Retry, or say more in 'description'.",
        retry_after=1,
    )
