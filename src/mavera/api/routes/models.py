"""GET /models and GET /models/{id}: the one model id that clients send."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.auth import authenticate
from mavera.api.http.json import json_response
from mavera.api.http.operations import Operation, Parameter
from mavera.api.wire.parameters import MODEL
from mavera.errors import NotFound

_CREATED = 1775001600  # 2026-04-01, when the model id was first served


class ModelObject(msgspec.Struct, kw_only=True):
    """A model, as OpenAI lists one."""

    id: str = MODEL
    object: Literal["model"] = "model"
    created: int = _CREATED
    owned_by: str = "mavera"


class ModelList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ModelObject]


async def list_models(request: Request) -> Response:
    """List the models."""
    await authenticate(request)
    return json_response(ModelList(data=[ModelObject()]))


async def get_model(request: Request) -> Response:
    """Return one model."""
    await authenticate(request)
    if request.path_params["model_id"] != MODEL:
        raise NotFound(f"There is one model here: {MODEL}.", param="model")
    return json_response(ModelObject())


OPERATIONS = (
    Operation("GET", "/models", list_models, "List models", "Models", response=ModelList),
    Operation(
        "GET",
        "/models/{model_id}",
        get_model,
        "Get a model",
        "Models",
        response=ModelObject,
        parameters=(Parameter("model_id", "path", "The model's id.", {"type": "string", "maxLength": 64}),),
        errors=(NotFound,),
    ),
)
