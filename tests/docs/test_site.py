"""The site builds, all its links lead somewhere, and it asks no other host for anything."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from docs_site.build_site import build_site, cut_outside_links, find_broken_links

from mavera.api.routes.manual import find_folder, list_pages
from tests.conftest import Serve
from tests.docs.pages import DOCS

_LOADED = re.compile(r'<(?:script|img|link rel="(?:stylesheet|preload|icon)")[^>]*(?:src|href)="([^"]+)"')


@pytest.mark.proof
def test_the_site_builds_and_loads_nothing_from_elsewhere() -> None:
    site = build_site()

    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    assert {page.name for page in site.glob("*.txt")} == {"llms.txt", "llms-full.txt"}
    assert (site / "reference" / "errors.md").is_file()
    for page in pages:
        loaded = _LOADED.findall(page.read_text(encoding="utf-8"))
        assert not [target for target in loaded if urlsplit(target).netloc], page


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#there">b</a><a href="c.html">c</a><img src="d.png">')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="https://example.com/">out</a>')

    assert find_broken_links(tmp_path) == ["a.html: b.html#there", "a.html: c.html", "a.html: d.png"]


def test_a_link_out_of_the_pages_becomes_text(tmp_path: Path) -> None:
    text = "[code](../../src/x.py), [page](b.md#part), [site](https://example.com) and [here](#part)"

    cut = cut_outside_links(text, tmp_path / "section", tmp_path)

    assert cut == "code, [page](b.md#part), [site](https://example.com) and [here](#part)"


def test_a_running_server_gives_each_page_as_markdown(serve: Serve) -> None:
    url = serve().url
    summary = httpx.get(f"{url}/llms.txt").text
    listed = re.findall(r"\]\((/manual/[^)]+)\)", summary)

    assert find_folder() == DOCS
    assert len(listed) == len(list_pages(DOCS)) - 1  # the front page is the summary itself
    first = httpx.get(f"{url}{listed[0]}")
    assert first.headers["content-type"] == "text/markdown; charset=utf-8"
    assert first.text.startswith("# ")
    assert first.text in httpx.get(f"{url}/llms-full.txt").text
    missing = httpx.get(f"{url}/manual/../settings.py")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"
