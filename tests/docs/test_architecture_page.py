"""The traced request of the architecture page is one that really takes place."""

import re
import time
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from tests.conftest import Serve
from tests.docs.pages import DOCS, ROOT
from tests.support.trace import Trace, traced_threads
from tests.support.upstream_stub import running_upstream

PACKAGE = ROOT / "src" / "mavera"
# The way of the money. The page may leave out no file of these rooms that runs, none of these files, and no
# public method of these classes that runs.
ROOMS = ("runs/", "accounts/credits/", "accounts/limits/")
CLASSES = ("FirstResponses", "KeptAnswers", "ChargedRuns", "Admission", "Gate", "Credits")
FILES = ("accounts/idempotency.py", "accounts/keys/keyring.py", "storage/kept.py", "api/http/idempotency.py")
LAST = ("accounts/idempotency.py", "FirstResponses.free")


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield the function, the file and the note of each row of the traced request."""
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## One request, from bytes to bytes")[2].partition("\n## ")[0]
    for name, file, note in re.findall(r"^ +(?:│  )?([\w.]+) +(\w+/[\w/]+\.py)(.*)$", section, re.MULTILINE):
        yield name, file, note.strip()


def is_taken(note: str) -> bool:
    return not note.startswith("only")


@pytest.fixture
def trace(serve: Serve) -> Iterator[Trace]:
    """Trace the request that the page describes, from its first byte to its last."""
    with running_upstream() as upstream, traced_threads() as traced:
        served = serve(model_backend="upstream", upstream_base_url=upstream.url, upstream_model="m")
        url, headers = served.base_url, served.headers
        persona_id = httpx.get(f"{url}/personas", headers=headers).json()["data"][0]["id"]
        body = {"model": "mavera-1", "input": "Would you pay?", "persona_id": persona_id, "stream": True}
        traced.begin()
        answer = httpx.post(f"{url}/responses", json=body, headers={**headers, "Idempotency-Key": "one"})
        assert "response.completed" in answer.text
        deadline = time.monotonic() + 10
        while LAST not in traced.functions and time.monotonic() < deadline:
            time.sleep(0.01)
        traced.end()
        yield traced


def place_of(trace: Trace, name: str, file: str) -> int | None:
    """Return when a function, or the making of a class, was first called."""
    return trace.functions.get((file, name), trace.functions.get((file, f"{name}.__init__")))


def test_the_request_calls_every_function_of_the_page_in_its_order(trace: Trace) -> None:
    taken = [(name, file) for name, file, note in rows() if is_taken(note)]
    places = [place_of(trace, name, file) for name, file in taken]

    assert len(taken) > 40
    for (name, file), place in zip(taken, places, strict=True):
        assert place is not None, f"{name} of {file} was not called"
    called = [step for _, step in sorted(zip(places, taken, strict=True))]
    assert called == taken


def test_the_page_leaves_out_nothing_on_the_way_of_the_money(trace: Trace) -> None:
    functions = {name for name, _, note in rows() if is_taken(note)}
    named = {file for _, file, _ in rows()}
    ran = {file for file, _ in trace.functions if file.startswith(ROOMS) or file in FILES}

    assert ran >= set(FILES)
    assert ran - named == set()
    methods = [name for _, name in trace.functions if name.partition(".")[0] in CLASSES]
    assert {name for name in methods if "._" not in name and name.count(".") == 1} - functions == set()


def test_a_step_that_the_request_does_not_take_stands_where_the_page_says() -> None:
    skipped = [(name, file) for name, file, note in rows() if not is_taken(note)]

    assert skipped
    for name, file in skipped:
        source = (PACKAGE / file).read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"\b(?:def|class) {part}\b", source), f"{name} is not in {file}"
