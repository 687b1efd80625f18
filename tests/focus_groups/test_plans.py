"""Lists that grow with use are read by an index, page by page. SQLite says how it would read them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mavera.accounts.principal import Principal
from mavera.focus_groups import repository
from mavera.focus_groups.shares import Shares
from mavera.personas import repository as personas
from mavera.storage.moment import moment_of
from tests.focus_groups.test_shares import make_row
from tests.support.house import Bank, bank
from tests.support.opening import Open


class Explained:
    """A database that explains each query before it runs it. `plans` has the lines of all plans."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.plans: list[str] = []

    async def fetch_all(self, sql: str, /, **values: Any) -> Any:
        plan = await self._database.fetch_all(f"EXPLAIN QUERY PLAN {sql}", **values)
        self.plans += [line["detail"] for line in plan]
        return await self._database.fetch_all(sql, **values)

    async def fetch_one(self, sql: str, /, **values: Any) -> Any:
        rows = await self.fetch_all(sql, **values)
        return rows[0] if rows else None


Read = Callable[[Any, Bank, Principal], Awaitable[Any]]
READS: dict[str, Read] = {
    "studies": lambda db, _, who: repository.list_page(db, who, limit=25, before=(5, "fg_9")),
    "progress": lambda db, *_: repository.count_cells_of(db, ["fg_1", "fg_2"]),
    "links": lambda db, b, _: _open_shares(db, b).list_of(make_row("w"), 50, "cz"),
    "a link": lambda db, b, _: _find(_open_shares(db, b)),
    "versions": lambda db, _, who: personas.list_history(db, who, "c1", limit=20, before=9),
}


def _open_shares(db: Any, b: Bank) -> Shares:
    return Shares(db, moment=moment_of(b.database, b.clock))


async def _find(shares: Shares) -> None:
    with pytest.raises(Exception, match="expired"):
        await shares.find_study("secret")


@pytest.mark.sqlite
@pytest.mark.parametrize("name", list(READS))
def test_a_list_is_read_by_an_index_and_not_sorted(opened: Open, name: str) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            explained = Explained(b.database)
            await READS[name](explained, b, Principal.local(b.workspace_id))
            assert explained.plans
            for line in explained.plans:
                assert not line.startswith("SCAN"), explained.plans
                assert "TEMP B-TREE FOR ORDER BY" not in line, explained.plans

    asyncio.run(main())
