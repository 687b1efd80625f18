"""POST /chat/completions: bytes → request → turn → run → chunks."""

import time

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.chat_completions.answers import ChatCompletionChunkObject, ChatCompletionObject
from mavera.api.chat_completions.schemas import CreateChatCompletion
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.http.auth import authenticate, owner_of, services_of
from mavera.api.http.decoding import decode, read_body
from mavera.api.http.dispatch import RUN_ERRORS, RunResponse
from mavera.api.http.idempotency import KEY_PARAMETER, once
from mavera.api.http.operations import Operation
from mavera.api.wire.answers import ErrorBody
from mavera.api.wire.parameters import MODEL
from mavera.core.ids import new_id
from mavera.runs.admission import ChargedRun


async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation in a persona's voice."""
    services = services_of(request)
    principal = await authenticate(request)
    raw = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = await decode(raw, CreateChatCompletion)
    turn = body.to_turn()
    encoder = ChatCompletionEncoder(
        new_id("chatcmpl"),
        int(time.time()),
        body.model,
        logprobs=body.logprobs or False,
        include_usage=body.include_usage,
    )

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


OPERATIONS = (
    Operation(
        "POST",
        "/chat/completions",
        create_chat_completion,
        "Create a chat completion",
        "Chat Completions",
        description="OpenAI's Chat Completions API, with a persona. Streamed, it comes in chunks.",
        request=CreateChatCompletion,
        parameters=(KEY_PARAMETER,),
        example={
            "model": MODEL,
            "messages": [{"role": "user", "content": "How do you feel about sustainable fashion?"}],
            "persona_id": None,
        },
        response=ChatCompletionObject,
        errors=RUN_ERRORS,
        events=(ChatCompletionChunkObject, ErrorBody),
    ),
)
