"""
Keep a row for each living process of a database, so that processes know of each other.

    start        compare what has to be the same on all machines, and count the connections of all pools
    10 seconds   renew the row, count the living, and read the database's clock again
    a minute     may this version still run on the tables?

A process that is killed leaves its row, which is old after half a minute and is deleted by the next one.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Self

import msgspec
import structlog

from mavera import __version__
from mavera.core.ids import new_cuid
from mavera.errors import APIError
from mavera.storage.clock import SYNC_SECONDS
from mavera.storage.database import Database
from mavera.storage.moment import Moment, moment_of
from mavera.storage.postgres_checks import warn_of_few_connections
from mavera.storage.schema import may_run

LIFE_SECONDS = 30
_LOOKS_PER_MINUTE = round(60 / SYNC_SECONDS)

log = structlog.get_logger()


class Presence:
    """
    The row of this process. `living` counts the processes of the database, this one included.

    `state` names digests of what has to be the same on all machines, such as a secret or a file.
    """

    def __init__(
        self,
        database: Database,
        *,
        role: str,
        connections: int,
        state: Mapping[str, str],
        on_look: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.id = new_cuid()
        self.living = 1
        self._database = database
        self._role = role
        self._connections = connections
        self._state = dict(state)
        self._on_look = on_look
        self._moment: Moment = moment_of(database, None)
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._register()
        await self._check_connections()
        self._keeper = asyncio.create_task(self._keep(), name="mavera-presence")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        with contextlib.suppress(APIError):
            await self._database.execute("DELETE FROM processes WHERE id = :id", id=self.id)

    async def look(self) -> None:
        """Renew the row, count the living processes and set the clock. Raises APIError."""
        await self._database.sync_clock()
        self._on_look(self._database.clock.skew_seconds)
        renewed = await self._database.execute(
            f"UPDATE processes SET expires_at = {self._moment.sql} + :life WHERE id = :id",  # noqa: S608
            now=self._moment.now,
            life=LIFE_SECONDS,
            id=self.id,
        )
        if not renewed:  # this process was stopped for longer than its life
            await self._register()
        row = await self._database.fetch_one(
            f"SELECT COUNT(*) AS living FROM processes WHERE expires_at > {self._moment.sql}",  # noqa: S608
            now=self._moment.now,
        )
        self.living = max(1, int(row["living"])) if row else 1

    async def _register(self) -> None:
        now = self._moment.now
        await self._database.execute(
            f"DELETE FROM processes WHERE expires_at <= {self._moment.sql}",  # noqa: S608
            now=now,
        )
        await self._database.execute(
            f"""
            INSERT INTO processes (id, host, role, version, connections, state, started_at, expires_at)
            VALUES (:id, :host, :role, :version, :connections, :state, :started, {self._moment.sql} + :life)
            """,  # noqa: S608 - the clock is ours
            id=self.id,
            host=socket.gethostname(),
            role=self._role,
            version=__version__,
            connections=self._connections,
            state=msgspec.json.encode(self._state).decode(),
            started=now,
            now=now,
            life=LIFE_SECONDS,
        )
        for host, names in (await list_differences(self._database, self._state)).items():
            log.error("machines_differ", other=host, differs=list(names))

    async def _check_connections(self) -> None:
        if self._database.is_file:
            return
        needed = await self._database.fetch_one("SELECT SUM(connections) AS connections FROM processes")
        row = await self._database.fetch_one("SELECT current_setting('max_connections') AS most")
        if needed and row:
            warn_of_few_connections(needed=int(needed["connections"]), most=int(row["most"]))

    async def _keep(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            looks += 1
            try:
                await self.look()
                if looks % _LOOKS_PER_MINUTE == 0:
                    await self._check_version()
            except APIError as error:
                log.warning("presence_not_renewed", reason=error.message)
            except Exception as error:
                log.exception("presence_not_renewed", error=type(error).__name__)

    async def _check_version(self) -> None:
        row = await self._database.fetch_one(
            "SELECT lowest_schema, lowest_version FROM schema_state WHERE id = 1"
        )
        if row is not None and not may_run(row["lowest_schema"]):
            log.error("version_too_old", needed=row["lowest_version"], version=__version__)


async def list_differences(database: Database, state: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the hosts of living processes whose state differs from `state`, with what differs."""
    moment = moment_of(database, None)
    rows = await database.fetch_all(
        f"SELECT host, state FROM processes WHERE expires_at > {moment.sql} ORDER BY host",  # noqa: S608
        now=moment.now,
    )
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        other = msgspec.json.decode(row["state"], type=dict[str, str])
        names = tuple(name for name in state if name in other and other[name] != state[name])
        if names:
            found[str(row["host"])] = names
    return found
