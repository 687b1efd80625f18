"""
Every page that can be reached by links from the home page, in a real browser.

    light and dark, at 320 px, at 640 px of a display with twice the pixels, and with a root font of twice the
    size: no violation of the policy, no request to another host, no line on the console, nothing that axe
    finds, and no scrolling sideways
"""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import Open
from tests.conftest import Served
from tests.console.visitors import Visitor

MOST_PAGES = 80
SIZES: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1280, "height": 800}},
    "narrow": {"viewport": {"width": 320, "height": 640}},
    "zoomed": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
_LINK = re.compile(r'href="(/[^"#]*)')
# One page stands for all pages of the same kind.
_ID = re.compile(r"\bc[0-9a-z]{24}\b|\bfg_\w+|\bresp_\w+|(?<=/answers/)[^/]+|(?<=/charts/)[^/]+")
_NOT_PAGES = re.compile(
    r"/console/static/|/docs|\.(?:csv|zip|svg|png|json|xlsx|sav|yaml|html)\b|/export|/download"
)


def find_pages(visitor: Visitor) -> list[str]:
    """Return the address of one page of each kind, by following links from the home page."""
    waiting = [visitor.address("home")]
    kinds: dict[str, str] = {}
    while waiting and len(kinds) < MOST_PAGES:
        address = waiting.pop(0)
        kind = _ID.sub("ID", address.partition("?")[0])
        if kind in kinds:
            continue
        answer = visitor.http.get(address)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert answer.status_code == 200, address
        kinds[kind] = address
        links = (link.replace("&amp;", "&") for link in _LINK.findall(answer.text))
        waiting += [link for link in links if not _NOT_PAGES.search(link) and link.startswith("/console")]
    return list(kinds.values())


@pytest.fixture(scope="module")
def pages(operator: Visitor) -> list[str]:
    found = find_pages(operator)
    assert len(found) >= 8, found
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_page_is_in_order(open_page: Open, pages: list[str], size: str, scheme: str) -> None:
    faults = []
    with open_page(color_scheme=scheme, reduced_motion="reduce", **SIZES[size]) as watched:
        for path in pages:
            watched.open(path)
            checks = [watched.check_widths]
            # axe takes a second a page. Colours are the same at any size, and zoomed pages are narrow ones.
            if size == "wide" or (size, scheme) == ("narrow", "light"):
                checks.append(watched.check_accessibility)
            for check in checks:
                try:
                    check()
                except AssertionError as fault:
                    faults.append(str(fault))
    assert faults == [], "\n".join(faults)


def test_every_page_fits_with_a_large_font(open_page: Open, pages: list[str]) -> None:
    faults = []
    with open_page(viewport={"width": 1280, "height": 800}) as watched:
        for path in pages:
            watched.open(path)
            watched.page.evaluate("document.documentElement.style.fontSize = '200%'")
            try:
                watched.check_widths()
            except AssertionError as fault:
                faults.append(str(fault))
    assert faults == [], "\n".join(faults)


def test_every_page_can_be_used_with_the_keyboard(open_page: Open, pages: list[str]) -> None:
    """The Tab key reaches everything that can be clicked, and shows where it is."""
    faults = []
    with open_page(viewport={"width": 1280, "height": 2000}) as watched:
        for path in pages:
            watched.open(path)
            faults += [f"{path}: {fault}" for fault in watched.page.evaluate(_LIST_UNREACHABLE)]
            for _ in range(4):
                watched.page.keyboard.press("Tab")
            focus = watched.page.evaluate(_DESCRIBE_FOCUS)
            if focus["tag"] != "BODY" and not focus["visible"]:
                faults.append(f"{path}: the focus on {focus['tag']} cannot be seen")
    assert faults == [], "\n".join(faults)


_LIST_UNREACHABLE = """
() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [role=button]")]
  .filter((element) => element.checkVisibility() && !element.disabled && element.tabIndex < 0)
  .map((element) => element.outerHTML.slice(0, 120))
"""
_DESCRIBE_FOCUS = """
() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const visible = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  return {tag: element.tagName, visible};
}
"""


def test_pages_show_hostile_names_as_text(open_page: Open, pages: list[str]) -> None:
    with open_page() as watched:
        watched.page.on("dialog", lambda dialog: watched.faults.append(f"a dialog: {dialog.message}"))
        for path in pages:
            watched.open(path)
            assert watched.page.locator("img[src=x]").count() == 0


def test_every_page_is_readable_without_scripts(open_page: Open, pages: list[str], served: Served) -> None:
    with open_page(java_script_enabled=False) as watched:
        for path in pages:
            watched.open(path)
            assert urlsplit(watched.page.url).path == urlsplit(path).path
            assert watched.page.locator("main h1").inner_text()
            assert watched.page.locator("nav a").first.is_visible()
