"""
Settings → Developer → API Keys: make, show once, edit, rotate and revoke.

A secret is in the answer to the POST that makes it, which no cache may keep. The form has an id, so a form
that is sent again says that its key exists already, and does not show it.
"""

import secrets
import time
from dataclasses import dataclass

from starlette.responses import Response

from mavera.accounts.keys.changes import Changes
from mavera.accounts.keys.delegation import Wish
from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.plans import DEFAULT_SCOPES, SCOPES
from mavera.console.forms import Form, read_form
from mavera.console.home import address_of
from mavera.console.key_rights import edit_key, make_key, revoke_key, rotate_key
from mavera.console.visit import Page, Visit
from mavera.errors import APIError, InvalidRequest, VersionConflict

_PATH = "/console/w/{workspace_id}/settings/keys"
_DAY_SECONDS = 86_400
_NO_STORE = {"cache-control": "no-store"}
EXPIRIES = {"": "never", "7": "in 7 days", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}
OVERLAPS = {"0": "at once", "3600": "in an hour", "86400": "in a day", "604800": "in 7 days"}
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
    """A key of the list. `state` is one word, and `maker` the name of the key that made it."""

    key: ApiKey
    state: str
    maker: str
    overlaps: bool

    @property
    def is_living(self) -> bool:
        return self.state == "active"


async def show_keys(visit: Visit) -> Response:
    """List the keys, revoked ones too, because usage has their names."""
    visit.principal.require("admin")
    found = await visit.services.keyring.list(visit.workspace_id)
    names = {key.id: key.name or f"…{key.last_four}" for key in found}
    now = int(time.time())
    shown = [
        ShownKey(
            key,
            _describe_state(key, now),
            names.get(key.made_by, "") if key.made_by else "",
            key.previous_until is not None and key.previous_until > now,
        )
        for key in found
    ]
    return visit.render(
        "keys/list.html",
        living=[one for one in shown if one.is_living],
        ended=[one for one in shown if not one.is_living],
        own_key_id=visit.session.key_id,
    )


async def show_new_key_form(visit: Visit) -> Response:
    visit.principal.require("admin")
    return _render_new(visit, Form(()))


async def create_key(visit: Visit) -> Response:
    """Make a key, and answer with the page that shows it. The same form makes one key only."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    try:
        wish = Wish(
            name=form.text("name"),
            mode="test" if form.text("mode") == "test" else "live",
            expires_at=_read_expiry(form),
            scopes=form.texts("scopes"),
            budget=form.whole_number("budget", "The budget"),
        )
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.render("keys/already.html", headers=_NO_STORE)
        new = await make_key(visit, wish)
    except APIError as error:
        return _render_new(visit, form, error)
    return visit.render(
        "keys/made.html", new=new, address=address_of(visit), until=None, status=201, headers=_NO_STORE
    )


async def show_edit_form(visit: Visit) -> Response:
    visit.principal.require("admin")
    key = await _find_key(visit)
    return _render_edit(visit, key, _to_form(key))


async def save_key(visit: Visit) -> Response:
    """Change a key. If somebody else has changed it meanwhile, show both versions and change nothing."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    key = await _find_key(visit)
    try:
        changes = Changes(
            name=form.text("name"),
            scopes=form.texts("scopes"),
            budget=form.whole_number("budget", "The budget"),
            end_overlap=form.has("end_overlap"),
        )
        if form.text("expires") != "keep":
            changes = _with_expiry(changes, _read_expiry(form))
        await edit_key(visit, key, changes, version=form.whole_number("version", "The version") or 0)
    except VersionConflict:
        return _render_edit(visit, key, form, is_stale=True, status=409)
    except APIError as error:
        return _render_edit(visit, key, form, error=error, status=error.status)
    return visit.redirect("settings/keys")


async def show_rotation(visit: Visit) -> Response:
    visit.principal.require("admin")
    return _render_rotation(visit, await _find_key(visit))


async def rotate(visit: Visit) -> Response:
    """Give the key a new secret, and answer with the page that shows it."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    key = await _find_key(visit)
    try:
        if form.text("overlap") not in OVERLAPS:
            raise InvalidRequest("Choose when the present secret stops working.", param="overlap")
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.render("keys/already.html", headers=_NO_STORE)
        new = await rotate_key(visit, key, overlap_seconds=int(form.text("overlap")))
    except APIError as error:
        return _render_rotation(visit, key, error)
    return visit.render(
        "keys/made.html",
        new=new,
        address=address_of(visit),
        until=new.key.previous_until if form.text("overlap") != "0" else None,
        status=201,
        headers=_NO_STORE,
    )


async def show_revocation(visit: Visit) -> Response:
    """Ask before a key is revoked, and name the keys that it has made."""
    visit.principal.require("admin")
    key = await _find_key(visit)
    found = await visit.services.keyring.list(visit.workspace_id)
    below = [other for other in found if key.id in other.ancestors and other.revoked_at is None]
    return visit.render("keys/revoke.html", key=key, below=below)


async def revoke(visit: Visit) -> Response:
    visit.principal.require("admin")
    form = await read_form(visit.request)
    key = await _find_key(visit)
    await revoke_key(visit, key.id, with_children=form.has("with_children"))
    return visit.redirect("settings/keys")


async def _find_key(visit: Visit) -> ApiKey:
    """Return the key of the address. Raises NotFound if the workspace has no such key."""
    return await visit.services.keyring.find(visit.workspace_id, visit.request.path_params["key_id"])


def _read_expiry(form: Form) -> int | None:
    days = form.text("expires")
    if days not in EXPIRIES:
        raise InvalidRequest("Choose when the key expires.", param="expires")
    return int(time.time()) + int(days) * _DAY_SECONDS if days else None


def _with_expiry(changes: Changes, expires_at: int | None) -> Changes:
    return Changes(
        name=changes.name,
        scopes=changes.scopes,
        budget=changes.budget,
        expires_at=expires_at,
        end_overlap=changes.end_overlap,
    )


def _to_form(key: ApiKey) -> Form:
    fields = [("name", key.name), ("version", str(key.version)), ("expires", "keep")]
    fields += [("scopes", scope) for scope in key.scopes]
    if key.budget is not None:
        fields.append(("budget", str(key.budget)))
    return Form(tuple(fields))


def _list_scopes(visit: Visit, key: ApiKey | None = None) -> list[tuple[str, str]]:
    """Return the scopes that the session may give, and those that `key` has, each with its meaning."""
    kept = key.scopes if key else ()
    return [
        (scope, EXPLANATIONS.get(scope, ""))
        for scope in SCOPES
        if scope in visit.principal.scopes or scope in kept
    ]


def _render_new(visit: Visit, form: Form, error: APIError | None = None) -> Response:
    scopes = _list_scopes(visit)
    return visit.render(
        "keys/new.html",
        form=form,
        form_id=_new_form_id(),
        scopes=scopes,
        chosen=form.texts("scopes") if form.fields else [s for s, _ in scopes if s in DEFAULT_SCOPES],
        expiries=EXPIRIES,
        may_be_live=visit.principal.mode == "live",
        error=error,
        status=error.status if error else 200,
    )


def _render_edit(
    visit: Visit,
    key: ApiKey,
    form: Form,
    *,
    error: APIError | None = None,
    is_stale: bool = False,
    status: int = 200,
) -> Response:
    now = int(time.time())
    return visit.render(
        "keys/edit.html",
        key=key,
        form=form,
        scopes=_list_scopes(visit, key),
        chosen=form.texts("scopes"),
        expiries={"keep": "as it is", **EXPIRIES},
        overlaps=key.previous_until is not None and key.previous_until > now,
        is_stale=is_stale,
        error=error,
        status=status,
    )


def _render_rotation(visit: Visit, key: ApiKey, error: APIError | None = None) -> Response:
    return visit.render(
        "keys/rotate.html",
        key=key,
        form_id=_new_form_id(),
        overlaps=OVERLAPS,
        error=error,
        status=error.status if error else 200,
    )


def _new_form_id() -> str:
    return secrets.token_urlsafe(12)


def _describe_state(key: ApiKey, now: int) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


ROUTES = (
    Page("GET", _PATH, show_keys),
    Page("GET", f"{_PATH}/new", show_new_key_form),
    Page("POST", f"{_PATH}/new", create_key),
    Page("GET", f"{_PATH}/{{key_id}}/edit", show_edit_form),
    Page("POST", f"{_PATH}/{{key_id}}/edit", save_key),
    Page("GET", f"{_PATH}/{{key_id}}/rotate", show_rotation),
    Page("POST", f"{_PATH}/{{key_id}}/rotate", rotate),
    Page("GET", f"{_PATH}/{{key_id}}/revoke", show_revocation),
    Page("POST", f"{_PATH}/{{key_id}}/revoke", revoke),
)
