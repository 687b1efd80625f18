"""People of a workspace: invite somebody with a role by a link, and withdraw an invitation."""

from starlette.responses import Response

from mavera.accounts.sessions.links import address_of_link
from mavera.accounts.sessions.session import GIVEN_ROLES
from mavera.console.forms import Form, read_form
from mavera.console.home import address_of
from mavera.console.visit import Page, Visit
from mavera.errors import APIError, InvalidRequest

PAGE_LENGTH = 50
_PATH = "/console/w/{workspace_id}/settings/people"
_DAY_SECONDS = 86_400
EXPIRIES = {"1": "in a day", "7": "in 7 days", "30": "in 30 days"}
ROLES = {
    "member": "asks questions, runs studies, reads usage",
    "admin": "also makes keys, invites people, sets the workspace's budget",
    "operator": "also manages every workspace of this server",
}


async def show_people(visit: Visit) -> Response:
    visit.principal.require("admin")
    return await _render(visit, Form(()))


async def invite(visit: Visit) -> Response:
    """Make an invitation, and answer with the page that shows its link."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    try:
        if form.text("expires") not in EXPIRIES:
            raise InvalidRequest("Choose when the invitation expires.", param="expires")
        token = await visit.services.sessions.invite(
            visit.session,
            form.text("role"),
            form.text("subject"),
            seconds=int(form.text("expires")) * _DAY_SECONDS,
        )
    except APIError as error:
        return await _render(visit, form, error)
    return visit.render(
        "people/invited.html",
        status=201,
        headers={"cache-control": "no-store"},
        subject=form.text("subject"),
        expires_at=token.expires_at,
        url=address_of_link(address_of(visit), token),
    )


async def withdraw(visit: Visit) -> Response:
    visit.principal.require("admin")
    form = await read_form(visit.request)
    await visit.services.sessions.withdraw(visit.session, form.text("invitation_id"))
    return visit.redirect("settings/people")


async def _render(visit: Visit, form: Form, error: APIError | None = None) -> Response:
    found = await visit.services.sessions.list_invitations(
        visit.workspace_id,
        before=visit.request.query_params.get("before", "")[:64],
        limit=PAGE_LENGTH + 1,
    )
    allowed = [role for role in reversed(GIVEN_ROLES) if _may_give(visit, role)]
    return visit.render(
        "people/list.html",
        invitations=found[:PAGE_LENGTH],
        next_before=found[PAGE_LENGTH - 1].id if len(found) > PAGE_LENGTH else None,
        roles=[(role, ROLES[role]) for role in allowed],
        expiries=EXPIRIES,
        form=form,
        error=error,
        status=error.status if error else 200,
    )


def _may_give(visit: Visit, role: str) -> bool:
    if visit.session.role == "key":
        return role == "member"
    return role != "operator" or visit.session.is_operator


ROUTES = (
    Page("GET", _PATH, show_people),
    Page("POST", f"{_PATH}/invite", invite),
    Page("POST", f"{_PATH}/withdraw", withdraw),
)
