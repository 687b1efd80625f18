"""The request log: find a call by its id, its key or its status, and read what is kept of it."""

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from mavera.accounts.credits.usage import name_keys
from mavera.accounts.requests import STATUSES, LoggedRequest, RequestSearch, find_request, list_requests
from mavera.api.responses.history import History
from mavera.api.routes.requests import format_place, parse_place
from mavera.console.policy import secure
from mavera.console.visit import Page, Visit
from mavera.core.items import Item, Message, Text
from mavera.errors import NotFound

_PATH = "/console/w/{workspace_id}/requests"
PAGE_LENGTH = 50


async def show_requests(visit: Visit) -> Response:
    """List calls, or lead to the one whose id was typed."""
    visit.principal.require("usage:read")
    query = visit.request.query_params
    wanted = query.get("id", "").strip()[:100]
    if wanted:
        return secure(RedirectResponse(visit.path("requests", wanted), 303))
    status = query.get("status", "")
    search = RequestSearch(
        visit.workspace_id,
        key_id=query.get("key", "")[:64],
        status=status if status in STATUSES else "",
        before=parse_place(query.get("before")),
        limit=PAGE_LENGTH,
    )
    found, before = await list_requests(visit.services.database, search)
    filters = {"key": search.key_id, "status": search.status}
    given = {name: value for name, value in filters.items() if value}
    names = await name_keys(visit.services.database, visit.workspace_id)
    older = urlencode({**given, "before": format_place(before) or ""}) if before else None
    return visit.render(
        "requests/list.html",
        requests=found,
        keys=sorted(names.items(), key=lambda item: item[1]),
        statuses=STATUSES,
        chosen=filters,
        is_search=bool(given),
        older=older,
        personas=_name_personas(visit),
    )


async def show_request(visit: Visit) -> Response:
    """Show one call, with its contents if the workspace keeps them."""
    visit.principal.require("usage:read")
    wanted = visit.request.path_params["request_id"][:100]
    found = await find_request(visit.services.database, visit.workspace_id, wanted)
    if found is None:
        raise NotFound(
            f"There is no request '{wanted}' in this log. Its id is in the header x-request-id of its answer."
        )
    kept = await _find_contents(visit, found)
    return visit.render(
        "requests/one.html",
        one=found,
        personas=_name_personas(visit),
        kept=kept,
        sees_contents="responses" in visit.principal.scopes,
    )


async def _find_contents(visit: Visit, found: LoggedRequest) -> list[tuple[str, str]]:
    """Return the roles and texts of the kept conversation, none if it is not kept or not to be seen."""
    if found.response_id is None or "responses" not in visit.principal.scopes:
        return []
    history = History.of(visit.services, visit.principal)
    items = await history.find_conversation(found.response_id)
    return [_describe_item(item) for item in items or ()]


def _describe_item(item: Item) -> tuple[str, str]:
    if isinstance(item, Message):
        texts = [
            part.text if isinstance(part, Text) else f"[{type(part).__name__.lower()}]" for part in item.parts
        ]
        return item.role, "\n".join(texts)
    return type(item).__name__, repr(item)


def _name_personas(visit: Visit) -> dict[str, str]:
    return {persona.id: persona.name for persona in visit.services.personas.library}


ROUTES = (
    Page("GET", _PATH, show_requests),
    Page("GET", f"{_PATH}/{{request_id}}", show_request),
)
