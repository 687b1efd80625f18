"""Sessions, links and the console identity, on both databases: when they end, and how they are read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mavera.accounts.credits.usage import list_latest
from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.sessions.sessions import NOTE_USE_SECONDS, Sessions
from mavera.errors import Forbidden, NotFound
from mavera.settings import Settings
from mavera.storage.database import Database, Row, Transaction
from mavera.storage.schema import ensure_schema

DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000

    def __call__(self) -> float:
        return self.now


class Stage:
    """A database with its first workspace, and sessions under a clock of the test."""

    def __init__(self, database: Database, workspace_id: str) -> None:
        self.database = database
        self.workspace_id = workspace_id
        self.clock = Clock()
        self.sessions = Sessions(database, idle_seconds=3600, life_seconds=7 * DAY, clock=self.clock)


def play(settings: Settings, scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Database.open(settings) as database:
            await ensure_schema(database)
            await make_first_key(database)
            workspace_id = await find_first_workspace_id(database)
            assert workspace_id is not None
            await scene(Stage(database, workspace_id))

    asyncio.run(main())


def test_a_session_ends_after_an_idle_time_and_at_its_absolute_end(settings: Settings) -> None:
    async def scene(stage: Stage) -> None:
        token = await stage.sessions.begin(stage.workspace_id, "member", "invitation", "Ada")
        begun = stage.clock.now
        while stage.clock.now < begun + 7 * DAY - 3000:
            stage.clock.now += 3000  # each use puts the idle end off
            assert await stage.sessions.find(token.text) is not None
        stage.clock.now = begun + 7 * DAY
        assert await stage.sessions.find(token.text) is None

        idle = await stage.sessions.begin(stage.workspace_id, "member", "invitation", "Bo")
        stage.clock.now += 3600
        assert await stage.sessions.find(idle.text) is None

    play(settings, scene)


def test_a_session_s_use_is_noted_once_a_minute(settings: Settings) -> None:
    async def scene(stage: Stage) -> None:
        token = await stage.sessions.begin(stage.workspace_id, "member", "invitation", "Ada")
        for seconds in (1, NOTE_USE_SECONDS - 2):
            stage.clock.now += seconds
            found = await stage.sessions.find(token.text)
            assert found is not None
            assert found.used_at == found.created_at
        stage.clock.now += 1
        await stage.sessions.find(token.text)
        found = await stage.sessions.find(token.text)
        assert found is not None
        assert found.used_at == stage.clock.now

    play(settings, scene)


def test_a_session_of_a_key_ends_when_the_key_expires(settings: Settings) -> None:
    async def scene(stage: Stage) -> None:
        async with Keyring(stage.database, clock=stage.clock) as keyring:
            new = await keyring.make(stage.workspace_id, KeyTerms("x", expires_at=stage.clock.now + 600))
            principal = await keyring.authenticate(f"Bearer {new.text}")
        token = await stage.sessions.begin_with_key(principal)
        found = await stage.sessions.find(token.text)
        assert found is not None
        assert found.principal == principal

        stage.clock.now += 600

        assert await stage.sessions.find(token.text) is None
        assert await stage.sessions.list(stage.workspace_id) == []

    play(settings, scene)


def test_a_link_works_once_and_for_ten_minutes(settings: Settings) -> None:
    async def scene(stage: Stage) -> None:
        used, late = await stage.sessions.make_link(), await stage.sessions.make_link()
        results = await asyncio.gather(
            *(stage.sessions.redeem(used.text) for _ in range(4)), return_exceptions=True
        )
        assert sorted(isinstance(result, Forbidden) for result in results) == [False, True, True, True]
        stage.clock.now += 600
        with pytest.raises(Forbidden):
            await stage.sessions.redeem(late.text)

    play(settings, scene)


def test_the_console_identity_is_one_row_without_a_text(settings: Settings) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(2):
            token = await stage.sessions.begin(stage.workspace_id, "admin", "link", "Ada")
        found = await stage.sessions.find(token.text)
        assert found is not None
        rows = await stage.database.fetch_all("SELECT id, name FROM api_keys WHERE last_four = ''")
        assert rows == [{"id": found.principal.key_id, "name": "console"}]
        async with Keyring(stage.database) as keyring:
            assert all(key.last_four for key in await keyring.list(stage.workspace_id))
            for named in (found.principal.key_id, ""):
                with pytest.raises(NotFound):
                    await keyring.revoke(stage.workspace_id, named)

    play(settings, scene)


@pytest.mark.sqlite
def test_no_read_of_sessions_goes_through_a_whole_table(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says how it would read each statement."""
    seen: list[tuple[str, dict[str, Any]]] = []
    original = Transaction.fetch_all

    async def note(self: Transaction, sql: str, /, **values: Any) -> list[Row]:
        seen.append((sql, values))
        return await original(self, sql, **values)

    async def scene(stage: Stage) -> None:
        token = await stage.sessions.begin(stage.workspace_id, "member", "invitation", "Ada")
        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "fetch_all", note)
            await stage.sessions.find(token.text)
            await stage.sessions.list(stage.workspace_id)
            await stage.sessions.list_invitations(stage.workspace_id)
            await list_latest(stage.database, stage.workspace_id, limit=8)
        assert len(seen) >= 4
        for sql, values in seen:
            plan = await stage.database.fetch_all(f"EXPLAIN QUERY PLAN {sql}", **values)
            steps = [str(row["detail"]) for row in plan]
            assert steps
            assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step], steps

    play(settings, scene)
