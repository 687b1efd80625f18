"""Signing in with a key and with a link, and the end of a session."""

import asyncio

from mavera.accounts.keys.keyring import Keyring
from tests.conftest import Served
from tests.console.visitors import (
    first_workspace,
    run_on_sessions,
    run_on_store,
    sign_in,
    sign_in_with_key,
    stranger,
    text_of,
)


def test_a_pasted_key_signs_in_with_its_rights(served: Served) -> None:
    visitor = sign_in_with_key(served)

    assert visitor.get("home").status_code == 200
    assert visitor.get("settings/keys").status_code == 403  # the key lacks the scope admin


def test_an_unknown_key_says_what_is_wrong_and_does_not_show_itself(served: Served) -> None:
    answer = stranger(served).post("/console/sign-in", data={"key": "mvra_live_wrong"})

    assert answer.status_code == 401
    assert "mistyped" in answer.text
    assert "mvra_live_wrong" not in answer.text


def test_a_session_ends_at_once_with_its_key(served: Served) -> None:
    workspace_id = first_workspace(served)
    new = run_on_store(served, lambda database: Keyring(database).create(workspace_id, "short", "live"))
    visitor = sign_in_with_key(served, new.text)
    assert visitor.get("home", follow_redirects=False).status_code == 200

    run_on_store(served, lambda database: Keyring(database).revoke(workspace_id, new.key.id))

    assert visitor.get("home", follow_redirects=False).status_code == 303


def test_opening_a_link_changes_nothing_and_its_button_works_once(served: Served) -> None:
    token = run_on_sessions(served, lambda sessions: sessions.make_link())
    address = f"/console/sign-in/link?token={token.text}"
    http = stranger(served)

    for _ in range(2):
        shown = http.get(address)
        assert shown.headers["cache-control"] == "no-store"
        assert http.head(address).status_code == 200
    assert http.get("/console", follow_redirects=False).headers["location"] == "/console/sign-in"
    first = http.post("/console/sign-in/link", data={"token": token.text})
    second = stranger(served).post("/console/sign-in/link", data={"token": token.text})

    assert first.status_code == 200
    assert first.url.path.endswith("/home")
    assert second.status_code == 403
    assert "used already" in text_of(second)


def test_two_browsers_that_send_a_link_together_get_one_session(served: Served) -> None:
    token = run_on_sessions(served, lambda sessions: sessions.make_link())

    async def redeem_twice() -> list[str]:
        async def redeem() -> str:
            answer = await asyncio.to_thread(
                stranger(served).post, "/console/sign-in/link", data={"token": token.text}
            )
            return str(answer.status_code)

        return sorted(await asyncio.gather(redeem(), redeem()))

    assert asyncio.run(redeem_twice()) == ["200", "403"]


def test_signing_out_ends_the_session_on_the_server(served: Served) -> None:
    visitor = sign_in(served, "member")
    cookies = dict(visitor.http.cookies)

    visitor.post("/console/sign-out")

    other = stranger(served)
    other.cookies.update(cookies)
    assert other.get(visitor.address("home"), follow_redirects=False).status_code == 303


def test_a_form_that_outlives_its_session_is_kept(served: Served) -> None:
    visitor = sign_in(served, "admin")
    cookies = dict(visitor.http.cookies)
    visitor.post("/console/sign-out")
    visitor.http.cookies.update(cookies)

    answer = visitor.post("settings/keys/new", {"name": "Typed <b>with care</b>\nand lines"})

    assert answer.status_code == 401
    assert "Typed &lt;b&gt;with care&lt;/b&gt;\nand lines" in answer.text
    assert "Send again" in answer.text


def test_htmx_is_led_to_the_sign_in_of_the_whole_page(served: Served) -> None:
    visitor = sign_in(served, "admin")
    visitor.post("/console/sign-out")
    current = f"{served.url}{visitor.address('home')}"

    answer = visitor.get("home", headers={"HX-Request": "true", "HX-Current-URL": current})

    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == f"/console/sign-in?next={visitor.address('home')}"
    assert answer.text == ""
