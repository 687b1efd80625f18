"""The API's page for trying things fits a telephone."""

import pytest

from tests.browser.conftest import Open
from tests.conftest import Served


@pytest.mark.parametrize("opened", [0, 4, 12])
def test_the_reference_does_not_scroll_sideways_on_a_telephone(
    open_page: Open, served: Served, opened: int
) -> None:
    with open_page(viewport={"width": 390, "height": 900}) as watched:
        watched.page.goto(f"{served.url}/docs")
        watched.page.locator(".opblock-summary").nth(opened).click()
        watched.page.locator(".responses-table").first.wait_for()

        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 390
