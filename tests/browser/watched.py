"""
A page of a real browser that fails its test for anything that a page of the console must not do.

    a violation of the policy, a request to another host, an error or a warning on the console,
    an exception in a script

Chromium writes a line of its own for an answer with an error status. A test that provokes one expects it:
`watched.expect_status(404)`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.requirements import require_module, require_program, skip_or_fail

HERE = Path(__file__).parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_STATUS_LINE = "Failed to load resource: the server responded with a status of"
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@cache
def read_axe() -> str:
    if not AXE.exists():
        skip_or_fail("axe-core is not installed: make node-clients")
    return AXE.read_text(encoding="utf-8")


@contextmanager
def running_chromium() -> Iterator[Any]:
    """Start Debian's Chromium, or skip or fail the running test."""
    path = require_program("chromium", "apt-get install chromium fonts-liberation")
    playwright = require_module("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """`page` is Playwright's page, and `url` the server's address."""

    page: Any
    url: str
    faults: list[str] = field(default_factory=list)
    _expected: set[int] = field(default_factory=set)
    _may_fail: bool = False

    def expect_status(self, status: int) -> None:
        """Let Chromium write its line about an answer with this status."""
        self._expected.add(status)

    def expect_failed_requests(self) -> None:
        """Let Chromium and htmx write their lines about a request that gets no answer."""
        self._may_fail = True

    def open(self, path: str) -> None:
        self.page.goto(self.url + path, wait_until="load")

    def check_widths(self) -> None:
        """Fail if the page scrolls sideways in one of the sizes that a reader may have."""
        wide = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{self.page.url} is {wide} px too wide at {self.page.viewport_size}"

    def check_accessibility(self) -> None:
        """Fail for each violation that axe finds, and settle what it could not decide."""
        self.page.evaluate(read_axe())
        result = self.page.evaluate(
            """(tags) => axe.run(document, {
              runOnly: {type: "tag", values: tags}, rules: {"target-size": {enabled: true}},
              resultTypes: ["violations", "incomplete"]})""",
            TAGS,
        )
        found = [f"{self.page.url} {describe_rule(rule)}" for rule in result["violations"]]
        found += [f for rule in result["incomplete"] for f in self._settle(rule)]
        assert found == [], "\n".join(found)

    def _settle(self, rule: dict[str, Any]) -> list[str]:
        if rule["id"] != "color-contrast":
            return [f"{self.page.url} undecided: {describe_rule(rule)}"]
        selectors = [node["target"][0] for node in rule["nodes"]]
        script = (HERE / "contrast.js").read_text(encoding="utf-8")
        return [
            f"{self.page.url} contrast {one['ratio']:.2f} of {one['selector']}"
            for one in self.page.evaluate(script[script.index("(selectors)") :], selectors)
            if one["ratio"] < one["wanted"]
        ]

    def note_console(self, message: Any) -> None:
        text = message.text
        if message.type not in ("error", "warning"):
            return
        if text.startswith(_STATUS_LINE) and any(f" {status} " in text for status in self._expected):
            return
        if self._may_fail and ("net::ERR_" in text or "Failed to fetch" in text):
            return
        self.faults.append(f"{self.page.url}: {message.type}: {text}")

    def note_request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws") and parts.netloc != urlsplit(self.url).netloc:
            self.faults.append(f"{self.page.url}: a request to {request.url}")


def describe_rule(rule: dict[str, Any]) -> str:
    nodes = "; ".join(node["html"][:160] for node in rule["nodes"][:4])
    return f"{rule['id']} ({rule['help']}): {nodes}"


@contextmanager
def watched_page(
    browser: Any, url: str, cookie: tuple[str, str] | None = None, **options: Any
) -> Iterator[Watched]:
    """Open a page in a context of its own, with a session's cookie. Its faults fail the test at the end."""
    context = browser.new_context(**options)
    if cookie is not None:
        name, value = cookie
        context.add_cookies([{"name": name, "value": value, "url": url}])
    context.add_init_script(_REPORT_VIOLATIONS)
    page = context.new_page()
    watched = Watched(page, url)
    page.on("console", watched.note_console)
    page.on("pageerror", lambda error: watched.faults.append(f"{page.url}: {error}"))
    page.on("request", watched.note_request)
    page.set_default_timeout(15_000)
    try:
        yield watched
    finally:
        context.close()
    assert watched.faults == [], "\n".join(watched.faults)
