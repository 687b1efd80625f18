"""POST /responses: bytes → request → turn → run → events."""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.admission import ChargedRun
from mavera.api.auth import authenticate, owner_of, services_of
from mavera.api.decoding import decode, read_body
from mavera.api.idempotency import once
from mavera.api.operation import Operation
from mavera.api.parameters import MODEL
from mavera.api.responses.schemas import CreateResponse
from mavera.api.responses.stream import ResponseEncoder
from mavera.api.run_response import RUN_ERRORS, RunResponse
from mavera.core.ids import new_id


async def create_response(request: Request) -> Response:
    """Answer an input in a persona's voice."""
    services = services_of(request)
    principal = await authenticate(request)
    raw = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = decode(raw, CreateResponse)
    turn = body.to_turn()
    encoder = ResponseEncoder(_head(body), new_id=new_id, clock=_now)

    async def begin() -> tuple[ChargedRun, Response]:
        ticket = await services.admission.admit(principal, turn)
        run = ticket.charge(services.runner.run(turn, principal.mode, owner_of(principal)))
        heartbeat_seconds = services.settings.heartbeat_seconds
        return run, RunResponse(
            run, encoder, stream=body.stream or False, heartbeat_seconds=heartbeat_seconds
        )

    return await once(request, principal, raw, begin)


def _head(body: CreateResponse) -> dict[str, Any]:
    return {
        "id": new_id("resp"),
        "created_at": _now(),
        "model": body.model,
        "persona_id": body.persona_id,
        **({"persona_ids": body.persona_ids} if body.persona_ids else {}),
        **body.echo(),
    }


def _now() -> int:
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
        example={"model": MODEL, "input": "How do you feel about sustainable fashion?", "persona_id": None},
        errors=RUN_ERRORS,
        streams=True,
    ),
)
