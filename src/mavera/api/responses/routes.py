"""POST /responses: bytes → request → turn → run → events. POST /responses/compact: likewise, to a summary."""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.auth import authenticate, owner_of, services_of
from mavera.api.http.decoding import decode, read_body
from mavera.api.http.dispatch import RUN_ERRORS, RunResponse
from mavera.api.http.idempotency import KEY_PARAMETER, once
from mavera.api.http.operations import Operation
from mavera.api.responses.answers import EVENTS, CompactedConversation, ResponseObject
from mavera.api.responses.compaction import CompactionEncoder, turn_of
from mavera.api.responses.schemas import CompactConversation, CreateResponse, items_of
from mavera.api.responses.stream import ResponseEncoder, usage_body
from mavera.api.wire.parameters import MODEL
from mavera.core.ids import new_id
from mavera.errors import InvalidRequest, PersonaNotFound
from mavera.runs.admission import ChargedRun


async def create_response(request: Request) -> Response:
    """Answer an input in a persona's voice."""
    services = services_of(request)
    principal = await authenticate(request)
    raw = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = await decode(raw, CreateResponse)
    turn = body.to_turn()
    encoder = ResponseEncoder(head_of(body), new_id=new_id, clock=now)

    async def begin() -> tuple[ChargedRun, Response]:
        ticket = await services.admission.admit(principal, turn)
        run = ticket.charge(
            services.runner.run(turn, principal.mode, owner_of(principal), caller=ticket.caller)
        )
        heartbeat_seconds = services.settings.heartbeat_seconds
        return run, RunResponse(
            run, encoder, stream=body.stream or False, heartbeat_seconds=heartbeat_seconds
        )

    return await once(request, principal, raw, begin)


async def compact_conversation(request: Request) -> Response:
    """Sum a conversation up, so that it can go on with less to read."""
    services = services_of(request)
    principal = await authenticate(request)
    raw = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = await decode(raw, CompactConversation)
    items = items_of(body.input)
    if not items:
        raise InvalidRequest("'input' has nothing in it that could be summed up.", param="input")
    turn = turn_of(items, model=body.model, instructions=body.instructions)
    encoder = CompactionEncoder(items, created_at=now(), new_id=new_id, usage_body=usage_body)

    async def begin() -> tuple[ChargedRun, Response]:
        ticket = await services.admission.admit(principal, turn)
        run = ticket.charge(services.runner.run(turn, principal.mode, caller=ticket.caller))
        return run, RunResponse(
            run, encoder, stream=False, heartbeat_seconds=services.settings.heartbeat_seconds
        )

    return await once(request, principal, raw, begin)


def head_of(body: CreateResponse) -> dict[str, Any]:
    """Return the Response as far as the request settles it."""
    return {
        "id": new_id("resp"),
        "created_at": now(),
        "model": body.model,
        "persona_id": body.persona_id,
        **({"persona_ids": body.persona_ids} if body.persona_ids else {}),
        **body.echo(),
    }


def now() -> int:
    return int(time.time())


OPERATIONS = (
    Operation(
        "POST",
        "/responses",
        create_response,
        "Create a response",
        "Responses",
        description="OpenAI's Responses API, with a persona. Streamed, it comes as named events.",
        request=CreateResponse,
        parameters=(KEY_PARAMETER,),
        example={"model": MODEL, "input": "How do you feel about sustainable fashion?", "persona_id": None},
        response=ResponseObject,
        errors=RUN_ERRORS,
        events=EVENTS,
    ),
    Operation(
        "POST",
        "/responses/compact",
        compact_conversation,
        "Compact a conversation",
        "Responses",
        description="Returns the latest user messages and one `compaction` item: the `input` of the next "
        "request, in place of all that was said before.",
        request=CompactConversation,
        parameters=(KEY_PARAMETER,),
        example={"model": MODEL, "input": [{"role": "user", "content": "We launch on Tuesday."}]},
        response=CompactedConversation,
        errors=tuple(error for error in RUN_ERRORS if error is not PersonaNotFound),
    ),
)
