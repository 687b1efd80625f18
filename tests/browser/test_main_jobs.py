"""Jobs that people do, in a real browser and with the keyboard: sign in, make a key, come back later."""

import re
from typing import Any

from tests.browser.conftest import Open
from tests.browser.watched import watched_page
from tests.conftest import Served
from tests.console.visitors import Visitor, run_on_sessions


def test_a_link_signs_in_with_one_key_press(chromium: Any, served: Served) -> None:
    token = run_on_sessions(served, lambda sessions: sessions.make_link())
    with watched_page(chromium, served.url) as watched:
        watched.open(f"/console/sign-in/link?token={token.text}")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_url("**/home")

        assert watched.page.locator("h1").inner_text() == "Default"


def test_a_key_is_made_with_the_keyboard_and_not_shown_again(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address("settings/keys/new"))
        page.keyboard.type("Made by hand")
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('Save your key')")
        key = page.locator(".copyable code").first.inner_text()
        assert re.fullmatch(r"mvra_live_\w{39}", key)

        page.reload()  # the browser sends the form again
        assert page.locator("h1").inner_text() == "Already made"
        assert key not in page.content()
        page.go_back()
        assert key not in page.content()


def test_a_form_survives_a_session_that_ended(open_page: Open, served: Served, operator: Visitor) -> None:
    """The page stays open while the session ends; signing in elsewhere and sending again finishes the job."""
    with open_page() as watched:
        page, context = watched.page, watched.page.context
        watched.expect_status(401)
        watched.open(operator.address("settings/keys/new"))
        page.fill("[name=name]", "Typed for a while")
        cookies = context.cookies()
        context.clear_cookies()
        page.context.add_cookies([{**cookies[0], "value": "ended"}])
        page.click("main button.primary")
        page.wait_for_selector("h1:has-text('Your session has ended')")

        context.clear_cookies()
        context.add_cookies(cookies)
        page.click("text=Send again")
        page.wait_for_selector("h1:has-text('Save your key')")
    assert "Typed for a while" in operator.get("settings/keys").text


def test_copy_selects_the_text_without_a_clipboard(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        watched.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        watched.open(operator.address("home"))
        watched.page.click("text=Copy")

        watched.page.wait_for_selector("text=Selected")
        assert watched.page.evaluate("getSelection().toString()").startswith("curl ")


def test_times_are_shown_in_the_zone_of_the_reader(open_page: Open, operator: Visitor) -> None:
    with open_page(timezone_id="Asia/Tokyo", locale="en-GB") as watched:
        watched.open(operator.address("settings/sessions"))
        time = watched.page.locator("time").first

        assert time.get_attribute("title").endswith("UTC")
        assert "UTC" not in time.inner_text()


def test_the_menu_folds_on_a_narrow_screen(open_page: Open, operator: Visitor) -> None:
    with open_page(viewport={"width": 320, "height": 640}) as watched:
        watched.open(operator.address("home"))
        navigation = watched.page.locator("#navigation")
        assert not navigation.is_visible()
        watched.page.click(".menu-button")
        assert navigation.is_visible()
        watched.page.keyboard.press("Escape")
        assert not navigation.is_visible()
        assert watched.page.evaluate("document.activeElement.className") == "menu-button"


def test_a_part_of_a_page_that_the_server_does_not_answer_says_so(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address("studies/new"))
        page.route("**/studies/new", lambda route: route.abort())
        watched.expect_failed_requests()
        page.locator("[hx-trigger=change]").first.select_option(index=1)

        page.wait_for_selector("text=The server does not answer")
        page.unroute("**/studies/new")
        page.locator("[hx-trigger=change]").first.select_option(index=2)
        page.wait_for_selector("text=The server does not answer", state="hidden")


def test_a_session_that_ends_leads_to_the_sign_in_of_the_whole_page_and_back(
    open_page: Open, operator: Visitor
) -> None:
    with open_page() as watched:
        page, context = watched.page, watched.page.context
        watched.expect_status(401)
        watched.open(operator.address("studies/new"))
        page.locator("main input:not([type=hidden])").first.fill("Typed for a while")
        cookies = context.cookies()
        context.clear_cookies()
        context.add_cookies([{**cookies[0], "value": "ended"}])
        page.locator("[hx-trigger=change]").first.select_option(index=1)
        page.wait_for_url(re.compile(r"/console/sign-in\?next="))
        assert page.locator("nav").count() == 0

        context.clear_cookies()
        context.add_cookies(cookies)
        watched.open(operator.address("studies/new"))
        assert page.locator("main input:not([type=hidden])").first.input_value() == "Typed for a while"
