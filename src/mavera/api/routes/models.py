"""GET /models and GET /models/{id}: the names that clients send as `model`."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.json import json_response
from mavera.api.http.lists import flag_of
from mavera.api.http.operations import Operation, Parameter
from mavera.api.wire.named_personas import find_persona, split_model
from mavera.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    PersonaNotFound,
    ServiceUnavailable,
    ValidationFailed,
)
from mavera.models.named import NamedModel
from mavera.personas.catalogue import AnyPersona
from mavera.personas.slugs import slug_of

_QUERY = (
    Parameter(
        "personas",
        "query",
        "With true, the list also has models with a persona behind, such as `mavera-1/gen-z-consumer`.",
        {"type": "boolean"},
    ),
)
_MODEL_ID = Parameter(
    "model_id",
    "path",
    "The model has this id. A persona may follow behind a slash.",
    {"type": "string", "maxLength": 300},
    may_have_slashes=True,
)
_CREATED = 1775001600  # 2026-04-01, when the model id was first served


class ModelObject(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A model, as OpenAI lists it. `context_tokens` is present if the operator set it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_tokens: int | None = None
    name: str | UnsetType = UNSET


class ModelList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ModelObject]


async def list_models(request: Request) -> Response:
    """List the models. With `personas`, also list each model with each persona."""
    principal = await authenticate(request)
    asked = flag_of(request, "personas")
    services = services_of(request)
    named = services.named_models.values()
    models = [_to_object(model) for model in named]
    if asked:
        principal.require("personas:read")
    if services.settings.list_persona_models if asked is None else asked:
        personas = await services.personas.roll(principal) if "personas:read" in principal.scopes else ()
        models += [_to_object(model, persona) for model in named for persona in personas]
    return json_response(ModelList(data=models))


async def get_model(request: Request) -> Response:
    """Return one model, with the persona behind its name if there is one."""
    principal = await authenticate(request)
    services = services_of(request)
    name, behind = split_model(request.path_params["model_id"], services.named_models)
    model = services.named_models.get(name)
    if model is None:
        known = ", ".join(services.named_models)
        raise NotFound(f"There is no such model here. Known models: {known}.", param="model")
    if behind is None:
        return json_response(_to_object(model))
    principal.require("personas:read")
    return json_response(_to_object(model, await find_persona(behind, "model", services.personas, principal)))


def _to_object(model: NamedModel, persona: AnyPersona | None = None) -> ModelObject:
    return ModelObject(
        id=model.name if persona is None else f"{model.name}/{slug_of(persona)}",
        name=UNSET if persona is None else persona.name,
        object="model",
        created=_CREATED,
        owned_by="mavera",
        context_tokens=model.config.context_tokens,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/models",
        list_models,
        "List models",
        "Models",
        response=ModelList,
        parameters=_QUERY,
        errors=(Forbidden, InvalidRequest, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "GET",
        "/models/{model_id}",
        get_model,
        "Get a model",
        "Models",
        response=ModelObject,
        parameters=(_MODEL_ID,),
        errors=(NotFound, PersonaNotFound, Forbidden, ServiceUnavailable),
    ),
)
