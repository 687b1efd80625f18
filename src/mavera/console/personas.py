"""
Personas: browse, search, compare two or three, look at one with its versions, and take it as a file.

    w/{id}/personas                    the library's and the workspace's own, page by page
    w/{id}/personas/compare            what two or three care about, side by side
    w/{id}/personas/{persona}          one of them
    w/{id}/personas/{persona}/versions what each edit changed

`persona_forms.py` makes, edits, imports and deletes them.
"""

import base64
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from mavera.accounts.plans import Scope
from mavera.console.portraits import draw_portrait
from mavera.console.visit import Page, Visit
from mavera.errors import InvalidRequest, NotFound
from mavera.personas.catalogue import AnyPersona
from mavera.personas.custom import CustomPersona
from mavera.personas.files import to_toml
from mavera.personas.persona import CATEGORIES, BigFive, Profile
from mavera.personas.prompt import HIGH, LOW, TEMPER
from mavera.personas.repository import to_sheet
from mavera.personas.slugs import slug_of

READ: Scope = "personas:read"
WRITE: Scope = "personas:write"
PAGE_LENGTH = 24
MOST_COMPARED = 3
VERSIONS_A_PAGE = 20
_PATH = "/console/w/{workspace_id}/personas"


@dataclass(frozen=True, slots=True)
class Aspect:
    """One respect in which a persona is like something: a word or a few, or a list of things."""

    label: str
    things: tuple[str, ...]


async def show_personas(visit: Visit) -> Response:
    visit.principal.require(READ)
    query = visit.request.query_params
    category, search = query.get("category", ""), query.get("search", "")[:100]
    owner = query.get("owner", "")
    roll = await visit.services.personas.roll(visit.principal)
    try:
        found, following = roll.page(
            PAGE_LENGTH,
            query.get("after", "")[:64] or None,
            category=category if category in CATEGORIES else None,
            search=search or None,
            custom={"own": True, "library": False}.get(owner),
        )
    except InvalidRequest:
        return visit.redirect("personas")
    return visit.render(
        "personas/list.html",
        portraits=[draw_portrait(one) for one in found],
        following=following,
        category=category,
        categories=CATEGORIES,
        search=search,
        owner=owner,
        may_write=WRITE in visit.principal.scopes,
        most_compared=MOST_COMPARED,
    )


async def show_persona(visit: Visit) -> Response:
    persona = await find_persona(visit)
    custom = persona if isinstance(persona, CustomPersona) else None
    return visit.render(
        "personas/persona.html",
        portrait=draw_portrait(persona),
        persona=persona,
        custom=custom,
        slug=slug_of(persona),
        aspects=list_aspects(persona),
        form=_write_form(persona),
        may_write=WRITE in visit.principal.scopes,
        may_ask="responses" in visit.principal.scopes,
    )


async def compare_personas(visit: Visit) -> Response:
    """Put two or three personas side by side. A label that only one of them has stays, with dashes."""
    visit.principal.require(READ)
    ids = list(dict.fromkeys(visit.request.query_params.getlist("id")))
    if not 2 <= len(ids) <= MOST_COMPARED:
        return visit.render("personas/compare.html", portraits=[], rows=[], most_compared=MOST_COMPARED)
    people = [await visit.services.personas.get(one[:64], visit.principal) for one in ids]
    aspects = [{one.label: one.things for one in list_aspects(persona)} for persona in people]
    labels = list(dict.fromkeys(label for each in aspects for label in each))
    return visit.render(
        "personas/compare.html",
        portraits=[draw_portrait(one) for one in people],
        rows=[(label, _mark_shared([each.get(label, ()) for each in aspects])) for label in labels],
        most_compared=MOST_COMPARED,
    )


async def show_versions(visit: Visit) -> Response:
    persona = await find_persona(visit)
    if not isinstance(persona, CustomPersona):
        raise NotFound("A persona of the library has no versions.")
    text = visit.request.query_params.get("before", "")
    before = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    versions, following = await visit.services.personas.page_versions(
        visit.principal, persona.id, VERSIONS_A_PAGE, before
    )
    return visit.render("personas/versions.html", persona=persona, versions=versions, next_before=following)


async def export_persona(visit: Visit) -> Response:
    """Return a persona of the workspace as TOML, in the form that the import reads."""
    persona = await find_persona(visit)
    if not isinstance(persona, CustomPersona):
        raise NotFound("Only personas of the workspace can be taken as a file.")
    headers = {"content-disposition": f'attachment; filename="{slug_of(persona)}.toml"'}
    return Response(to_toml(to_sheet(persona)), media_type="application/toml", headers=headers)


async def find_persona(visit: Visit) -> AnyPersona:
    """Return the persona of the address. Raises Forbidden and PersonaNotFound."""
    visit.principal.require(READ)
    return await visit.services.personas.get(visit.request.path_params["persona_id"], visit.principal)


def _write_form(persona: AnyPersona) -> str:
    """Return the fragment by which the playground opens with this persona."""
    form = msgspec.json.encode({"personas": [persona.id]})
    return base64.urlsafe_b64encode(form).decode().rstrip("=")


def list_aspects(persona: AnyPersona) -> list[Aspect]:
    """Return what a persona is like, as far as it is known. The sample answers and phrases are left out."""
    profile = persona.profile if isinstance(persona, CustomPersona) else persona
    found = list(_list_profile(profile)) if profile is not None else []
    if isinstance(persona, CustomPersona):
        if persona.type is not None:
            found.append(("Buys for", ("a company" if persona.type == "B2B" else "their own household",)))
        known = {label for label, _ in found}
        for name in persona.details.__struct_fields__:
            value, label = (
                getattr(persona.details, name),
                _DETAILS.get(name, name.replace("_", " ").capitalize()),
            )
            things = _to_things(value)
            if things:
                found.append((f"{label}, stated" if label in known else label, things))
    return [Aspect(label, things) for label, things in found if things]


def _list_profile(profile: Profile) -> list[tuple[str, tuple[str, ...]]]:
    who, buying = profile.demographics, profile.buying
    return [
        ("Who speaks", (f"{who.speaker}, {who.identity}",)),
        ("Age band", (who.age_band,)),
        ("Home", (who.place, who.household)),
        ("Income", (who.income,)),
        ("Education", (who.education,)),
        ("Cares about", profile.values),
        ("Wants", profile.goals),
        ("Struggles with", profile.pains),
        ("Buys when", buying.triggers),
        ("Is stopped by", buying.objections),
        ("Hears of things from", buying.channels),
        ("Decides", (profile.decision_style,)),
        ("Money", (profile.money,)),
        ("Technology", (profile.technology,)),
        ("Knows little of", profile.unknowns),
        ("By nature", _describe_temper(profile.big_five)),
    ]


_DETAILS = {
    "values": "Cares about",
    "goals": "Wants",
    "pains": "Struggles with",
    "triggers": "Buys when",
    "objections": "Is stopped by",
    "channels": "Hears of things from",
    "age_band": "Age band",
}


def _describe_temper(five: BigFive) -> tuple[str, ...]:
    words = []
    for trait, (low, high) in TEMPER.items():
        score = getattr(five, trait)
        words += [low] if score <= LOW else [high] if score >= HIGH else []
    return tuple(words) or ("even-tempered",)


def _to_things(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, bool):
        return ("yes" if value else "no",)
    if isinstance(value, dict):
        return tuple(f"{key} {weight} of 5" for key, weight in value.items())
    return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


def _mark_shared(columns: list[tuple[str, ...]]) -> list[list[tuple[str, bool]]]:
    """Return each thing with whether another column has it too."""
    return [
        [(thing, any(thing in other for other in columns if other is not column)) for thing in column]
        for column in columns
    ]


ROUTES = (
    Page("GET", _PATH, show_personas),
    Page("GET", f"{_PATH}/compare", compare_personas),
    Page("GET", f"{_PATH}/{{persona_id}}", show_persona),
    Page("GET", f"{_PATH}/{{persona_id}}/versions", show_versions),
    Page("GET", f"{_PATH}/{{persona_id}}/export", export_persona),
)
