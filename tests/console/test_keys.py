"""Settings → Developer → API Keys: what the forms do, and what they refuse."""

import re

import httpx2 as httpx

from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import ApiKey
from tests.conftest import Served
from tests.console.visitors import Visitor, hidden_of, run_on_store, sign_in_with_key, text_of

KEY = re.compile(r"mvra_live_[0-9A-Za-z]{39}")


def make_form(visitor: Visitor, **fields: object) -> dict[str, object]:
    page = visitor.get("settings/keys/new")
    return {
        "form_id": hidden_of(page, "form_id"),
        "name": "Report",
        "mode": "live",
        "scopes": ["responses", "usage:read"],
        "expires": "",
        "budget": "",
        **fields,
    }


def find_keys(served: Served, visitor: Visitor) -> list[ApiKey]:
    return list(run_on_store(served, lambda database: Keyring(database).list(visitor.workspace_id)))


def make_key(served: Served, visitor: Visitor, **terms: object) -> ApiKey:
    new = run_on_store(
        served,
        lambda database: Keyring(database).make(visitor.workspace_id, KeyTerms(**terms)),  # type: ignore[arg-type]
    )
    return new.key


def test_a_form_makes_one_key_which_works_and_is_shown_once(served: Served, admin: Visitor) -> None:
    form = make_form(admin, name="Nightly <report>", budget="1,000", expires="30")

    made = admin.post("settings/keys/new", form)
    again = admin.post("settings/keys/new", form)

    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    found = KEY.search(made.text)
    assert found is not None
    usage = httpx.get(f"{served.base_url}/usage", headers={"Authorization": f"Bearer {found[0]}"})
    assert usage.status_code == 200
    assert "Already made" in again.text
    assert KEY.search(again.text) is None
    listed = admin.get("settings/keys")
    assert "Nightly &lt;report&gt;" in listed.text
    assert KEY.search(listed.text) is None
    [key] = [key for key in find_keys(served, admin) if key.name == "Nightly <report>"]
    assert (key.budget, key.scopes, key.made_by) == (1000, ("responses", "usage:read"), None)


def test_a_refused_form_keeps_its_fields_and_can_be_sent_again(admin: Visitor) -> None:
    refused = admin.post("settings/keys/new", make_form(admin, name="Kept", scopes=[]))

    assert refused.status_code == 422 or refused.status_code == 400
    assert 'value="Kept"' in refused.text
    assert "at least one scope" in refused.text
    mended = make_form(admin, name="Kept", form_id=hidden_of(refused, "form_id"))
    assert admin.post("settings/keys/new", mended).status_code == 201


def test_an_admin_cannot_give_what_the_role_lacks(admin: Visitor, member: Visitor) -> None:
    given = admin.post("settings/keys/new", make_form(admin, scopes=["operator"]))

    assert given.status_code in (400, 403)
    assert KEY.search(given.text) is None
    assert member.get("settings/keys").status_code == 403
    assert member.post("settings/keys/new", {"name": "x"}).status_code == 403


def test_a_session_of_a_key_gives_at_most_its_rights(served: Served, admin: Visitor) -> None:
    terms = KeyTerms("Team", scopes=("responses", "admin"), budget=50)
    team = run_on_store(served, lambda database: Keyring(database).make(admin.workspace_id, terms))
    visitor = sign_in_with_key(served, team.text)

    refused = visitor.post("settings/keys/new", make_form(visitor, scopes=["responses"], budget="60"))
    made = visitor.post("settings/keys/new", make_form(visitor, name="Below", scopes=["responses"]))

    assert refused.status_code == 403
    assert made.status_code == 201
    [below] = [key for key in find_keys(served, admin) if key.name == "Below"]
    assert (below.made_by, below.budget) == (team.key.id, 50)


def test_a_second_save_is_refused_and_shows_both_versions(served: Served, admin: Visitor) -> None:
    key = make_key(served, admin, name="Shared")
    page = admin.get(f"settings/keys/{key.id}/edit")
    form = {"version": hidden_of(page, "version"), "expires": "keep", "scopes": ["responses"]}

    first = admin.post(f"settings/keys/{key.id}/edit", {**form, "name": "Ada's"}, follow_redirects=False)
    second = admin.post(f"settings/keys/{key.id}/edit", {**form, "name": "Bob's"})

    assert first.status_code == 303
    assert second.status_code == 409
    assert 'value="Bob&#39;s"' in second.text
    assert "Ada&#39;s" in second.text
    third = {**form, "name": "Bob's", "version": hidden_of(second, "version")}
    assert admin.post(f"settings/keys/{key.id}/edit", third, follow_redirects=False).status_code == 303
    assert [found.name for found in find_keys(served, admin) if found.id == key.id] == ["Bob's"]


def test_a_rotation_shows_a_new_secret_and_keeps_the_old_one_for_a_while(
    served: Served, admin: Visitor
) -> None:
    key = make_key(served, admin, name="Turning")
    page = admin.get(f"settings/keys/{key.id}/rotate")
    form = {"form_id": hidden_of(page, "form_id"), "overlap": "3600"}

    made = admin.post(f"settings/keys/{key.id}/rotate", form)
    again = admin.post(f"settings/keys/{key.id}/rotate", form)

    assert made.status_code == 201
    assert KEY.search(made.text) is not None
    assert "works until" in text_of(made)
    assert KEY.search(again.text) is None
    assert f"…{key.last_four} works until" in text_of(admin.get("settings/keys"))


def test_a_revoked_key_keeps_its_name_in_the_list(served: Served, admin: Visitor) -> None:
    key = make_key(served, admin, name="Left behind")

    asked = admin.get(f"settings/keys/{key.id}/revoke")
    admin.post(f"settings/keys/{key.id}/revoke")

    assert "for good" in asked.text
    [revoked] = [found for found in find_keys(served, admin) if found.id == key.id]
    assert revoked.revoked_at is not None
    listed = text_of(admin.get("settings/keys"))
    assert "Left behind" in listed


def test_a_key_of_another_workspace_is_not_found(served: Served, admin: Visitor) -> None:
    for action in ("edit", "rotate", "revoke"):
        assert admin.get(f"settings/keys/cnobody/{action}").status_code == 404


def test_the_console_identity_is_no_key(served: Served, admin: Visitor) -> None:
    name = f"console_{admin.workspace_id}"

    assert admin.get(f"settings/keys/{name}/revoke").status_code == 404
    assert all(not key.id.startswith("console_") for key in find_keys(served, admin))
