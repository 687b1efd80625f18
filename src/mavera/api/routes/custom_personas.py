"""
POST, PATCH and DELETE of the custom personas of a workspace.

    POST          body → Sheet (cleaned) → credits held → drafted, for north_star → stored → charged → 201
    POST drafts   body → Sheet (cleaned) → drafted → 200, nothing stored or charged

A persona that cannot be charged is not stored, and a failed draft costs nothing. The personas of a test key
cost nothing, and only test keys find them.
"""

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.principal import Principal
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.bounds import Identifier
from mavera.api.http.decoding import decode, read_short_body
from mavera.api.http.dispatch import UntilDisconnect, wait_for_disconnect
from mavera.api.http.idempotency import KEY_PARAMETER, keep_made
from mavera.api.http.json import json_bytes, json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.api.wire.parameters import MODEL, ModelName
from mavera.errors import (
    APIError,
    BudgetExceeded,
    CreditsExhausted,
    Forbidden,
    InvalidRequest,
    NotFound,
    PersonaNotFound,
    RequestTooLarge,
    ServiceUnavailable,
    StillRunning,
    ValidationFailed,
    VersionConflict,
)
from mavera.models.named import check_model_name
from mavera.personas.custom import (
    DESCRIPTION_MAX,
    NAME_MAX,
    NAME_MIN,
    CustomPersona,
    Details,
    PersonaType,
    Pipeline,
    Sheet,
)
from mavera.personas.persona import Category, Profile
from mavera.personas.slugs import slug_of

_ID = Parameter("persona_id", "path", "The persona has this id.", {"type": "string", "maxLength": 64})
_DETAIL_NAMES = Details.__struct_fields__
_PLAIN_NAMES = ("name", "description", "category", "type", "profile")
_ERRORS: tuple[type[APIError], ...] = (
    Forbidden,
    InvalidRequest,
    RequestTooLarge,
    ValidationFailed,
    ServiceUnavailable,
)

PersonaName = Annotated[str, Meta(min_length=NAME_MIN, max_length=NAME_MAX)]
PersonaDescription = Annotated[str, Meta(max_length=DESCRIPTION_MAX)]


class PersonaBody(Details, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Details are members of `details` or, as in the hosted API, of the body itself."""

    description: PersonaDescription | None = None
    category: Category | None = None
    type: PersonaType | None = None
    is_expert: bool | None = None
    details: Details | None = None
    profile: Annotated[
        Profile | None, Meta(description="A whole profile, in the form of the library's files.")
    ] = None


class CreatePersona(PersonaBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The body of POST. The `mode` decides its other members:

        north_star     `name` and `description`; the model drafts the rest
        intermediate   `type`, B2B or B2C, and any known details
        advanced       any details, or a whole `profile`

    `model` names the model that drafts. The default is `mavera-1`.
    """

    pipeline_type: Pipeline
    name: PersonaName
    workspace_id: Identifier | None = None
    model: ModelName | None = None


class UpdatePersona(PersonaBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The body of PATCH. Omitted members stay as they are, and null removes an optional member.

    With `version`, the change is refused if another version has been stored since.
    """

    name: PersonaName | None = None
    version: Annotated[int, Meta(ge=1)] | None = None


class CustomPersonaObject(msgspec.Struct, kw_only=True):
    """A custom persona. `version` counts its edits from 1."""

    id: str
    object: Literal["custom_persona"] = "custom_persona"
    slug: str
    name: str
    category: str
    description: str
    pipeline_type: str
    type: str | None
    is_custom: bool = True
    is_expert: bool
    version: int
    created_at: int
    updated_at: int
    credits_charged: int
    details: dict[str, Any]
    profile: Profile | None


class DraftPersona(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The body of POST /personas/drafts: what the model drafts a person from.

    `model` names the model that drafts. The default is `mavera-1`.
    """

    name: PersonaName
    description: PersonaDescription
    type: PersonaType | None = None
    model: ModelName | None = None


class PersonaDraftObject(msgspec.Struct, kw_only=True):
    """
    A drafted person, which is stored nowhere. Send `profile` to POST /personas to make a persona of it.

    `facts` are those that the description gives, in words, by their names. `unmentioned` are places and
    figures of the description that the profile does not repeat. `credits_to_make` is the persona's price.
    """

    object: Literal["custom_persona.draft"] = "custom_persona.draft"
    name: str
    description: str
    type: str | None
    profile: Profile
    facts: dict[str, str]
    unmentioned: list[str]
    credits_charged: int = 0
    credits_to_make: int


class ChangeObject(msgspec.Struct, kw_only=True):
    """A field that changed, such as `details.pains`, with the texts that left and those that came."""

    field: str
    removed: list[str]
    added: list[str]


class VersionObject(msgspec.Struct, kw_only=True):
    """A version of a custom persona, and what it changed. The first one changed nothing."""

    object: Literal["custom_persona.version"] = "custom_persona.version"
    persona: CustomPersonaObject
    changes: list[ChangeObject]


class VersionList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[VersionObject]
    has_more: bool
    next_cursor: str | None


class DeletedPersona(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["custom_persona.deleted"] = "custom_persona.deleted"
    deleted: bool = True


def to_custom_object(persona: CustomPersona) -> CustomPersonaObject:
    details = {"pipeline_type": persona.pipeline_type, "persona_type": persona.type}
    return CustomPersonaObject(
        id=persona.id,
        slug=slug_of(persona),
        name=persona.name,
        category=persona.category,
        description=persona.description,
        pipeline_type=persona.pipeline_type,
        type=persona.type,
        is_expert=persona.is_expert,
        version=persona.version,
        created_at=persona.created_at,
        updated_at=persona.updated_at,
        credits_charged=persona.credits_charged,
        details={**details, **msgspec.to_builtins(persona.details)},
        profile=persona.profile,
    )


async def create_persona(request: Request) -> Response:
    """Create a custom persona, for credits."""
    principal = await authenticate(request, "personas:write")
    raw = await read_short_body(request)
    body = await decode(raw, CreatePersona)
    _refuse_other_workspace(principal, body.workspace_id)
    members = _to_members(body, body.__struct_fields__)
    category = members.pop("category", None) or ("Professional" if body.type == "B2B" else "Lifestyle")
    sheet = Sheet.from_members(
        pipeline_type=body.pipeline_type,
        details=_to_details(body, body.__struct_fields__),
        **{"description": "", "category": category, **members},
    )

    model = body.model or MODEL
    check_model_name(model, services_of(request).named_models)
    maker = services_of(request).persona_maker
    watch = partial(UntilDisconnect, partial(wait_for_disconnect, request.receive))

    async def make() -> bytes:
        return json_bytes(to_custom_object(await maker.make(principal, sheet, watch, model=model)))

    return await keep_made(request, principal, raw, make)


async def draft_persona(request: Request) -> Response:
    """Draft a person and show them. It costs no credits, and stores nothing."""
    principal = await authenticate(request, "personas:write")
    raw = await read_short_body(request)
    body = await decode(raw, DraftPersona)
    sheet = Sheet.from_members(
        pipeline_type="north_star",
        name=body.name,
        description=body.description,
        type=body.type,
        category="Professional" if body.type == "B2B" else "Lifestyle",
        details={},
    )
    services = services_of(request)
    model = body.model or MODEL
    check_model_name(model, services.named_models)
    watch = partial(UntilDisconnect, partial(wait_for_disconnect, request.receive))
    drafted = await services.persona_maker.preview(principal, sheet, watch, model=model)
    shown = PersonaDraftObject(
        name=sheet.name,
        description=sheet.description,
        type=sheet.type,
        profile=drafted.profile,
        facts=drafted.facts.describe(),
        unmentioned=list(drafted.unmentioned),
        credits_to_make=services.persona_maker.price(principal),
    )
    return json_response(shown)


async def update_persona(request: Request) -> Response:
    """Change a persona. From then on, the new version answers."""
    principal = await authenticate(request, "personas:write")
    services = services_of(request)
    raw = await read_short_body(request)
    body = await decode(raw, UpdatePersona)
    sent = tuple(msgspec.json.decode(raw, type=dict[str, Any]))
    members, details = _to_members(body, sent), _to_details(body, sent)
    for name in ("name", "category", "is_expert"):
        if name in sent and getattr(body, name) is None:
            raise ValidationFailed(f"'{name}' cannot be null.", param=name)

    def change(before: Sheet) -> Sheet:
        old = {name: getattr(before, name) for name in Sheet.__struct_fields__}
        emptied = "details" in sent and body.details is None
        merged = {**({} if emptied else msgspec.to_builtins(before.details)), **details}
        kept = {name: value for name, value in merged.items() if value is not None}
        return Sheet.from_members(**{**old, **members, "details": kept})

    updated = await services.personas.update(
        principal, request.path_params["persona_id"], change, version=body.version
    )
    return json_response(to_custom_object(updated))


async def list_versions(request: Request) -> Response:
    """List the versions of a custom persona, newest first, with what each of them changed."""
    principal = await authenticate(request, "personas:read")
    check_query(request, LIST_PARAMETERS)
    cursor = request.query_params.get("cursor")
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        raise ValidationFailed("'cursor' is the next_cursor of the page before.", param="cursor")
    versions, following = await services_of(request).personas.page_versions(
        principal, request.path_params["persona_id"], limit_of(request), int(cursor) if cursor else None
    )
    data = [
        VersionObject(
            persona=to_custom_object(one.persona),
            changes=[msgspec.convert(each, ChangeObject, from_attributes=True) for each in one.differences],
        )
        for one in versions
    ]
    return json_response(list_body(data, str(following) if following else None))


async def delete_persona(request: Request) -> Response:
    """Delete a persona and all its versions. Answers in progress go on to their end."""
    principal = await authenticate(request, "personas:write")
    persona_id = request.path_params["persona_id"]
    await services_of(request).personas.delete(principal, persona_id)
    return json_response(DeletedPersona(id=persona_id))


def _refuse_other_workspace(principal: Principal, workspace_id: str | None) -> None:
    if workspace_id is not None and workspace_id != principal.workspace_id:
        raise NotFound("This API key has no such workspace.", param="workspace_id")


def _to_members(body: PersonaBody, sent: tuple[str, ...]) -> dict[str, Any]:
    """Return the members of the body that belong to a sheet."""
    members = {name: getattr(body, name) for name in _PLAIN_NAMES if name in sent}
    if members.get("description", "") is None:
        members["description"] = ""
    if "is_expert" in sent:
        members["expert"] = body.is_expert or False
    return members


def _to_details(body: PersonaBody, sent: tuple[str, ...]) -> dict[str, Any]:
    """Return the details from both places. Raises InvalidRequest if a detail is in both."""
    flat = {name: getattr(body, name) for name in _DETAIL_NAMES if name in sent}
    nested = msgspec.to_builtins(body.details) if body.details is not None else {}
    for name in nested:
        if flat.get(name) is not None:
            raise InvalidRequest(f"'{name}' is in 'details' and beside it.", param=name)
    return {**flat, **nested}


OPERATIONS = (
    Operation(
        "POST",
        "/personas",
        create_persona,
        "Create a persona",
        "Personas",
        request=CreatePersona,
        parameters=(KEY_PARAMETER,),
        example={
            "pipeline_type": "north_star",
            "name": "Night-shift nurse",
            "description": "Nurses on permanent nights in Spain",
        },
        response=CustomPersonaObject,
        status=201,
        errors=(*_ERRORS, CreditsExhausted, BudgetExceeded, NotFound, StillRunning),
    ),
    Operation(
        "POST",
        "/personas/drafts",
        draft_persona,
        "Draft a persona",
        "Personas",
        request=DraftPersona,
        example={"name": "Night-shift nurse", "description": "Nurses on permanent nights in Spain"},
        response=PersonaDraftObject,
        errors=_ERRORS,
    ),
    Operation(
        "PATCH",
        "/personas/{persona_id}",
        update_persona,
        "Update a persona",
        "Personas",
        request=UpdatePersona,
        example={"name": "Thrifty Student", "pains": ["Rent takes half of the month's money."]},
        response=CustomPersonaObject,
        parameters=(_ID,),
        errors=(*_ERRORS, PersonaNotFound, VersionConflict),
    ),
    Operation(
        "GET",
        "/personas/{persona_id}/versions",
        list_versions,
        "List versions of a persona",
        "Personas",
        response=VersionList,
        parameters=(_ID, *LIST_PARAMETERS),
        errors=(Forbidden, InvalidRequest, PersonaNotFound, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "DELETE",
        "/personas/{persona_id}",
        delete_persona,
        "Delete a persona",
        "Personas",
        response=DeletedPersona,
        parameters=(_ID,),
        errors=(Forbidden, PersonaNotFound, ServiceUnavailable),
    ),
)
