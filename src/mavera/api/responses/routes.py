"""POST /responses: bytes → request → turn → run → events. POST /responses/compact returns a summary."""

import time
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.auth import services_of
from mavera.api.http.dispatch import RUN_ERRORS, Prepared, receive_request, respond
from mavera.api.http.idempotency import KEY_PARAMETER
from mavera.api.http.operations import Operation
from mavera.api.responses.compaction import CompactionEncoder, turn_of
from mavera.api.responses.history import History
from mavera.api.responses.objects import EVENTS, CompactedConversation, ResponseObject
from mavera.api.responses.schemas import CompactConversation, CreateResponse
from mavera.api.responses.stream import ResponseEncoder, build_usage
from mavera.api.responses.tools import find_custom_tools, find_namespaces
from mavera.api.wire.named_personas import PERSONA_PARAMETER
from mavera.api.wire.parameters import EXAMPLE_PERSONA, MODEL
from mavera.core.current_request import id_of_answer
from mavera.core.ids import ids_within, new_id
from mavera.errors import PersonaNotFound


async def create_response(request: Request) -> Response:
    """Answer an input in a persona's voice."""
    asked = await receive_request(request, CreateResponse)
    history = History.of(services_of(request), asked.principal)

    async def prepare() -> Prepared:
        body, before = await history.read(asked.body)
        turn = body.to_turn(before)
        encoder = encoder_for(body, asked.model, kept=history.keeps(body))
        keep = partial(history.keep, encoder, turn.items) if history.keeps(body) else None
        return Prepared(turn, encoder, keep)

    return await respond(asked, prepare, stream=asked.body.stream or False)


async def compact_conversation(request: Request) -> Response:
    """Replace a conversation by a summary, so that it can go on with fewer tokens."""
    asked = await receive_request(request, CompactConversation)
    history = History.of(services_of(request), asked.principal)

    async def prepare() -> Prepared:
        body, before = await history.read(asked.body)
        items = body.to_items(before)
        turn = turn_of(items, model=body.model, instructions=body.instructions)
        return Prepared(
            turn, CompactionEncoder(items, created_at=now(), new_id=new_id, usage_body=build_usage)
        )

    return await respond(asked, prepare, stream=False)


def encoder_for(body: CreateResponse, model: str, *, kept: bool) -> ResponseEncoder:
    """
    Return the encoder for the answer to `body`.

    The answer names `model`, and says `store: true` if it is `kept`.
    """
    response_id = id_of_answer("resp")
    head = _head_of(body, model, response_id, kept=kept)
    tools = body.tools or ()
    return ResponseEncoder(
        head,
        new_id=ids_within(response_id),
        clock=now,
        namespaces=find_namespaces(tools),
        custom_tools=find_custom_tools(tools),
    )


def _head_of(body: CreateResponse, model: str, response_id: str, *, kept: bool) -> dict[str, Any]:
    """Return the members of the Response that the request decides."""
    return {
        "id": response_id,
        "created_at": now(),
        "model": model,
        "persona_id": body.persona_id,
        **({"persona_ids": body.persona_ids} if body.persona_ids else {}),
        **body.echo(kept=kept),
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
        parameters=(KEY_PARAMETER, PERSONA_PARAMETER),
        example={
            "model": MODEL,
            "input": "How do you feel about sustainable fashion?",
            "persona_id": EXAMPLE_PERSONA,
        },
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
        "request, in place of the whole conversation before it.",
        request=CompactConversation,
        parameters=(KEY_PARAMETER,),
        example={"model": MODEL, "input": [{"role": "user", "content": "We launch on Tuesday."}]},
        response=CompactedConversation,
        errors=tuple(error for error in RUN_ERRORS if error is not PersonaNotFound),
    ),
)
