"""/api-keys over HTTP: one key at a time, edits, rotations, and what a client is told."""

import json

import httpx2 as httpx

from mavera.accounts.plans import SCOPES
from tests.conftest import Serve
from tests.support.command import Mavera
from tests.support.team import ASK, Team, team


def send(owner: Team, method: str, path: str, body: object = None) -> httpx.Response:
    return httpx.request(
        method,
        owner.served.base_url + path,
        json=body,
        headers={"Authorization": f"Bearer {owner.key}"},
        timeout=30,
    )


def test_a_key_is_read_changed_and_rotated(serve: Serve) -> None:
    owner = team(serve(), scopes=SCOPES)
    made = send(owner, "POST", "/api-keys", {"name": "ci"}).json()
    path = f"/api-keys/{made['id']}"

    assert send(owner, "GET", path).json() == {name: made[name] for name in made if name != "key"}
    edited = send(owner, "PATCH", path, {"name": "nightly", "budget": 7, "version": 1})
    assert edited.status_code == 200
    assert {name: edited.json()[name] for name in ("name", "budget", "version")} == {
        "name": "nightly",
        "budget": 7,
        "version": 2,
    }
    rotated = send(owner, "POST", f"{path}/rotate", {"overlap_seconds": 3600})
    assert rotated.status_code == 200
    assert rotated.headers["cache-control"] == "no-store"
    body = rotated.json()
    assert (body["id"], body["name"], body["version"]) == (made["id"], "nightly", 3)
    assert body["previous_last_four"] == made["key"][-4:]
    for secret in (made["key"], body["key"]):
        headers = {"Authorization": f"Bearer {secret}"}
        assert httpx.post(f"{owner.served.base_url}/responses", json=ASK, headers=headers).status_code == 200
    noted = owner.settled(2)
    assert {row["key_id"] for row in noted} == {made["id"]}


def test_refusals_name_the_member(serve: Serve) -> None:
    owner = team(serve(), scopes=SCOPES, budget=None)
    made = send(owner, "POST", "/api-keys", {"name": "ci"}).json()
    path = f"/api-keys/{made['id']}"

    for body, status, param in (
        ({"version": 9, "name": "x"}, 409, "version"),
        ({"mode": "test"}, 400, "mode"),
        ({"scopes": []}, 422, "scopes"),
        ({"scopes": None}, 422, "scopes"),
        ({"budget": -1}, 422, "budget"),
        ({"expires_at": 1}, 400, "expires_at"),
    ):
        refused = send(owner, "PATCH", path, body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), body
    assert send(owner, "PATCH", "/api-keys/nobody", {"name": "x"}).status_code == 404
    assert send(owner, "GET", "/api-keys/nobody").status_code == 404
    assert send(owner, "POST", f"{path}/rotate", {"overlap_seconds": -1}).status_code == 422


def test_a_key_without_the_scope_changes_nothing(serve: Serve) -> None:
    owner = team(serve())
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/rotate")):
        assert send(owner, method, f"/api-keys/{owner.key_id}{path}", {}).status_code == 403


def test_keys_are_edited_and_rotated_on_the_command_line(mavera: Mavera) -> None:
    mavera("workspaces", "create", "Team")
    made = json.loads(mavera("keys", "create", "--name", "ci", "--json").stdout)
    edited = json.loads(
        mavera(
            "keys", "edit", made["id"], "--name", "nightly", "--budget", "7", "--version", "1", "--json"
        ).stdout
    )
    assert (edited["name"], edited["budget"], edited["version"]) == ("nightly", 7, 2)
    assert "version" in mavera("keys", "edit", made["id"], "--name", "x", "--version", "1", code=1).stderr
    mavera("keys", "edit", made["id"], "--budget", "1", "--no-budget", code=2)
    rotated = mavera("keys", "rotate", edited["last_four"])
    assert rotated.stdout.startswith("mvra_live_")
    assert "works until" in rotated.stderr
    [listed] = [key for key in json.loads(mavera("keys", "list", "--json").stdout) if key["id"] == made["id"]]
    assert listed["previous_last_four"] == made["last_four"]
    assert "version 4" in mavera("keys", "edit", made["id"], "--end-overlap", "--no-budget").stdout
