"""
The playground: ask one or several personas a question, and see the answers arrive.

    GET  playground                     the page; its script calls the public API with the session
    POST playground/personas            portraits to choose from, by search and page, or by their ids
    POST playground/answer              an answer that has ended, drawn as HTML
    POST playground/forms               keep a long form behind a link, which GET playground/forms/{id} opens
    POST playground/runs                note a run in one's own history
    GET  playground/history             one's own runs; GET playground/runs/{id} opens one, and starts nothing

Nothing here asks a model or charges anything. Whoever calls the API with the session pays as any caller does.
"""

from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta
from starlette.responses import Response

from mavera.api.http.decoding import decode, read_body
from mavera.api.http.json import json_response
from mavera.console.home import address_of
from mavera.console.playground_answers import AnswerParts, AnswerView, draw_answer
from mavera.console.portraits import Portrait, draw_portrait
from mavera.console.visit import Page, Visit
from mavera.core.prompt import Effort
from mavera.core.turn import Verbosity
from mavera.errors import InvalidRequest, PersonaNotFound
from mavera.models.config import DEFAULT_NAME
from mavera.personas.likely import FIRST_PERSONA
from mavera.playground.notebook import Author, NewRun
from mavera.tools.allowances import find_allowed_tools
from mavera.tools.toolbox import matches

_AT = "/console/w/{workspace_id}/playground"
_PORTRAITS_SHOWN = 24
_MOST_NAMED = 10
_RUNS_SHOWN = 25
_API = "/api/v1"

Line = Annotated[str, Meta(max_length=300)]
Count = Annotated[int, Meta(ge=0, le=2**53)]

# The names of the server tools for people. An MCP server is named by its label.
_TITLES = {
    "tavily_search": "Search the web",
    "tavily_extract": "Read web pages",
    "generateImage": "Make an image",
    "editImage": "Edit an image",
    "generateVideo": "Make a video",
    "imageToVideo": "Turn an image into a video",
}


class RunNote(msgspec.Struct, kw_only=True):
    """A run that has ended, as the script tells it: numbers for its row, and the contents to keep."""

    form: dict[str, Any]
    answers: Annotated[list[AnswerParts], Meta(min_length=1, max_length=_MOST_NAMED)]
    model: Line
    format: Line
    personas: Line
    status: Line
    input_tokens: Count = msgspec.field(default=0, name="inputTokens")
    output_tokens: Count = msgspec.field(default=0, name="outputTokens")
    credits: Count = 0


class PortraitSearch(msgspec.Struct, kw_only=True):
    """`ids` name the personas that are wanted. Without them, `search` and `cursor` choose a page of all."""

    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=_MOST_NAMED)] = []
    search: Annotated[str, Meta(max_length=100)] = ""
    cursor: Annotated[str, Meta(max_length=64)] = ""


class _Contents(msgspec.Struct):
    form: dict[str, Any]
    answers: list[AnswerParts]


async def show_playground(visit: Visit) -> Response:
    visit.principal.require("responses")
    return await render_playground(visit)


async def list_portraits(visit: Visit) -> Response:
    """Return a fragment of portraits."""
    visit.principal.require("personas:read")
    wanted = await decode(await _read(visit), PortraitSearch)
    if wanted.ids:
        found = [await _find_portrait(visit, one) for one in wanted.ids]
        portraits, next_cursor = [one for one in found if one is not None], None
    else:
        roll = await visit.services.personas.roll(visit.principal)
        shown, next_cursor = roll.page(_PORTRAITS_SHOWN, wanted.cursor or None, search=wanted.search)
        portraits = [draw_portrait(one) for one in shown]
    return visit.render(
        "playground/portraits.html", portraits=portraits, next_cursor=next_cursor, search=wanted.search
    )


async def show_answer(visit: Visit) -> Response:
    visit.principal.require("responses")
    parts = await decode(await _read(visit), AnswerParts)
    return visit.render("playground/answer.html", answer=await draw_answer(parts))


async def save_form(visit: Visit) -> Response:
    """Keep a form, and answer with the address that opens it."""
    visit.principal.require("responses")
    form = await decode(await _read(visit), dict[str, Any])
    form_id = await visit.services.notebook.save_form(visit.workspace_id, msgspec.json.encode(form))
    return json_response({"path": visit.path("playground/forms", form_id)})


async def open_form(visit: Visit) -> Response:
    visit.principal.require("responses")
    form_id = visit.request.path_params["form_id"]
    form = await visit.services.notebook.find_form(visit.workspace_id, form_id)
    return await render_playground(visit, form=msgspec.json.decode(form, type=dict[str, Any]))


async def note_run(visit: Visit) -> Response:
    visit.principal.require("responses")
    note = await decode(await _read(visit), RunNote)
    run = NewRun(
        model=note.model,
        format=note.format,
        personas=note.personas,
        answers=len(note.answers),
        status=note.status,
        input_tokens=note.input_tokens,
        output_tokens=note.output_tokens,
        credits=note.credits,
    )
    contents = msgspec.json.encode(_Contents(note.form, note.answers))
    run_id = await visit.services.notebook.note_run(_author_of(visit), run, contents)
    return json_response({"id": run_id})


async def show_history(visit: Visit) -> Response:
    visit.principal.require("responses")
    notebook = visit.services.notebook
    before = visit.request.query_params.get("before", "")[:30]
    runs = await notebook.list_runs(_author_of(visit), before=before, limit=_RUNS_SHOWN + 1)
    shown = runs[:_RUNS_SHOWN]
    return visit.render(
        "playground/history.html",
        runs=shown,
        before=shown[-1].id if len(runs) > len(shown) else None,
        keeps_contents=notebook.keeps_contents,
    )


async def open_run(visit: Visit) -> Response:
    """Show the page with the form and the answers of a run. Without its contents, say that they are gone."""
    visit.principal.require("responses")
    opened = await visit.services.notebook.open_run(_author_of(visit), visit.request.path_params["run_id"])
    if opened.contents is None:
        return visit.render("playground/gone.html", run=opened.run)
    contents = msgspec.json.decode(opened.contents, type=_Contents)
    answers = [
        await draw_answer(msgspec.structs.replace(one, place=f"k{number}"))
        for number, one in enumerate(contents.answers)
    ]
    return await render_playground(visit, form=contents.form, answers=answers, noted_at=opened.run.created_at)


async def forget_run(visit: Visit) -> Response:
    await visit.services.notebook.forget_run(_author_of(visit), visit.request.path_params["run_id"])
    return visit.redirect("playground/history")


async def render_playground(
    visit: Visit,
    *,
    form: dict[str, Any] | None = None,
    answers: list[AnswerView] | None = None,
    noted_at: int | None = None,
) -> Response:
    """Return the page, filled in with `form`, and `answers` that arrived at `noted_at` in Unix seconds."""
    services = visit.services
    first = await _find_first(visit)
    return visit.render(
        "playground/playground.html",
        form=msgspec.json.encode(form).decode() if form else "",
        answers=answers or [],
        noted_at=noted_at,
        models=list(services.named_models) or [DEFAULT_NAME],
        efforts=get_args(Effort),
        verbosities=get_args(Verbosity),
        tools=await _list_tools(visit),
        first=draw_portrait(first) if first else None,
        api_url=address_of(visit) + _API,
    )


async def _find_first(visit: Visit) -> Any:
    """Return the persona that is chosen already, or None if the session may see none."""
    if "personas:read" not in visit.principal.scopes:
        return None
    roll = await visit.services.personas.roll(visit.principal)
    return next((one for one in roll if one.name == FIRST_PERSONA), None) or next(iter(roll), None)


async def _find_portrait(visit: Visit, persona_id: str) -> Portrait | None:
    try:
        return draw_portrait(await visit.services.personas.get(persona_id, visit.principal))
    except PersonaNotFound:
        return None


async def _list_tools(visit: Visit) -> list[tuple[str, str]]:
    """Return the server tools that this session may use: the type for a request, and what people call it."""
    toolbox = visit.services.toolboxes[visit.principal.mode]
    ready = [tool.name for tool in toolbox.tools if tool.provider]
    if not ready:
        return []
    allowed = await find_allowed_tools(visit.services.database, visit.workspace_id)
    usable = [name for name in ready if allowed is None or matches(name, allowed)]
    own = [(name, _TITLES[name]) for name in usable if name in _TITLES]
    labels = sorted({name.partition("__")[0] for name in usable if "__" in name})
    return [*own, *((f"mcp:{label}", f"Tools of {label}") for label in labels)]


def _author_of(visit: Visit) -> Author:
    """Return whose history a session sees: the key's, or the person's who signed in otherwise."""
    session = visit.session
    return Author(session.workspace_id, session.key_id or f"{session.method} {session.subject}")


async def _read(visit: Visit) -> bytes:
    body = await read_body(visit.request, max_bytes=visit.services.settings.max_body_bytes)
    if not body:
        raise InvalidRequest("The request has no body.")
    return body


ROUTES = (
    Page("GET", _AT, show_playground),
    Page("POST", f"{_AT}/personas", list_portraits),
    Page("POST", f"{_AT}/answer", show_answer),
    Page("POST", f"{_AT}/forms", save_form),
    Page("GET", f"{_AT}/forms/{{form_id}}", open_form),
    Page("POST", f"{_AT}/runs", note_run),
    Page("GET", f"{_AT}/history", show_history),
    Page("GET", f"{_AT}/runs/{{run_id}}", open_run),
    Page("POST", f"{_AT}/runs/{{run_id}}/forget", forget_run),
)
