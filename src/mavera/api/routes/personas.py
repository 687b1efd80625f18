"""
GET /personas and GET /personas/{id}: the personas that can answer, without their prompts.

A page is built once and sent again until a persona is made, changed or deleted. So a list costs little more
than the check of its key.
"""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.json import json_bytes, json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, flag_of, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.api.routes.custom_personas import CustomPersonaObject, to_custom_object
from mavera.errors import Forbidden, InvalidRequest, PersonaNotFound, ServiceUnavailable, ValidationFailed
from mavera.personas.builtin import Roll
from mavera.personas.catalogue import AnyPersona
from mavera.personas.custom import CustomPersona
from mavera.personas.persona import CATEGORIES
from mavera.personas.slugs import slug_of

_FILTERS = (
    Parameter(
        "category",
        "query",
        "The list holds only personas of this category.",
        {"type": "string", "enum": list(CATEGORIES)},
    ),
    Parameter(
        "search",
        "query",
        "The list holds only personas with these words in name or description; small slips are forgiven.",
        {"type": "string", "maxLength": 100},
    ),
    Parameter(
        "custom",
        "query",
        "With true, the list holds only custom personas; with false, only the library's.",
        {"type": "boolean"},
    ),
    Parameter(
        "expert",
        "query",
        "With true, the list holds only expert personas; with false, only the others.",
        {"type": "boolean"},
    ),
)
_MOST_PAGES, _LONGEST_QUERY = 500, 200
_QUERY = (*_FILTERS, *LIST_PARAMETERS)


class PersonaObject(msgspec.Struct, kw_only=True):
    """The public members of a persona."""

    id: str
    object: Literal["persona"] = "persona"
    slug: str
    name: str
    category: str
    description: str
    is_custom: bool
    is_expert: bool
    created_at: int


class PersonaList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[PersonaObject]
    has_more: bool
    next_cursor: str | None


def to_object(persona: AnyPersona) -> PersonaObject:
    return PersonaObject(
        id=persona.id,
        slug=slug_of(persona),
        name=persona.name,
        category=persona.category,
        description=persona.description,
        is_custom=persona.is_custom,
        is_expert=persona.is_expert,
        created_at=persona.created_at,
    )


async def list_personas(request: Request) -> Response:
    """List the library's personas and the workspace's custom personas, page by page."""
    principal = await authenticate(request, "personas:read")
    roll = await services_of(request).personas.roll(principal)
    asked: bytes = request.scope["query_string"]
    page: Response | None = roll.pages.get(asked)
    if page is None:
        page = Response(_list_page(request, roll), media_type="application/json")
        if len(roll.pages) < _MOST_PAGES and len(asked) < _LONGEST_QUERY:
            roll.pages[asked] = page
    return page


def _list_page(request: Request, roll: Roll[AnyPersona]) -> bytes:
    check_query(request, _QUERY)
    query = request.query_params
    category, search = query.get("category"), query.get("search")
    if category is not None and category not in CATEGORIES:
        raise ValidationFailed(f"'category' has to be one of {', '.join(CATEGORIES)}.", param="category")
    personas, next_cursor = roll.page(
        limit_of(request),
        query.get("cursor"),
        category=category,
        search=search,
        custom=flag_of(request, "custom"),
        expert=flag_of(request, "expert"),
    )
    return json_bytes(list_body([to_object(persona) for persona in personas], next_cursor))


async def get_persona(request: Request) -> Response:
    """Return a persona. A custom persona has all its details."""
    principal = await authenticate(request, "personas:read")
    persona = await services_of(request).personas.get(request.path_params["persona_id"], principal)
    if isinstance(persona, CustomPersona):
        return json_response(to_custom_object(persona))
    return json_response(to_object(persona))


OPERATIONS = (
    Operation(
        "GET",
        "/personas",
        list_personas,
        "List personas",
        "Personas",
        response=PersonaList,
        parameters=_QUERY,
        errors=(Forbidden, InvalidRequest, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "GET",
        "/personas/{persona_id}",
        get_persona,
        "Get a persona",
        "Personas",
        response=PersonaObject,
        other_responses=(CustomPersonaObject,),
        parameters=(
            Parameter("persona_id", "path", "The persona has this id.", {"type": "string", "maxLength": 64}),
        ),
        errors=(Forbidden, PersonaNotFound, ServiceUnavailable),
    ),
)
