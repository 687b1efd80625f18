"""POST /chat/completions: bytes → request → turn → run → chunks."""

import time

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.chat_completions.objects import ChatCompletionChunkObject, ChatCompletionObject
from mavera.api.chat_completions.schemas import CreateChatCompletion
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.http.dispatch import RUN_ERRORS, Prepared, receive_request, respond
from mavera.api.http.idempotency import KEY_PARAMETER
from mavera.api.http.operations import Operation
from mavera.api.wire.named_personas import PERSONA_PARAMETER
from mavera.api.wire.objects import ErrorBody
from mavera.api.wire.parameters import EXAMPLE_PERSONA, MODEL
from mavera.core.current_request import id_of_answer


async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation in a persona's voice."""
    asked = await receive_request(request, CreateChatCompletion)
    prepared = Prepared(asked.body.to_turn(), _encoder_for(asked.body, asked.model))

    async def prepare() -> Prepared:
        return prepared

    return await respond(asked, prepare, stream=asked.body.stream or False)


def _encoder_for(body: CreateChatCompletion, model: str) -> ChatCompletionEncoder:
    return ChatCompletionEncoder(
        id_of_answer("chatcmpl"),
        int(time.time()),
        model,
        logprobs=body.logprobs or False,
        include_usage=body.include_usage,
        custom_tools=body.custom_tools,
    )


OPERATIONS = (
    Operation(
        "POST",
        "/chat/completions",
        create_chat_completion,
        "Create a chat completion",
        "Chat Completions",
        description="OpenAI's Chat Completions API, with a persona. Streamed, it comes in chunks.",
        request=CreateChatCompletion,
        parameters=(KEY_PARAMETER, PERSONA_PARAMETER),
        example={
            "model": MODEL,
            "messages": [{"role": "user", "content": "How do you feel about sustainable fashion?"}],
            "persona_id": EXAMPLE_PERSONA,
        },
        response=ChatCompletionObject,
        errors=RUN_ERRORS,
        events=(ChatCompletionChunkObject, ErrorBody),
    ),
)
