"""Edits and rotations of keys: what changes, what stays, and what one key may do to another."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from msgspec import UNSET

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.changes import MAX_OVERLAP_SECONDS, Changes
from mavera.accounts.keys.delegation import KeyTerms, Wish
from mavera.accounts.keys.keyring import Keyring, NewKey
from mavera.accounts.keys.text import Peppers
from mavera.accounts.plans import DEFAULT_SCOPES, SCOPES
from mavera.accounts.principal import Principal
from mavera.errors import APIError, Forbidden, InvalidRequest, NotFound, Unauthorized, VersionConflict
from mavera.storage.database import Database
from tests.support.opening import Open

TOMORROW = int(time.time()) + 86_400
ADMIN = ("responses", "admin")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds


class House:
    def __init__(self, database: Database, keyring: Keyring, clock: Clock, workspace_id: str) -> None:
        self.database = database
        self.keyring = keyring
        self.clock = clock
        self.workspace_id = workspace_id

    async def make(self, **terms: object) -> NewKey:
        return await self.keyring.make(self.workspace_id, KeyTerms("a key", **terms))  # type: ignore[arg-type]

    async def principal(self, text: str) -> Principal:
        return await self.keyring.authenticate(f"Bearer {text}")


def run(opened: Open, use: Callable[[House], Awaitable[None]], peppers: Peppers | None = None) -> None:
    async def main() -> None:
        async with opened() as database:
            first = await make_first_key(database)
            clock = Clock()
            keyring = Keyring(database, peppers=peppers or Peppers(), clock=clock)
            async with keyring:
                workspace_id = (await Keyring(database).authenticate(f"Bearer {first}")).workspace_id
                await use(House(database, keyring, clock, workspace_id))

    asyncio.run(main())


def test_an_edit_changes_what_it_names_and_nothing_else(opened: Open) -> None:
    async def use(house: House) -> None:
        key = (await house.make(budget=5, expires_at=TOMORROW)).key
        edited = await house.keyring.edit(house.workspace_id, key.id, Changes(name="nightly", budget=9))
        assert (edited.name, edited.budget, edited.version) == ("nightly", 9, 2)
        assert (edited.scopes, edited.expires_at, edited.id) == (key.scopes, TOMORROW, key.id)
        cleared = await house.keyring.edit(
            house.workspace_id, key.id, Changes(budget=None, expires_at=None, scopes=("usage:read",))
        )
        assert (cleared.budget, cleared.expires_at, cleared.scopes) == (None, None, ("usage:read",))
        assert await house.keyring.find(house.workspace_id, key.id) == cleared
        assert await house.keyring.edit(house.workspace_id, key.id, Changes()) == cleared

    run(opened, use)


def test_a_second_editor_over_a_newer_version_is_refused(opened: Open) -> None:
    async def use(house: House) -> None:
        key = (await house.make()).key
        edit = house.keyring.edit
        await edit(house.workspace_id, key.id, Changes(name="first"), version=1)
        with pytest.raises(VersionConflict):
            await edit(house.workspace_id, key.id, Changes(name="second"), version=1)
        assert (await house.keyring.find(house.workspace_id, key.id)).name == "first"
        saves = [edit(house.workspace_id, key.id, Changes(name=f"n{n}"), version=2) for n in range(5)]
        outcomes = await asyncio.gather(*saves, return_exceptions=True)
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 4

    run(opened, use)


def test_new_scopes_hold_for_the_next_request(opened: Open) -> None:
    async def use(house: House) -> None:
        made = await house.make()
        assert (await house.principal(made.text)).scopes == frozenset(DEFAULT_SCOPES)
        await house.keyring.edit(house.workspace_id, made.key.id, Changes(scopes=("usage:read",)))
        assert (await house.principal(made.text)).scopes == {"usage:read"}

    run(opened, use)


@pytest.mark.parametrize(
    "changes",
    [
        Changes(name="n" * 101),
        Changes(budget=-1),
        Changes(budget=1_000_000_001),
        Changes(expires_at=5),
        Changes(expires_at=1 << 60),
        Changes(scopes=()),
        Changes(scopes=("everything",)),
    ],
)
def test_invalid_values_are_refused(opened: Open, changes: Changes) -> None:
    async def use(house: House) -> None:
        key = (await house.make()).key
        with pytest.raises(InvalidRequest):
            await house.keyring.edit(house.workspace_id, key.id, changes)
        assert await house.keyring.find(house.workspace_id, key.id) == key

    run(opened, use)


def test_a_revoked_key_is_neither_changed_nor_rotated(opened: Open) -> None:
    async def use(house: House) -> None:
        key = (await house.make()).key
        await house.keyring.revoke(house.workspace_id, key.id)
        with pytest.raises(InvalidRequest, match="revoked"):
            await house.keyring.edit(house.workspace_id, key.id, Changes(expires_at=TOMORROW))
        with pytest.raises(InvalidRequest, match="revoked"):
            await house.keyring.rotate(house.workspace_id, key.id)
        with pytest.raises(NotFound):
            await house.keyring.edit(house.workspace_id, "nobody", Changes(name="n"))

    run(opened, use)


@pytest.mark.parametrize("peppers", [Peppers(), Peppers("new", ("old",))])
def test_both_secrets_work_until_the_overlap_ends(opened: Open, peppers: Peppers) -> None:
    async def use(house: House) -> None:
        old = await house.make(budget=5)
        new = await house.keyring.rotate(house.workspace_id, old.key.id, overlap_seconds=60)
        assert new.text != old.text
        assert (new.key.id, new.key.budget, new.key.name) == (old.key.id, 5, "a key")
        assert new.key.previous_last_four == old.text[-4:]
        before, after = await house.principal(old.text), await house.principal(new.text)
        assert before.key_id == after.key_id == old.key.id
        assert (before.expires_at, after.expires_at) == (new.key.previous_until, None)
        house.clock.seconds += 61
        with pytest.raises(Unauthorized):
            await house.principal(old.text)
        await house.principal(new.text)
        # Another process, which has nothing in its cache, gives the reason.
        with pytest.raises(Unauthorized, match="rotated"):
            await Keyring(house.database, peppers=peppers, clock=house.clock).authenticate(
                f"Bearer {old.text}"
            )

    run(opened, use, peppers)


def test_a_key_made_before_the_pepper_is_rotated(opened: Open) -> None:
    async def use(house: House) -> None:
        old = await house.make()
        peppered = Keyring(house.database, peppers=Peppers("pepper"), clock=house.clock)
        new = await peppered.rotate(house.workspace_id, old.key.id)
        for text in (old.text, new.text, old.text):
            assert (await peppered.authenticate(f"Bearer {text}")).key_id == old.key.id
        await peppered.close()

    run(opened, use)


def test_an_overlap_of_nothing_ends_both_older_secrets_at_once(opened: Open) -> None:
    async def use(house: House) -> None:
        first = await house.make()
        second = await house.keyring.rotate(house.workspace_id, first.key.id)
        with pytest.raises(VersionConflict):
            await house.keyring.rotate(house.workspace_id, first.key.id)
        third = await house.keyring.rotate(house.workspace_id, first.key.id, overlap_seconds=0)
        for text in (first.text, second.text):
            with pytest.raises(Unauthorized):
                await house.principal(text)
        await house.principal(third.text)
        with pytest.raises(InvalidRequest):
            await house.keyring.rotate(
                house.workspace_id, first.key.id, overlap_seconds=MAX_OVERLAP_SECONDS + 1
            )

    run(opened, use)


def test_an_overlap_can_be_ended_and_ends_with_the_key(opened: Open) -> None:
    async def use(house: House) -> None:
        old = await house.make(expires_at=int(house.clock.seconds) + 100)
        new = await house.keyring.rotate(house.workspace_id, old.key.id)
        assert new.key.previous_until == old.key.expires_at
        await house.principal(old.text)
        with pytest.raises(InvalidRequest, match="--end-overlap"):
            await house.keyring.revoke(house.workspace_id, old.text)
        await house.keyring.edit(house.workspace_id, old.key.id, Changes(end_overlap=True))
        with pytest.raises(Unauthorized):
            await house.principal(old.text)
        await house.principal(new.text)
        await house.keyring.revoke(house.workspace_id, new.text)
        for text in (old.text, new.text):
            with pytest.raises(Unauthorized):
                await house.principal(text)

    run(opened, use)


def test_revoking_a_key_stops_its_previous_secret(opened: Open) -> None:
    async def use(house: House) -> None:
        old = await house.make()
        await house.keyring.rotate(house.workspace_id, old.key.id)
        await house.principal(old.text)
        await house.keyring.revoke(house.workspace_id, old.key.id)
        with pytest.raises(Unauthorized, match="revoked"):
            await house.principal(old.text)

    run(opened, use)


@pytest.mark.parametrize(
    ("maker", "changes", "param"),
    [
        ({"budget": 5}, Changes(budget=6), "budget"),
        ({"budget": 5}, Changes(budget=None), "budget"),
        ({"expires_at": TOMORROW}, Changes(expires_at=TOMORROW + 1), "expires_at"),
        ({"expires_at": TOMORROW}, Changes(expires_at=None), "expires_at"),
        ({"scopes": ADMIN}, Changes(scopes=SCOPES), "scopes"),
    ],
)
def test_a_key_gives_neither_itself_nor_its_children_more_than_it_has(
    opened: Open, maker: dict[str, object], changes: Changes, param: str
) -> None:
    async def use(house: House) -> None:
        made = await house.make(**{"scopes": SCOPES, **maker})
        caller = await house.principal(made.text)
        child = await house.keyring.delegate(caller, Wish(scopes=("responses",)))
        for key_id in (made.key.id, child.key.id):
            with pytest.raises(Forbidden) as refused:
                await house.keyring.edit_as(caller, key_id, changes)
            assert refused.value.param == param
            await house.keyring.edit_as(caller, key_id, Changes(name="a name may change"))

    run(opened, use)


def test_a_key_lowers_its_rights_and_never_raises_them_again(opened: Open) -> None:
    async def use(house: House) -> None:
        made = await house.make(scopes=SCOPES)
        caller = await house.principal(made.text)
        await house.keyring.edit_as(caller, made.key.id, Changes(budget=3, expires_at=TOMORROW, scopes=ADMIN))
        for raised in (Changes(budget=4), Changes(expires_at=None), Changes(scopes=SCOPES)):
            with pytest.raises(Forbidden):
                await house.keyring.edit_as(caller, made.key.id, raised)
        edited = await house.keyring.edit_as(caller, made.key.id, Changes(budget=2, scopes=("admin",)))
        assert (edited.budget, edited.scopes) == (2, ("admin",))

    run(opened, use)


@pytest.mark.parametrize(
    ("maker", "stranger", "may"),
    [
        ({}, {}, True),
        ({"budget": 5}, {"budget": 5}, False),  # its spending would not count for the maker
        ({"mode": "test"}, {}, False),
        ({"expires_at": TOMORROW}, {}, False),
        ({"scopes": ADMIN}, {"scopes": ("usage:read",)}, False),
        ({"scopes": ADMIN}, {"scopes": ("responses",), "budget": 5}, True),
    ],
)
def test_a_key_changes_and_rotates_a_stranger_only_if_it_could_have_made_it(
    opened: Open, maker: dict[str, object], stranger: dict[str, object], *, may: bool
) -> None:
    async def use(house: House) -> None:
        caller = await house.principal((await house.make(**{"scopes": SCOPES, **maker})).text)
        other = (await house.make(**stranger)).key
        attempts = (
            house.keyring.edit_as(caller, other.id, Changes(name="n")),
            house.keyring.rotate_as(caller, other.id),
        )
        for attempt in attempts:
            if may:
                await attempt
            else:
                with pytest.raises(Forbidden):
                    await attempt

    run(opened, use)


def test_the_secret_of_a_child_with_more_rights_is_not_handed_out(opened: Open) -> None:
    async def use(house: House) -> None:
        made = await house.make(scopes=SCOPES)
        caller = await house.principal(made.text)
        child = (await house.keyring.delegate(caller, Wish())).key
        await house.keyring.rotate_as(caller, child.id, overlap_seconds=0)
        await house.keyring.edit(house.workspace_id, made.key.id, Changes(scopes=ADMIN))
        with pytest.raises(Forbidden):
            await house.keyring.rotate_as(caller, child.id)
        await house.keyring.edit_as(caller, child.id, Changes(scopes=("responses",)))
        assert (await house.keyring.rotate_as(caller, child.id)).key.id == child.id

    run(opened, use)


def test_keys_of_another_workspace_do_not_exist(opened: Open) -> None:
    async def use(house: House) -> None:
        key = (await house.make()).key
        stranger = Principal("k", "elsewhere", "live", "enterprise")
        attempts: list[Awaitable[object]] = [
            house.keyring.edit_as(stranger, key.id, Changes(name="n")),
            house.keyring.rotate_as(stranger, key.id),
            house.keyring.find("elsewhere", key.id),
        ]
        for attempt in attempts:
            with pytest.raises(APIError) as refused:
                await attempt
            assert refused.value.status == 404

    run(opened, use)


def test_unset_is_no_change() -> None:
    assert Changes().is_empty
    assert not Changes(budget=None).is_empty
    assert Changes(budget=UNSET).is_empty
