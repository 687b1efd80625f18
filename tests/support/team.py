"""A workspace of its own on a running server, and what is noted of its runs."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import openai

from mavera.accounts import workspaces
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.models.model import Model
from mavera.settings import Settings
from mavera.storage.database import Database, Row
from tests.conftest import Serve, Served
from tests.support.tables import make_tables

ASK: Any = {"model": "mavera-1", "input": "Would you pay?"}
# Two by two red pixels.
PREPAID = Overrides(monthly_credits=0)


def serve_on(serve: Serve, database_url: str, model: Model | None = None, **settings: str) -> Served:
    """Start a server on the database of the fixture `database_url`, SQLite or Postgres."""
    make_tables(database_url)
    if not database_url.startswith("sqlite"):
        settings["database_url"] = database_url
    return serve(model, **settings)


@dataclass
class Team:
    """A workspace of its own on a running server."""

    served: Served
    workspace_id: str
    key: str
    key_id: str

    def post(self, path: str = "/responses", body: Any = None, **headers: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", **headers}
        return httpx.post(
            self.served.base_url + path, json=body or ASK, headers=headers, timeout=30, verify=False
        )

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.get(self.served.base_url + path, headers=headers, timeout=30, verify=False)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.served.base_url, api_key=self.key, max_retries=0)

    def rows(self, sql: str, **values: Any) -> list[Row]:
        return asyncio.run(_rows(self.served.settings, sql, values))

    def balance(self) -> int:
        [row] = self.rows("SELECT balance FROM workspaces WHERE id = :id", id=self.workspace_id)
        return int(row["balance"])

    def settled(self, runs: int) -> list[Row]:
        """Wait until so many runs have ended, and return what is noted of them."""
        deadline = time.monotonic() + 10
        while True:
            noted = self.rows("SELECT * FROM usage WHERE workspace_id = :id", id=self.workspace_id)
            if len(noted) >= runs or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert len(noted) == runs
        [held] = self.rows("SELECT COUNT(*) AS n FROM reservations")
        assert held["n"] == 0
        [sums] = self.rows(
            "SELECT COALESCE(SUM(credits), 0) AS s FROM ledger WHERE workspace_id = :id", id=self.workspace_id
        )
        assert sums["s"] == self.balance()
        return noted


async def _rows(settings: Settings, sql: str, values: dict[str, Any]) -> list[Row]:
    async with Database.open(settings) as database:
        return await database.fetch_all(sql, **values)


def team(
    served: Served,
    credits: int = 100,
    plan: str = "enterprise",
    overrides: Overrides = PREPAID,
    budget: int | None = None,
    **terms: Any,
) -> Team:
    async def make() -> Team:
        now = int(time.time())
        async with Database.open(served.settings) as database, Keyring(database) as keyring:
            new = NewWorkspace("Team", plan, overrides if plan == "enterprise" else Overrides(), budget)
            workspace_id = await workspaces.create(database, new, now=now)
            if credits:
                await workspaces.top_up(database, workspace_id, credits, note=None, now=now)
            made = await keyring.make(workspace_id, KeyTerms("tests", **terms))
            return Team(served, workspace_id, made.text, made.key.id)

    return asyncio.run(make())
