"""Personas in a real browser: compared, edited with an answer of the unsaved one, drafted with progress."""

import re

from tests.browser.conftest import Open
from tests.console.visitors import Visitor


def test_no_more_than_three_can_be_compared(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address("personas"))
        compare = page.get_by_role("button", name="Compare the chosen ones")
        assert compare.is_disabled()
        boxes = page.locator("input[name=id]")
        for place in range(3):
            boxes.nth(place).check()
        assert boxes.nth(3).is_disabled()
        assert page.locator("[data-count]").inner_text() == "3 of 3 chosen."
        compare.click()
        page.wait_for_selector("table.comparison")
        assert page.locator("table.comparison thead th").count() == 4


def test_the_unsaved_persona_answers(open_page: Open, operator: Visitor) -> None:
    found = re.search(r"/personas/(c[0-9a-z]{24})", operator.get("personas", params={"owner": "own"}).text)
    assert found is not None
    path = f"personas/{found[1]}"
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address(f"{path}/edit"))
        page.fill("[data-question]", "What do you buy?")
        with page.expect_request("**/api/v1/responses") as asked:
            page.fill("[name='details.pains']", "Wet shoes")
            page.locator("[data-ask]").click()
        assert "Wet shoes" in asked.value.post_data
        page.wait_for_selector("[data-answer]:has-text('What do you buy?')")
        assert "Wet shoes" not in operator.get(path).text

        watched.expect_status(422)
        page.fill("[name=name]", "x")
        page.locator("[data-ask]").click()
        page.wait_for_selector("text=readable characters")


def test_a_draft_shows_that_it_waits(open_page: Open, operator: Visitor) -> None:
    with open_page() as watched:
        page = watched.page
        watched.open(operator.address("personas/new"))
        page.fill("[name=name]", "Drafted in a browser")
        page.fill("[name=description]", "Somebody who waits")
        page.evaluate(
            "document.querySelector('form[data-waits]').addEventListener('submit', (e) => e.preventDefault())"
        )
        page.get_by_role("button", name="Make the persona").click()
        page.wait_for_selector("text=The model invents the person: 1 s")
        page.get_by_role("button", name="Stop").click()
        assert not page.locator("[data-waiting]").is_visible()
