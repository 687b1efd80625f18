"""
Open a call of the request log in the playground: its form, and its answer, if the server still keeps them.

A response of `POST /responses` is kept for an hour, unless the request or the server says otherwise.
Nothing is sent when a call is opened.
"""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from mavera.accounts.requests import LoggedRequest, find_request
from mavera.api.responses.history import History
from mavera.console.playground import render_playground
from mavera.console.playground_answers import AnswerParts, draw_answer
from mavera.console.visit import Page, Visit
from mavera.core.items import FunctionCall, Image, Item, Message
from mavera.errors import NotFound
from mavera.models.config import DEFAULT_NAME


async def open_request(visit: Visit) -> Response:
    visit.principal.require("responses")
    visit.principal.require("usage:read")
    services = visit.services
    call = await find_request(services.database, visit.workspace_id, visit.request.path_params["request_id"])
    if call is None:
        raise NotFound("There is no such call in the request log.")
    history = History.of(services, visit.principal)
    items = await history.find_conversation(call.response_id)
    if not items:
        return visit.render("playground/gone_request.html", call=call)
    form, answer = read_conversation(call, items)
    drawn = await draw_answer(answer)
    return await render_playground(visit, form=form, answers=[drawn], noted_at=call.created_at)


def read_conversation(call: LoggedRequest, items: Sequence[Item]) -> tuple[dict[str, Any], AnswerParts]:
    """
    Return the form of a call, and its answer. `items` is the conversation up to the answer.

    The last message of the user is the question. Earlier turns have no place in the form.
    """
    places = [at for at, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    at = places[-1] if places else -1
    asked = items[at] if places else None
    question, pictures = "", []
    if isinstance(asked, Message):
        question = asked.text
        pictures = [{"name": "image", "url": part.url} for part in asked.parts if isinstance(part, Image)]
    output = items[at + 1 :]
    system = [item.text for item in items if isinstance(item, Message) and item.role == "system"]
    form: dict[str, Any] = {
        "model": call.model or DEFAULT_NAME,
        "personas": [call.persona_id] if call.persona_id else [],
        "question": question,
        "images": pictures,
        "instructions": "\n\n".join(system),
    }
    answer = AnswerParts(
        place="k0",
        who="Answer",
        status=call.status,
        text="\n\n".join(item.text for item in output if isinstance(item, Message)),
        calls=[
            {"name": item.name, "arguments": item.arguments}
            for item in output
            if isinstance(item, FunctionCall)
        ],
        usage={
            "credits_used": call.credits,
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
        },
    )
    return form, answer


ROUTES = (Page("GET", "/console/w/{workspace_id}/playground/requests/{request_id}", open_request),)
