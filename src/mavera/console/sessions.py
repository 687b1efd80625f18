"""The living sessions of a workspace. Everybody sees and ends their own; an admin sees and ends all."""

from starlette.responses import Response

from mavera.console.agents import describe_agent
from mavera.console.forms import read_form
from mavera.console.visit import Page, Visit

PAGE_LENGTH = 50
_PATH = "/console/w/{workspace_id}/settings/sessions"


async def show_sessions(visit: Visit) -> Response:
    sees_all = "admin" in visit.principal.scopes
    found = await visit.services.sessions.list(
        visit.workspace_id,
        only="" if sees_all else visit.session.id,
        before=visit.request.query_params.get("before", "")[:64],
        limit=PAGE_LENGTH + 1,
    )
    return visit.render(
        "sessions/list.html",
        sessions=[(one, describe_agent(one.agent)) for one in found[:PAGE_LENGTH]],
        sees_all=sees_all,
        next_before=found[PAGE_LENGTH - 1].id if len(found) > PAGE_LENGTH else None,
    )


async def end_session(visit: Visit) -> Response:
    """End one's own session, or, as an admin, one of the workspace."""
    form = await read_form(visit.request)
    session_id = form.text("session_id")
    if session_id == visit.session.id:
        await visit.services.sessions.end_own(visit.session)
    else:
        visit.principal.require("admin")
        await visit.services.sessions.end(visit.session, session_id)
    return visit.redirect("settings/sessions")


ROUTES = (Page("GET", _PATH, show_sessions), Page("POST", f"{_PATH}/end", end_session))
