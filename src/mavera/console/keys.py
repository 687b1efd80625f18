"""
Settings → Developer → API Keys: make, show once, and revoke.

A key that is made answers with the page that shows it, which no cache may keep. The form has an id, so a form
that is sent again says that its key exists already, and does not show it.
"""

import secrets
import time
from dataclasses import dataclass

from starlette.responses import Response

from mavera.accounts.keys.delegation import KeyTerms, Wish
from mavera.accounts.keys.keyring import NewKey
from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.plans import DEFAULT_SCOPES, SCOPES, Scope, check_scopes
from mavera.console.forms import Form, read_form
from mavera.console.home import address_of
from mavera.console.visit import Page, Visit
from mavera.errors import APIError, Forbidden, InvalidRequest, NotFound

_PATH = "/console/w/{workspace_id}/settings/keys"
_DAY_SECONDS = 86_400
EXPIRIES = {"": "never", "7": "in 7 days", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}
EXPLANATIONS: dict[str, str] = {
    "responses": "ask questions",
    "personas:read": "list personas",
    "personas:write": "make and change personas",
    "focus_groups": "run studies",
    "usage:read": "read usage and credits",
    "admin": "make and revoke keys, change the workspace",
    "operator": "manage every workspace of this server",
}


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key of the list. `state` is one word."""

    key: ApiKey
    state: str
    maker: str

    @property
    def is_living(self) -> bool:
        return self.state == "active"


async def show_keys(visit: Visit) -> Response:
    visit.principal.require("admin")
    return await _render_list(visit)


async def show_new_key_form(visit: Visit) -> Response:
    visit.principal.require("admin")
    return _render_form(visit, Form(()))


async def create_key(visit: Visit) -> Response:
    """Make a key, and answer with the page that shows it. The same form makes one key only."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    try:
        wish = _to_wish(form)
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.render("keys/already.html", headers={"cache-control": "no-store"})
        new = await _make_key(visit, wish)
    except APIError as error:
        return _render_form(visit, form, error)
    headers = {"cache-control": "no-store"}
    return visit.render("keys/made.html", new=new, address=address_of(visit), status=201, headers=headers)


async def show_revocation(visit: Visit) -> Response:
    """Ask before a key is revoked, and name the keys that it has made."""
    visit.principal.require("admin")
    key_id = visit.request.path_params["key_id"]
    found = await visit.services.keyring.list(visit.workspace_id)
    key = next((key for key in found if key.id == key_id), None)
    if key is None:
        raise NotFound("This workspace has no such API key.")
    below = [other for other in found if key.id in other.ancestors and other.revoked_at is None]
    return visit.render("keys/revoke.html", key=key, below=below)


async def revoke_key(visit: Visit) -> Response:
    visit.principal.require("admin")
    form = await read_form(visit.request)
    key_id, with_children = visit.request.path_params["key_id"], form.has("with_children")
    keyring = visit.services.keyring
    if visit.session.key_id is not None:
        await keyring.revoke_as(visit.principal, key_id, with_children=with_children)
    else:
        await keyring.revoke(visit.workspace_id, key_id, with_children=with_children)
    return visit.redirect("settings/keys")


async def _make_key(visit: Visit, wish: Wish) -> NewKey:
    """Make a key with at most the rights of the session. Raises the errors of the keyring."""
    if visit.session.key_id is not None:
        return await visit.services.keyring.delegate(visit.principal, wish)
    scopes = check_scopes(wish.scopes or ())
    missing = [scope for scope in scopes if scope not in visit.principal.scopes]
    if missing:
        raise Forbidden(f"This session cannot give the scope '{missing[0]}'.", param="scopes")
    terms = KeyTerms(wish.name, wish.mode or "live", wish.expires_at, scopes, wish.budget)
    return await visit.services.keyring.make(visit.workspace_id, terms)


def _to_wish(form: Form) -> Wish:
    days = form.text("expires")
    if days not in EXPIRIES:
        raise InvalidRequest("Choose when the key expires.", param="expires")
    return Wish(
        name=form.text("name"),
        mode="test" if form.text("mode") == "test" else "live",
        expires_at=int(time.time()) + int(days) * _DAY_SECONDS if days else None,
        scopes=form.texts("scopes"),
        budget=form.whole_number("budget", "The budget"),
    )


async def _render_list(visit: Visit) -> Response:
    found = await visit.services.keyring.list(visit.workspace_id)
    names = {key.id: key.name or f"…{key.last_four}" for key in found}
    now = int(time.time())
    shown = [
        ShownKey(key, _describe_state(key, now), names.get(key.made_by, "") if key.made_by else "")
        for key in found
    ]
    return visit.render(
        "keys/list.html",
        living=[one for one in shown if one.is_living],
        ended=[one for one in shown if not one.is_living],
        own_key_id=visit.session.key_id,
    )


def _render_form(visit: Visit, form: Form, error: APIError | None = None) -> Response:
    given: list[Scope] = [scope for scope in SCOPES if scope in visit.principal.scopes]
    return visit.render(
        "keys/new.html",
        form=form,
        form_id=secrets.token_urlsafe(12),
        scopes=[(scope, EXPLANATIONS.get(scope, "")) for scope in given],
        chosen=form.texts("scopes") if form.fields else [s for s in given if s in DEFAULT_SCOPES],
        expiries=EXPIRIES,
        may_be_live=visit.principal.mode == "live",
        error=error,
        status=error.status if error else 200,
    )


def _describe_state(key: ApiKey, now: int) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


ROUTES = (
    Page("GET", _PATH, show_keys),
    Page("GET", f"{_PATH}/new", show_new_key_form),
    Page("POST", f"{_PATH}/new", create_key),
    Page("GET", f"{_PATH}/{{key_id}}/revoke", show_revocation),
    Page("POST", f"{_PATH}/{{key_id}}/revoke", revoke_key),
)
