"""A browser without a screen: a client with a cookie, which sends what browsers send."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2 as httpx
import pytest

from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.sessions.session import GivenRole
from mavera.accounts.sessions.sessions import Sessions
from mavera.services import open_sessions
from mavera.storage import database as database_module
from mavera.storage.database import Database
from tests.conftest import Served

T = TypeVar("T")
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in. `get` and `post` take a path of the workspace, or one that begins with /."""

    http: httpx.Client
    workspace_id: str

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(self.address(path), **options)

    def post(self, path: str, fields: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(self.address(path), data=fields or {}, **options)

    def address(self, path: str) -> str:
        return path if path.startswith("/") else f"/console/w/{self.workspace_id}/{path}"


def run_on_store(served: Served, use: Callable[[Database], Awaitable[T]]) -> T:
    """Run `use` on the store of a server, as another process does."""
    # Playwright's loop runs in the main thread of the tests with a browser, so this one needs its own thread.

    async def run() -> T:
        async with Database.open(served.settings) as database:
            return await use(database)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def run_on_sessions(served: Served, use: Callable[[Sessions], Awaitable[T]]) -> T:
    return run_on_store(served, lambda database: use(open_sessions(database, served.settings)))


def first_workspace(served: Served) -> str:
    found = run_on_store(served, find_first_workspace_id)
    assert found is not None
    return found


def stranger(served: Served, **headers: str) -> httpx.Client:
    """Return a browser without a session."""
    return httpx.Client(
        base_url=served.url, headers={**SAME_ORIGIN, **headers}, follow_redirects=True, timeout=60
    )


def sign_in_with_key(served: Served, key: str | None = None) -> Visitor:
    """Return a browser that pasted a key, by default the live key of `served`."""
    http = stranger(served)
    answer = http.post("/console/sign-in", data={"key": key or served.key})
    assert answer.status_code == 200, answer.text
    return Visitor(http, first_workspace(served))


def sign_in(served: Served, role: GivenRole = "operator", workspace_id: str | None = None) -> Visitor:
    """Return a browser with a session of this role, which an invitation made."""
    chosen = workspace_id or first_workspace(served)
    token = run_on_sessions(served, lambda sessions: sessions.begin(chosen, role, "invitation", "Ada"))
    http = stranger(served)
    name = run_on_sessions(served, lambda sessions: sessions.name_instance())
    http.cookies.set(f"mavera-{name}", token.text)
    return Visitor(http, chosen)


@dataclass
class Counter:
    queries: int = 0


@contextmanager
def count_queries() -> Iterator[Counter]:
    """Count the statements of all databases of this process during the block."""
    counter = Counter()
    kind = database_module.Transaction
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fetch_all", "execute", "execute_many"):
            original = getattr(kind, name)

            async def count(self: Any, *args: Any, _original: Any = original, **values: Any) -> Any:
                counter.queries += 1
                return await _original(self, *args, **values)

            patch.setattr(kind, name, count)
        yield counter


def count_fewest(visitor: Visitor, path: str, **options: Any) -> int:
    """Return how many statements a page takes. Others may run meanwhile, so the fewest count."""
    counts = []
    for _ in range(4):
        with count_queries() as counted:
            assert visitor.get(path, **options).status_code == 200, path
        counts.append(counted.queries)
    return min(counts[1:])


def text_of(answer: httpx.Response) -> str:
    """Return the text of a page without its tags, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)).strip()


def hidden_of(answer: httpx.Response, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', answer.text)
    assert found is not None, f"the page has no hidden field {name}"
    return found[1]
