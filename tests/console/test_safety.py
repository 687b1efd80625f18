"""Requests from other sites, cookies, and secrets in addresses."""

import re

import httpx2 as httpx
import pytest

from mavera.accounts import workspaces
from tests.conftest import Serve, Served
from tests.console.visitors import (
    Visitor,
    first_workspace,
    run_on_sessions,
    run_on_store,
    sign_in,
    sign_in_with_key,
    stranger,
)

NOT_SENT = "(not sent)"
# Sec-Fetch-Site, Origin, and whether a POST is allowed. HOST stands for the server's own.
TABLE = [
    ("same-origin", NOT_SENT, True),
    ("same-origin", "http://evil.example", True),  # a browser never says this of another site's page
    ("cross-site", "http://HOST", False),
    ("same-site", "http://HOST", False),
    ("none", "http://HOST", False),
    ("", "http://HOST", False),
    (NOT_SENT, "http://HOST", True),
    (NOT_SENT, NOT_SENT, False),
    (NOT_SENT, "null", False),
    (NOT_SENT, "", False),
    (NOT_SENT, "http://evil.example", False),
    (NOT_SENT, "http://HOST.evil.example", False),
    (NOT_SENT, "http://evil.example/HOST", False),
]


def browser_headers(served: Served, site: str, origin: str) -> dict[str, str]:
    given = {"Sec-Fetch-Site": site, "Origin": origin.replace("HOST", served.url.removeprefix("http://"))}
    return {name: value for name, value in given.items() if NOT_SENT not in value}


@pytest.mark.parametrize(("site", "origin", "allowed"), TABLE)
def test_a_form_of_another_site_is_refused(
    served: Served, admin: Visitor, site: str, origin: str, allowed: bool
) -> None:
    with httpx.Client(base_url=served.url, cookies=admin.http.cookies) as client:
        headers = browser_headers(served, site, origin)
        form = {"subject": "Ada", "role": "member", "expires": "7"}
        invited = client.post(admin.address("settings/people/invite"), data=form, headers=headers)
        signed = client.post("/console/sign-in", data={"key": "mvra_live_x"}, headers=headers)
        made = client.post("/api/v1/api-keys", json={"name": "x"}, headers=headers)

    assert invited.status_code == (201 if allowed else 403)
    assert signed.status_code == (401 if allowed else 403)
    assert made.status_code == (201 if allowed else 403)


def test_with_a_public_url_only_its_origin_counts(serve: Serve) -> None:
    served = serve(public_url="https://api.example.com")
    own = {"Origin": served.url}
    public = {"Origin": "https://api.example.com"}

    assert httpx.post(f"{served.url}/console/sign-in", data={"key": "x"}, headers=own).status_code == 403
    assert httpx.post(f"{served.url}/console/sign-in", data={"key": "x"}, headers=public).status_code == 401


def test_a_key_is_judged_without_the_check_and_wins_over_a_cookie(served: Served, admin: Visitor) -> None:
    headers = {**served.headers, "Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    with httpx.Client(base_url=served.url, cookies=admin.http.cookies) as client:
        allowed = client.post(
            "/api/v1/responses", json={"model": "mavera-1", "input": "Hm?"}, headers=headers
        )
        refused = client.post("/api/v1/api-keys", json={}, headers=headers)

    assert allowed.status_code == 200
    assert refused.status_code == 403  # the key lacks the scope admin, which the cookie has
    assert "scope" in refused.json()["error"]["message"]


def test_a_session_calls_the_api_as_the_console(served: Served, admin: Visitor) -> None:
    answer = admin.http.post("/api/v1/responses", json={"model": "mavera-1", "input": "Hm?"})
    usage = admin.http.get("/api/v1/usage")

    assert answer.status_code == 200
    assert "access-control-allow-credentials" not in answer.headers
    assert f"console_{first_workspace(served)}" in [row["key_id"] for row in usage.json()["by_key"]]
    assert "console" in admin.get("home").text


def test_a_member_s_session_calls_the_api_with_the_rights_of_a_member(member: Visitor) -> None:
    assert member.http.get("/api/v1/personas").status_code == 200
    assert member.http.get("/api/v1/api-keys").status_code == 403


def set_cookie_of(served: Served, **headers: str) -> str:
    with stranger(served, **headers) as http:
        answer = http.post("/console/sign-in", data={"key": served.key}, follow_redirects=False)
    assert answer.status_code == 303
    return str(answer.headers["set-cookie"])


def test_the_cookie_without_tls(served: Served) -> None:
    cookie = set_cookie_of(served)

    name, attributes = cookie.split("=", 1)
    assert re.fullmatch(r"mavera-[0-9a-f]{8}", name)
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(attributes.split("; "))
    assert "Secure" not in attributes
    assert "Domain" not in attributes


def test_the_cookie_behind_tls(serve: Serve) -> None:
    served = serve(public_url="https://api.example.com/mavera")

    name, attributes = set_cookie_of(served).split("=", 1)

    assert re.fullmatch(r"__Host-mavera-[0-9a-f]{8}", name)
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(attributes.split("; "))
    assert "Domain" not in attributes


def test_two_servers_name_their_cookies_differently(served: Served, serve: Serve) -> None:
    assert set_cookie_of(served).split("=")[0] != set_cookie_of(serve()).split("=")[0]


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example/", "/\\evil.example", "/docs", "/console/../x"]
)
def test_the_way_back_after_the_sign_in_stays_in_the_console(served: Served, path: str) -> None:
    with stranger(served) as http:
        page = http.get("/console/sign-in", params={"next": path})
        form = {"key": served.key, "next": path}
        answer = http.post("/console/sign-in", data=form, follow_redirects=False)

    assert 'name="next" value=""' in page.text
    assert answer.headers["location"] == "/console"


def test_no_address_has_a_secret(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    """A key and a cookie are in no address that a browser visits, and no log has the token of a link."""
    token = run_on_sessions(served, lambda sessions: sessions.make_link())
    with stranger(served) as http:
        opened = http.get(f"/console/sign-in/link?token={token.text}")
        redeemed = http.post("/console/sign-in/link", data={"token": token.text})
    visitor = sign_in_with_key(served)
    home = visitor.get("home")

    for answer in (redeemed, home):
        for step in (*answer.history, answer):
            assert "token" not in str(step.url)
            assert served.key not in str(step.url)
            assert served.key not in step.text
    assert token.text in opened.text
    logged = capfd.readouterr()
    assert token.text not in logged.err + logged.out


def test_another_workspace_is_not_found_except_for_an_operator(
    served: Served, admin: Visitor, operator: Visitor
) -> None:
    other = run_on_store(
        served, lambda db: workspaces.create(db, workspaces.NewWorkspace("Other", "pro"), now=1)
    )

    assert admin.get(f"/console/w/{other}/home").status_code == 404
    assert admin.http.get("/api/v1/usage", headers={"X-Mavera-Workspace": other}).status_code == 404
    seen = operator.get(f"/console/w/{other}/home")
    assert seen.status_code == 200
    assert "Other" in seen.text
    usage = operator.http.get("/api/v1/usage", headers={"X-Mavera-Workspace": other})
    assert usage.json()["workspace_id"] == other
    assert operator.get("/console/w/cnobody/home").status_code == 404


def test_an_admin_ends_the_session_of_a_member_and_not_the_other_way_round(served: Served) -> None:
    admin, member = sign_in(served, "admin"), sign_in(served, "member")
    listed = admin.get("settings/sessions").text
    ids = re.findall(r'name="session_id" value="(\w+)"', listed)
    [own] = re.findall(r'name="session_id" value="(\w+)"', member.get("settings/sessions").text)

    assert own in ids
    other = next(one for one in ids if one != own)
    assert member.post("settings/sessions/end", {"session_id": other}).status_code == 403
    admin.post("settings/sessions/end", {"session_id": own})
    assert member.get("home", follow_redirects=False).status_code == 303


def test_an_invitation_gives_its_role_once(served: Served, admin: Visitor) -> None:
    form = {"subject": "Bo <b>", "role": "member", "expires": "7"}

    made = admin.post("settings/people/invite", form)
    found = re.search(r"/console/sign-in/link\?token=([\w-]+)", made.text)
    assert found is not None
    assert made.headers["cache-control"] == "no-store"
    with stranger(served) as http:
        home = http.post("/console/sign-in/link", data={"token": found[1]})
    assert home.status_code == 200
    assert "Bo &lt;b&gt;" in home.text
    assert stranger(served).post("/console/sign-in/link", data={"token": found[1]}).status_code == 403


@pytest.mark.parametrize("role", ["operator", "owner", ""])
def test_an_admin_cannot_invite_an_operator(admin: Visitor, role: str) -> None:
    form = {"subject": "Bo", "role": role, "expires": "7"}

    assert admin.post("settings/people/invite", form).status_code in (400, 403)


def test_a_withdrawn_invitation_does_not_sign_in(served: Served, admin: Visitor) -> None:
    made = admin.post("settings/people/invite", {"subject": "Cy", "role": "member", "expires": "1"})
    token = re.search(r"token=([\w-]+)", made.text)
    page = admin.get("settings/people").text
    [invitation_id] = re.findall(
        r'value="(c\w{24})"><button[^>]*>Withdraw<span class="unseen"> the invitation of Cy', page
    )

    admin.post("settings/people/withdraw", {"invitation_id": invitation_id})

    assert token is not None
    assert stranger(served).post("/console/sign-in/link", data={"token": token[1]}).status_code == 403
