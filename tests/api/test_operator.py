"""/operator and /audit-log over HTTP: who may, what happens, and who reads of it."""

import json
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts.plans import ADMIN_SCOPES, DEFAULT_SCOPES, SCOPES
from tests.conftest import Serve
from tests.support.command import Mavera
from tests.support.team import Team, team


def send(owner: Team, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {owner.key}"}
    return httpx.request(method, owner.served.base_url + path, json=body, headers=headers, timeout=30)


def test_the_operator_makes_finds_and_changes_workspaces(serve: Serve) -> None:
    operator = team(serve(), scopes=("operator",))

    made = send(operator, "POST", "/operator/workspaces", {"name": "Agency", "plan": "pro"})
    assert made.status_code == 201
    path = f"/operator/workspaces/{made.json()['id']}"
    assert send(operator, "GET", path).json() == made.json()
    changed = send(operator, "PATCH", path, {"plan": "enterprise", "limits": {"monthly_credits": 70}}).json()
    assert (changed["plan"], changed["monthly_credits"]) == ("enterprise", 70)
    granted = send(operator, "POST", f"{path}/credits", {"credits": 5, "note": "gift"}).json()
    assert granted["balance"] == changed["balance"] + 5
    ids: list[str] = []
    cursor = ""
    while True:
        page = send(operator, "GET", f"/operator/workspaces?limit=1{cursor}").json()
        ids += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert made.json()["id"] in ids
    assert len(ids) == len(set(ids)) >= 3
    log = send(operator, "GET", "/operator/audit-log").json()["data"]
    assert [entry["action"] for entry in log[:3]] == ["credits.granted", "plan.changed", "workspace.created"]
    assert log[0]["actor"] == {"kind": "key", "id": operator.key_id, "name": "tests"}
    assert {plan["name"] for plan in send(operator, "GET", "/operator/plans").json()["data"]} > {"free"}


def test_the_operator_chooses_the_tools_of_a_workspace(serve: Serve) -> None:
    operator = team(serve(), scopes=("operator",))
    path = f"/operator/workspaces/{operator.workspace_id}/tools"

    listed = send(operator, "GET", "/operator/tools").json()
    name = listed["data"][0]["name"]
    assert listed["quota"]["calls_per_minute"] > 0
    assert send(operator, "GET", path).json() == {"tools": None}
    assert send(operator, "PATCH", path, {"tools": [name]}).json() == {"tools": [name]}
    assert send(operator, "GET", path).json() == {"tools": [name]}
    assert send(operator, "PATCH", path, {"tools": []}).json() == {"tools": []}
    refused = send(operator, "PATCH", path, {"tools": ["no_such_tool"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")
    assert send(operator, "GET", "/operator/workspaces/nobody/tools").status_code == 404


@pytest.mark.parametrize("scopes", [ADMIN_SCOPES, DEFAULT_SCOPES])
def test_nobody_else_gets_in(serve: Serve, scopes: tuple[str, ...]) -> None:
    admin = team(serve(), scopes=scopes)
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/operator/workspaces", None),
        ("POST", "/operator/workspaces", {"name": "mine"}),
        ("PATCH", f"/operator/workspaces/{admin.workspace_id}", {"plan": "enterprise"}),
        ("POST", f"/operator/workspaces/{admin.workspace_id}/credits", {"credits": 5}),
        ("PATCH", f"/operator/workspaces/{admin.workspace_id}/tools", {"tools": None}),
        ("GET", "/operator/audit-log", None),
        ("GET", "/operator/plans", None),
        ("GET", "/operator/tools", None),
    ]
    for method, path, body in calls:
        assert send(admin, method, path, body).status_code == 403, path


def test_no_key_hands_out_the_scope_operator_not_even_one_that_has_it(serve: Serve) -> None:
    served = serve()
    for scopes in (ADMIN_SCOPES, SCOPES):
        maker = team(served, scopes=scopes)
        refused = send(maker, "POST", "/api-keys", {"scopes": ["operator"]})
        assert (refused.status_code, refused.json()["error"]["param"]) == (403, "scopes")
        made = send(maker, "POST", "/api-keys", {"scopes": ["responses"]}).json()
        path = f"/api-keys/{made['id']}"
        assert send(maker, "PATCH", path, {"scopes": ["responses", "operator"]}).status_code == 403
        assert "operator" not in send(maker, "POST", "/api-keys", {}).json()["scopes"]


def test_an_admin_can_neither_rotate_nor_revoke_the_operators_key(serve: Serve) -> None:
    served = serve()
    operator = team(served, scopes=SCOPES)
    admin = send(operator, "POST", "/api-keys", {"scopes": list(ADMIN_SCOPES)}).json()
    headers = {"Authorization": f"Bearer {admin['key']}"}
    url = f"{served.base_url}/api-keys/{operator.key_id}"
    assert httpx.post(f"{url}/rotate", json={}, headers=headers).status_code == 403
    assert httpx.patch(url, json={"name": "x"}, headers=headers).status_code == 403
    assert httpx.delete(url, headers=headers).status_code == 403


def test_the_first_key_is_no_operators_key(mavera: Mavera) -> None:
    mavera("workspaces", "create", "Team")
    plain = json.loads(mavera("keys", "create", "--json").stdout)
    assert "operator" not in plain["scopes"]
    given = json.loads(mavera("keys", "create", "--scope", "operator", "--json").stdout)
    assert given["scopes"] == ["operator"]
    listed = json.loads(mavera("audit", "--json").stdout)
    assert [entry["action"] for entry in listed] == [
        "api_key.created",
        "api_key.created",
        "workspace.created",
    ]
    assert listed[0]["actor"]["kind"] == "command"
    assert "api_key.created" in mavera("audit", "--action", "api_key").stdout
    assert json.loads(mavera("audit", "--operator", "--json").stdout)[0]["action"] == "workspace.created"


def test_the_audit_log_of_a_workspace_is_for_its_admins(serve: Serve) -> None:
    served = serve()
    owner, stranger = team(served, scopes=ADMIN_SCOPES), team(served, scopes=ADMIN_SCOPES)
    send(owner, "PATCH", f"/workspaces/{owner.workspace_id}", {"usage_limit": 9, "name": "Crew"})

    found = send(owner, "GET", "/audit-log?limit=2").json()
    assert [entry["action"] for entry in found["data"]] == ["budget.changed", "workspace.updated"]
    assert found["data"][0]["details"] == {"budget": {"before": None, "after": 9}}
    rest = send(owner, "GET", f"/audit-log?limit=2&cursor={found['next_cursor']}").json()
    assert {entry["action"] for entry in rest["data"]} == {"api_key.created"}
    assert send(stranger, "GET", "/audit-log?action=budget").json()["data"] == []
    assert send(owner, "GET", "/audit-log?cursor=x").status_code == 400
    assert send(team(served), "GET", "/audit-log").status_code == 403


def test_changes_of_personas_are_recorded_without_their_texts(serve: Serve) -> None:
    owner = team(serve(), credits=1000, scopes=ADMIN_SCOPES)
    sheet = {"name": "Nurse", "description": "xyzzy", "pipeline_type": "north_star"}
    made = send(owner, "POST", "/personas", sheet)
    assert made.status_code == 201, made.text
    path = f"/personas/{made.json()['id']}"
    send(owner, "PATCH", path, {"name": "Night nurse"})
    send(owner, "DELETE", path)
    found = send(owner, "GET", "/audit-log?action=persona").json()["data"]
    assert [entry["action"] for entry in found] == ["persona.deleted", "persona.updated", "persona.created"]
    assert "xyzzy" not in json.dumps(found)


def test_the_health_of_all_parts_is_for_operators(serve: Serve) -> None:
    served = serve()
    operator, member = team(served, scopes=("operator",)), team(served)

    health = send(operator, "GET", "/operator/health").json()

    assert [part["name"] for part in health["parts"]] == ["Model", "Database", "Rate limits", "Study worker"]
    assert {part["state"] for part in health["parts"]} <= {"good", "waiting"}
    assert health["models"]["mavera-1"]["state"] == "ready"
    assert send(member, "GET", "/operator/health").status_code == 403
