"""
Find the persona that a request names outside of `persona_id`, for clients that cannot send that.

    {"model": "mavera-1/gen-z-consumer"}      a slug or an id behind the model's name
    X-Persona-Id: gen-z-consumer              a header

All places of a request have to name the same persona.
"""

from typing import Any

import msgspec

from mavera.accounts.principal import Principal
from mavera.api.http.bounds import MAX_PERSONA_ID
from mavera.api.http.operations import Parameter
from mavera.errors import InvalidRequest, PersonaNotFound
from mavera.models.named import NamedModels, check_model_name
from mavera.personas.catalogue import AnyPersona, Personas

HEADER = "X-Persona-Id"
PERSONA_HEADER = HEADER.lower().encode()
PERSONA_PARAMETER = Parameter(
    HEADER,
    "header",
    "The header names the persona by id or slug, for clients that cannot send `persona_id`.",
    {"type": "string", "maxLength": MAX_PERSONA_ID},
)


def split_model(name: str, known: NamedModels) -> tuple[str, str | None]:
    """Split `name` into the model and the persona behind it. Names of models may have slashes."""
    if name in known:
        return name, None
    model, slash, persona = name.rpartition("/")
    return (model, persona) if slash and model in known else (name, None)


async def name_persona(
    body: Any, header: str | None, known: NamedModels, personas: Personas, principal: Principal
) -> Any:
    """
    Return `body` with only the model's name in `model`, and the named persona in `persona_id`.

    Raises PersonaNotFound if there is no such persona, and InvalidRequest if two different ones are named.
    """
    model, behind = split_model(body.model, known)
    check_model_name(model, known)
    if behind is None and header is None:
        return body
    takes_persona = hasattr(body, "persona_id")
    changes: dict[str, Any] = {"model": model}
    named: dict[str, str] = {}
    if takes_persona and body.persona_id is not None:
        named["persona_id"] = body.persona_id
    if behind is not None:
        named["model"] = (await find_persona(behind, "model", personas, principal)).id
    # The audience of a body overrides a header, because some clients send the header with every request.
    if header is not None and takes_persona and not body.mosaic_mode:
        named[HEADER] = (await find_persona(header, HEADER, personas, principal)).id
    if len(set(named.values())) > 1:
        places = " and ".join(f"'{place}' names {_quote_id(one)}" for place, one in named.items())
        raise InvalidRequest(f"Two personas are named: {places}. Send one.", param=list(named)[-1])
    if takes_persona and named:
        changes["persona_id"] = next(iter(named.values()))
    return msgspec.structs.replace(body, **changes)


def _quote_id(persona_id: str) -> str:
    return f"'{persona_id[:MAX_PERSONA_ID]}'"


async def find_persona(given: str, param: str, personas: Personas, principal: Principal) -> AnyPersona:
    """Return the persona with the id or slug `given`. Raises PersonaNotFound, which names `param`."""
    try:
        return await personas.find(given[: MAX_PERSONA_ID + 1], principal)
    except PersonaNotFound as error:
        raise PersonaNotFound(error.message, param=param) from error
