"""A study in a real browser: built, estimated, followed, filtered, copied as a picture and shared."""

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Open
from tests.browser.watched import watched_page
from tests.conftest import Served
from tests.console.visitors import Visitor

WRONG = "name: Tea\npersonas: [boomer]\nquestions:\n  - {id: q1, type: guess, text: T}\n"


@pytest.fixture(scope="module")
def study(operator: Visitor) -> str:
    """Return the id of a finished study, without its beginning `fg_`."""
    for found in re.finditer(r"/studies/fg_(\w{20}beef)", operator.get("studies").text):
        return found[1]
    raise AssertionError("there is no finished study")


def test_a_study_is_built_with_the_keyboard_and_estimated(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address("studies/new"))
        page.fill("[name=name]", "Tea at work")
        page.fill("input[type=search]", "boomer")
        page.keyboard.press("Tab")
        page.locator("#people input:visible").first.check()
        page.select_option("[name='q0.type']", "multiple_choice")
        page.wait_for_selector("[name='q0.options']")
        page.fill("[name='q0.text']", "Which tea?")
        page.fill("[name='q0.options']", "Green\nBlack")
        page.get_by_role("button", name="Add a question").click()
        page.wait_for_selector("#question-2")
        assert page.input_value("[name='q0.options']") == "Green\nBlack"
        page.fill("[name='q1.text']", "Milk in it?")
        page.get_by_role("button", name="Estimate").click()
        page.wait_for_selector("text=Nothing has started")
        page.get_by_role("button", name="Go on as YAML").click()
        page.wait_for_selector("textarea#yaml")
        assert "Which tea?" in page.input_value("textarea#yaml")


def test_a_fault_of_yaml_leads_to_its_line(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        page = watched.page
        watched.expect_status(422)
        watched.open(operator.address("studies/new") + "?as=yaml")
        page.fill(
            "textarea#yaml", "name: Tea\npersonas: [boomer]\nquestions:\n  - {id: q1, type: guess, text: T}\n"
        )
        page.get_by_role("button", name="Estimate").click()
        page.get_by_role("link", name="Line 4").click()
        chosen = page.evaluate(
            "(() => { const a = document.querySelector('#yaml');"
            " return a.value.slice(a.selectionStart, a.selectionEnd); })()"
        )
        assert chosen == "  - {id: q1, type: guess, text: T}"


def test_progress_is_not_followed_in_a_hidden_tab(open_page: Open, operator: Visitor) -> None:
    """The server of this test has no worker, so the study waits until it is cancelled in another tab."""
    form = {
        "mode": "form", "do": "start", "form_id": "progress", "name": "Waits", "count": "1",
        "more_personas": "boomer", "q0.type": "yes_no", "q0.text": "Tea?",
    }  # fmt: skip
    path = "studies/" + str(operator.post("studies/new", form).url).rpartition("/")[2]
    with open_page() as watched:
        page = watched.page
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        watched.open(operator.address(path))
        page.wait_for_selector("text=0 of 2 cells")
        assert len([url for url in requests if url.endswith("/progress")]) == 1
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            " document.dispatchEvent(new Event('visibilitychange'));"
        )
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
            " document.dispatchEvent(new Event('visibilitychange'));"
        )
        page.wait_for_timeout(500)
        assert len([url for url in requests if url.endswith("/progress")]) == 2
        operator.post(f"{path}/delete")


def test_a_chart_is_saved_as_a_picture(
    open_page: Open, operator: Visitor, study: str, tmp_path: Path
) -> None:
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address(f"studies/fg_{study}"))
        with page.expect_download() as waiting:
            page.get_by_role("button", name="PNG").first.click()
        waiting.value.save_as(tmp_path / "chart.png")
        assert waiting.value.suggested_filename == "q1.png"
    head = (tmp_path / "chart.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    assert width == 2 * 768
    assert height > 200


def test_a_chart_is_copied_as_a_picture(chromium: Any, served: Served, operator: Visitor, study: str) -> None:
    [cookie] = list(operator.http.cookies.items())
    with watched_page(
        chromium, served.url, cookie, permissions=["clipboard-read", "clipboard-write"]
    ) as watched:
        page = watched.page
        watched.open(operator.address(f"studies/fg_{study}"))
        page.get_by_role("button", name="Copy chart").first.click()
        page.wait_for_selector("text=Copied")
        kinds = page.evaluate("navigator.clipboard.read().then((items) => items.flatMap((one) => one.types))")
        assert kinds == ["image/png"]


def test_a_shared_study_is_in_order_and_leads_nowhere(
    chromium: Any, served: Served, operator: Visitor, study: str
) -> None:
    made = operator.post(f"studies/fg_{study}/shares", {"form_id": "shared-tour", "days": "1"})
    path = "/console/shared/" + made.text.partition("/console/shared/")[2][:32]
    for options in ({"color_scheme": "dark"}, {"viewport": {"width": 320, "height": 640}}):
        with watched_page(chromium, served.url, None, **options) as watched:
            watched.open(path)
            watched.check_widths()
            watched.check_accessibility()
            assert watched.page.locator(".chart").count() > 10
            assert watched.page.locator("nav").count() == 0
            assert watched.page.locator("img[src=x]").count() == 0
            watched.page.select_option("[name=cell]", "a")
            watched.page.get_by_role("button", name="Show").click()
            watched.page.wait_for_url("**cell=a")
