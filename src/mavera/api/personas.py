"""GET /personas and GET /personas/{id}: who can answer. The prompt is never part of it."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.api.auth import authenticate, services_of
from mavera.api.json import json_response
from mavera.api.lists import LIST_PARAMETERS, flag_of, limit_of, list_body, refuse_unknown_query
from mavera.api.operation import Operation, Parameter
from mavera.errors import Forbidden, InvalidRequest, PersonaNotFound, ValidationFailed
from mavera.personas.persona import Persona

_FILTERS = (
    Parameter("category", "query", "Only personas of this category.", {"type": "string"}),
    Parameter("search", "query", "Only personas with this in name or description.", {"type": "string"}),
    Parameter("custom", "query", "Only custom personas, or only the library's.", {"type": "boolean"}),
    Parameter("expert", "query", "Only expert personas, or only the others.", {"type": "boolean"}),
)
_KNOWN_QUERY = tuple(parameter.name for parameter in (*_FILTERS, *LIST_PARAMETERS))


class PersonaObject(msgspec.Struct, kw_only=True):
    """A persona's public side."""

    id: str
    object: Literal["persona"] = "persona"
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


def to_object(persona: Persona) -> PersonaObject:
    return PersonaObject(
        id=persona.id,
        name=persona.name,
        category=persona.category,
        description=persona.description,
        is_custom=persona.is_custom,
        is_expert=persona.is_expert,
        created_at=persona.created_at,
    )


async def list_personas(request: Request) -> Response:
    """List the personas, page by page."""
    await authenticate(request, "personas:read")
    refuse_unknown_query(request, _KNOWN_QUERY)
    query = request.query_params
    personas, next_cursor = services_of(request).personas.page(
        limit_of(request),
        query.get("cursor"),
        category=query.get("category"),
        search=query.get("search"),
        custom=flag_of(request, "custom"),
        expert=flag_of(request, "expert"),
    )
    return json_response(list_body([to_object(persona) for persona in personas], next_cursor))


async def get_persona(request: Request) -> Response:
    """Return one persona."""
    await authenticate(request, "personas:read")
    return json_response(to_object(services_of(request).personas.get(request.path_params["persona_id"])))


OPERATIONS = (
    Operation(
        "GET",
        "/personas",
        list_personas,
        "List personas",
        "Personas",
        response=PersonaList,
        parameters=(*_FILTERS, *LIST_PARAMETERS),
        errors=(Forbidden, InvalidRequest, ValidationFailed),
    ),
    Operation(
        "GET",
        "/personas/{persona_id}",
        get_persona,
        "Get a persona",
        "Personas",
        response=PersonaObject,
        parameters=(Parameter("persona_id", "path", "The persona's id.", {"type": "string"}),),
        errors=(Forbidden, PersonaNotFound),
    ),
)
