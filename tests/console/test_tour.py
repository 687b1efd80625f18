"""Every page of the console: it opens, reads little, keeps the policy, and needs no script for reading."""

import re

import pytest

from mavera.console.pages import PAGES
from mavera.console.policy import CONTENT_SECURITY_POLICY
from tests.conftest import Served
from tests.console.visitors import Visitor, count_queries, stranger

MOST_QUERIES = 8
# Pages without another parameter than the workspace. Exports are files.
PATHS = sorted(
    {
        page.path
        for page in PAGES
        if page.method == "GET"
        and "{" not in page.path.replace("{workspace_id}", "")
        and not page.path.endswith("/export")
    }
)

every_page = pytest.mark.parametrize("path", PATHS)


def address(visitor: Visitor, path: str) -> str:
    return path.replace("{workspace_id}", visitor.workspace_id)


@every_page
def test_a_page_opens_with_few_queries(operator: Visitor, path: str) -> None:
    operator.get(address(operator, path))  # the first visit may prepare something
    with count_queries() as counted:
        answer = operator.get(address(operator, path))

    assert answer.status_code == 200
    assert counted.queries <= MOST_QUERIES


@every_page
def test_a_page_keeps_the_policy(operator: Visitor, path: str) -> None:
    answer = operator.get(address(operator, path))

    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] in ("private, no-cache", "no-store")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on", answer.text)
    assert not re.search(r"<script(?![^>]*\ssrc=)(?![^>]*application/json)", answer.text)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)


@every_page
def test_a_stranger_is_led_to_the_sign_in_and_back(served: Served, operator: Visitor, path: str) -> None:
    answer = stranger(served).get(address(operator, path), follow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/sign-in?next=/console/")


@every_page
def test_a_page_has_one_heading_and_marks_its_link(operator: Visitor, path: str) -> None:
    text = operator.get(address(operator, path)).text

    assert text.count("<h1") == 1
    assert '<html lang="en"' in text
    assert "<title>" in text
