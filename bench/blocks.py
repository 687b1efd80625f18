"""
Measure what it costs to hold and charge a run, with single holds and with blocks of credits.

    python -m bench.blocks        processor time of this process and time by the clock, in µs for each run
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support import servers
from tests.support.house import Bank, bank
from tests.support.tables import make_tables

from mavera.accounts.credits.holds import Credits
from mavera.storage.database import Database
from mavera.storage.engine import parse_url

RUNS, AT_ONCE, PAIRS = 6_000, 50, 3
CREDITS = 100_000_000


async def measure(url: str, *, blocks: bool) -> tuple[float, float]:
    """Return the µs of processor time and of the clock for each run."""

    @asynccontextmanager
    async def open_database() -> AsyncIterator[Database]:
        async with Database.at(parse_url(url)) as database:
            yield database

    living = (lambda: 1) if blocks else None
    async with (
        bank(open_database, CREDITS) as b,
        Credits(b.database, clock=b.clock, living=living) as credits,
    ):
        await asyncio.gather(*(_run(b, credits, 10) for _ in range(AT_ONCE)))
        spent, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(_run(b, credits, RUNS // AT_ONCE) for _ in range(AT_ONCE)))
        return (time.process_time() - spent) / RUNS * 1e6, (time.perf_counter() - began) / RUNS * 1e6


async def _run(b: Bank, credits: Credits, times: int) -> None:
    for _ in range(times):
        held = b.reserve()
        await credits.reserve(held)
        await credits.end(b.end(held))


def main() -> None:
    with servers.postgres() as server_url:
        for _ in range(PAIRS):
            for blocks in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    _report("sqlite", f"sqlite:///{folder}/mavera.db", blocks=blocks)
                with servers.new_database(server_url) as url:
                    _report("postgres", url, blocks=blocks)


def _report(store: str, url: str, *, blocks: bool) -> None:
    make_tables(url)
    processor, clock = asyncio.run(measure(url, blocks=blocks))
    print(
        f"{store:9} {'blocks' if blocks else 'single'}  {processor:4.0f} µs processor  {clock:4.0f} µs clock"
    )


if __name__ == "__main__":
    main()
