"""A workspace with a key and credits, for tests that spend them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mavera.accounts import workspaces
from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End, Reserve
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.errors import APIError
from mavera.storage.database import Database, Row
from tests.support.opening import Open


class Clock:
    """A clock that a test moves; it starts at 2023-11-14."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Bank:
    database: Database
    credits: Credits
    workspace_id: str
    key_id: str
    clock: Clock
    numbers: Any = field(default_factory=itertools.count)

    def reserve(self, run_id: str | None = None, credits: int = 1, key_id: str | None = None) -> Reserve:
        run_id = run_id or f"run{next(self.numbers)}"
        return Reserve(run_id, self.workspace_id, key_id or self.key_id, credits)

    def end(self, held: Reserve, credits: int = 1, **members: Any) -> End:
        members = {"status": "completed", **members}
        return End(held.run_id, held.workspace_id, held.key_id, credits=credits, **members)

    async def balance(self) -> int:
        found = await workspaces.get(self.database, self.workspace_id, now=int(self.clock.seconds))
        return found.balance

    async def one(self, sql: str) -> Row:
        row = await self.database.fetch_one(sql)
        assert row is not None
        return row

    async def check_books(self, *, held: int = 0) -> None:
        """The ledger adds up to the balance, and nothing is held that should not be."""
        sums = await self.one("SELECT COALESCE(SUM(credits), 0) AS s FROM ledger")
        assert int(sums["s"]) == await self.balance()
        reserved = await self.one("SELECT COALESCE(SUM(credits), 0) AS s FROM reservations")
        assert int(reserved["s"]) == held


@asynccontextmanager
async def bank(opened: Open, credits: int = 0, **new: Any) -> AsyncIterator[Bank]:
    """Open a workspace that has `credits` and is granted none."""
    clock = Clock()
    now = int(clock.seconds)
    async with opened() as database:
        terms = {"plan": "enterprise", "overrides": Overrides(monthly_credits=0), **new}
        workspace_id = await workspaces.create(database, NewWorkspace("Team", **terms), now=now)
        if credits:
            await workspaces.top_up(database, workspace_id, credits, note=None, now=now)
        async with Keyring(database, clock=clock) as keyring:
            key = await keyring.make(workspace_id, KeyTerms("tests"))
        credits_of_bank = Credits(database, clock=clock)
        try:  # not entered: its own sweeps would meet those of the test
            yield Bank(database, credits_of_bank, workspace_id, key.key.id, clock)
        finally:
            await credits_of_bank.close()


async def outcomes(*waiting: Any) -> list[Any]:
    """Await all, and return results and errors."""
    return await asyncio.gather(*waiting, return_exceptions=True)


def admitted(results: list[Any]) -> int:
    """Count those that were not refused; a refusal is an APIError and nothing else."""
    assert all(result is None or isinstance(result, APIError) for result in results), results
    return sum(result is None for result in results)
