"""Who is let in, why others are not, how soon a revoked key stops, and what is written of it all."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys import keyring as keyring_module
from mavera.accounts.keys.keyring import Keyring, NewKey
from mavera.accounts.keys.text import make_key_text
from mavera.accounts.principal import Principal
from mavera.accounts.short_lived import ShortLived
from mavera.errors import InvalidRequest, NotFound, ServiceUnavailable, Unauthorized
from mavera.storage.database import Database, Row
from tests.support.opening import Open


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


class CountingDatabase(Database):
    """Counts the questions that reach the store."""

    questions = 0

    async def fetch_one(self, sql: str, /, **values: object) -> Row | None:
        self.questions += 1
        return await super().fetch_one(sql, **values)


@dataclass
class House:
    database: Database
    keyring: Keyring
    workspace_id: str
    first_key: str
    clock: Clock

    async def made(self, name: str = "a key", expires_in: int | None = None) -> NewKey:
        expires_at = None if expires_in is None else int(self.clock.seconds) + expires_in
        return await self.keyring.create(self.workspace_id, name, "live", expires_at)


@asynccontextmanager
async def house(opened: Open, *, write_last_used_seconds: float = 60) -> AsyncIterator[House]:
    clock = Clock()
    async with opened() as database:
        first_key = await make_first_key(database)
        assert first_key is not None
        keyring = Keyring(database, clock=clock, write_last_used_seconds=write_last_used_seconds)
        principal = await keyring.authenticate(f"Bearer {first_key}")
        try:
            yield House(database, keyring, principal.workspace_id, first_key, clock)
        finally:
            await keyring.close()


async def refusal(keyring: Keyring, header: str | None) -> str:
    with pytest.raises(Unauthorized) as caught:
        await keyring.authenticate(header)
    return caught.value.message


def test_the_first_run_makes_one_workspace_and_one_live_key_once(opened: Open) -> None:
    async def main() -> None:
        async with opened() as one, opened() as two:
            made = await asyncio.gather(*(make_first_key(database) for database in (one, two, one, two)))
            [text] = [text for text in made if text]
            principal = await (keyring := Keyring(one)).authenticate(f"Bearer {text}")
            assert (principal.mode, principal.plan) == ("live", "enterprise")
            assert await one.fetch_all("SELECT name FROM workspaces") == [{"name": "Default"}]
            assert len(await keyring.list(principal.workspace_id)) == 1
            await keyring.close()

    asyncio.run(main())


def test_a_key_says_who_asks(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            new = await h.keyring.create(h.workspace_id, "tests", "test")
            expected = Principal(new.key.id, h.workspace_id, "test", "enterprise")
            for header in (f"Bearer {new.text}", f"bearer  {new.text} ", f"BEARER {new.text}"):
                assert await h.keyring.authenticate(header) == expected

    asyncio.run(main())


def test_each_refusal_says_what_to_change_and_quotes_no_key(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            revoked, expired = await h.made(), await h.made(expires_in=10)
            await h.keyring.revoke(h.workspace_id, revoked.key.id)
            h.clock.seconds += 11
            unknown = make_key_text("live").text
            mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
            refusals = {
                None: "No API key was sent",
                "  ": "No API key was sent",
                "Bearer": "no API key after",
                f"Basic {unknown}": "the word Bearer",
                unknown: "the word Bearer",
                "Bearer sk-0123456789": "start with mvra_live_ or mvra_test_",
                f"Bearer {mistyped}": "mistyped",
                f"Bearer {unknown}": "not known",
                f"Bearer {revoked.text}": "revoked",
                f"Bearer {expired.text}": "expired",
            }
            for header, said in refusals.items():
                for _ in range(2):  # The second answer comes from the cache.
                    message = await refusal(h.keyring, header)
                    assert said in message
                    assert unknown[10:20] not in message

    asyncio.run(main())


def test_a_key_expires_while_it_is_in_the_cache(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            key = await h.made(expires_in=10)
            await h.keyring.authenticate(f"Bearer {key.text}")
            h.clock.seconds += 10
            assert "expired" in await refusal(h.keyring, f"Bearer {key.text}")
            with pytest.raises(InvalidRequest):
                await h.made(expires_in=0)

    asyncio.run(main())


def test_a_key_revoked_here_stops_at_once(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            key = await h.made()
            await h.keyring.authenticate(f"Bearer {key.text}")
            await h.keyring.revoke(h.workspace_id, key.key.id)
            assert "revoked" in await refusal(h.keyring, f"Bearer {key.text}")

    asyncio.run(main())


def test_a_key_revoked_by_another_process_stops_within_a_second(opened: Open) -> None:
    async def use_until(keyring: Keyring, text: str, deadline: float) -> None:
        while time.monotonic() < deadline:
            await keyring.authenticate(f"Bearer {text}")
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with house(opened) as h, opened() as elsewhere:
            key = await h.made()
            await h.keyring.authenticate(f"Bearer {key.text}")
            await Keyring(elsewhere).revoke(h.workspace_id, key.key.last_four)
            revoked_at = time.monotonic()
            with pytest.raises(Unauthorized, match="revoked"):
                await use_until(h.keyring, key.text, revoked_at + 2)
            assert time.monotonic() - revoked_at < 1.1

    asyncio.run(main())


def test_requests_within_a_second_ask_the_store_once(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            counting = CountingDatabase(h.database._pool, is_file=h.database.is_file)
            keyring = Keyring(counting)
            for text, expected in ((h.first_key, Principal), (make_key_text("live").text, Unauthorized)):
                counting.questions = 0
                asking = (keyring.authenticate(f"Bearer {text}") for _ in range(100))
                answers = await asyncio.gather(*asking, return_exceptions=True)
                assert {type(answer) for answer in answers} == {expected}
                assert counting.questions == 1
            await keyring.close()

    asyncio.run(main())


def test_a_client_that_leaves_does_not_take_the_answer_from_others(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            key = await h.made()
            leaving, staying = (
                asyncio.create_task(h.keyring.authenticate(f"Bearer {key.text}")) for _ in "ab"
            )
            await asyncio.sleep(0)
            leaving.cancel()
            assert (await staying).key_id == key.key.id

    asyncio.run(main())


def test_a_store_that_is_away_lets_nobody_in(opened: Open) -> None:
    class Away(Database):
        async def fetch_one(self, sql: str, /, **values: object) -> Row | None:
            raise ServiceUnavailable("away", retry_after=5)

    async def main() -> None:
        async with house(opened) as h:
            keyring = Keyring(Away(h.database._pool, is_file=h.database.is_file))
            with pytest.raises(ServiceUnavailable):
                await keyring.authenticate(f"Bearer {h.first_key}")

    asyncio.run(main())


def test_guesses_are_kept_within_bounds_and_push_out_no_key(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            guesses = [
                f"Bearer {make_key_text('live').text}" for _ in range(keyring_module.CACHED_REFUSALS + 50)
            ]
            for start in range(0, len(guesses), 50):  # a store that is asked too much at once says so
                asking = (h.keyring.authenticate(header) for header in guesses[start : start + 50])
                answers = await asyncio.gather(*asking, return_exceptions=True)
                assert {type(answer) for answer in answers} == {Unauthorized}
            assert len(h.keyring._refusals) == keyring_module.CACHED_REFUSALS
            assert len(h.keyring._principals) == 1

    asyncio.run(main())


def test_the_cache_lets_go_of_the_old_and_of_the_least_used() -> None:
    clock = Clock()
    cache = ShortLived[str](limit=2, life_seconds=1, clock=clock)
    for key in ("a", "b"):
        cache.put(key, key, known_at=clock.seconds)
    assert cache.get("a") == "a"
    cache.put("c", "c", known_at=clock.seconds - 0.5)
    assert [cache.get(key) for key in "abc"] == ["a", None, "c"]
    clock.seconds += 0.5
    assert [cache.get(key) for key in "abc"] == ["a", None, None]
    clock.seconds += 0.5
    assert cache.get("a") is None
    assert len(cache) == 0


def test_last_use_is_written_later_for_all_keys_together(opened: Open) -> None:
    async def main() -> None:
        async with house(opened, write_last_used_seconds=0.2) as h:
            key = await h.made()
            await h.keyring.authenticate(f"Bearer {key.text}")
            assert {k.last_used_at for k in await h.keyring.list(h.workspace_id)} == {None}
            await asyncio.sleep(0.5)
            used_at = int(h.clock.seconds)
            assert {k.last_used_at for k in await h.keyring.list(h.workspace_id)} == {used_at}
            h.clock.seconds += 5
            await h.keyring.authenticate(f"Bearer {key.text}")
            await asyncio.sleep(0.5)
            newest = {k.id: k.last_used_at for k in await h.keyring.list(h.workspace_id)}
            assert newest[key.key.id] == used_at + 5

    asyncio.run(main())


def test_last_use_is_written_on_close(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            pass
        async with opened() as database:
            [key] = await Keyring(database).list(h.workspace_id)
            assert key.last_used_at == int(h.clock.seconds)

    asyncio.run(main())


def test_last_use_is_kept_while_it_cannot_be_written(opened: Open) -> None:
    class Away(Database):
        is_away = True

        async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
            if self.is_away:
                raise ServiceUnavailable("away", retry_after=5)
            await super().execute_many(sql, rows)

    async def main() -> None:
        async with house(opened) as h:
            database = Away(h.database._pool, is_file=h.database.is_file)
            keyring = Keyring(database, write_last_used_seconds=0.05)
            await keyring.authenticate(f"Bearer {h.first_key}")
            await asyncio.sleep(0.2)
            database.is_away = False
            await keyring.close()
            [key] = await keyring.list(h.workspace_id)
            assert key.last_used_at is not None

    asyncio.run(main())


def test_a_key_is_revoked_by_id_by_its_end_or_by_its_text_and_revoking_again_changes_nothing(
    opened: Open,
) -> None:
    async def main() -> None:
        async with house(opened) as h:
            names: list[Callable[[NewKey], str]] = [
                lambda new: new.key.id,
                lambda new: new.key.last_four,
                lambda new: new.text,
            ]
            for name in names:
                new = await h.made()
                first = await h.keyring.revoke(h.workspace_id, name(new))
                assert (first.id, first.revoked_at) == (new.key.id, int(h.clock.seconds))
                h.clock.seconds += 1
                assert await h.keyring.revoke(h.workspace_id, name(new)) == first

    asyncio.run(main())


def test_a_key_that_is_not_there_is_not_found(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            key = await h.made()
            for workspace_id, named in (
                (h.workspace_id, "nope"),
                (h.workspace_id, ""),
                ("another", key.key.id),
            ):
                with pytest.raises(NotFound):
                    await h.keyring.revoke(workspace_id, named)
            with pytest.raises(NotFound, match="workspace"):
                await h.keyring.create("another", "a key", "live")

    asyncio.run(main())


def test_two_living_keys_with_the_same_end_are_told_apart_by_id(opened: Open) -> None:
    async def main() -> None:
        async with house(opened) as h:
            one, two = await h.made(), await h.made()
            await h.database.execute("UPDATE api_keys SET last_four = 'same'")
            with pytest.raises(InvalidRequest, match="id"):
                await h.keyring.revoke(h.workspace_id, "same")
            await h.keyring.revoke(h.workspace_id, one.key.id)
            assert (await h.keyring.revoke(h.workspace_id, two.key.id)).id == two.key.id

    asyncio.run(main())


def test_the_store_and_the_log_never_see_the_text_of_a_key(
    opened: Open, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> str:
        async with house(opened) as h:
            new = await h.made()
            await h.keyring.authenticate(f"Bearer {new.text}")
            await refusal(h.keyring, f"Bearer {make_key_text('live').text}")
            stored = await h.database.fetch_all("SELECT * FROM api_keys")
            assert new.text[10:30] not in repr(stored)
            return new.text

    with caplog.at_level(logging.DEBUG):
        text = asyncio.run(main())
    out, err = capfd.readouterr()
    assert text[10:30] not in caplog.text + out + err
