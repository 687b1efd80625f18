"""Custom personas on SQLite and Postgres: versions, owners, and two processes at once."""

import asyncio

import pytest

from mavera.accounts.principal import Principal
from mavera.errors import Forbidden, InvalidRequest, PersonaNotFound, VersionConflict
from mavera.personas import repository
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.custom import Sheet
from mavera.personas.differences import Difference
from mavera.personas.repository import PersonaLimits
from tests.support.house import bank
from tests.support.opening import Open

LIBRARY = PersonaLibrary.load()


def renamed(name: str) -> Sheet:
    members = {
        "pipeline_type": "advanced",
        "category": "Lifestyle",
        "description": "Buys honey",
        "details": {},
    }
    return Sheet.from_members(name=name, **members)


SHEET = renamed("Ünïcode 🐝 buyer")


def test_every_version_is_kept_and_the_last_one_answers(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner, personas = Principal.local(b.workspace_id), Personas(LIBRARY, b.database)
            made = await personas.create(owner, SHEET, credits=300)
            await personas.update(owner, made.id, lambda _: renamed("Second"))
            third = await personas.update(owner, made.id, lambda _: renamed("Third"))

            assert (third.version, third.created_at, third.credits_charged) == (3, made.created_at, 300)
            assert await personas.get(made.id, owner) == third
            versions = await b.database.fetch_all("SELECT version FROM persona_versions ORDER BY version")
            assert [row["version"] for row in versions] == [1, 2, 3]
            assert [one.name for one in (await personas.roll(owner)).list(custom=True)] == ["Third"]

    asyncio.run(main())


def test_a_persona_has_no_more_versions_than_it_may(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner = Principal.local(b.workspace_id)
            personas = Personas(LIBRARY, b.database, limits=PersonaLimits(versions=2))
            made = await personas.create(owner, SHEET)
            second = await personas.update(owner, made.id, lambda _: renamed("Second"))

            with pytest.raises(InvalidRequest, match="2 versions"):
                await personas.update(owner, made.id, lambda _: renamed("Third"))
            assert await personas.update(owner, made.id, lambda sheet: sheet) == second
            assert await personas.get(made.id, owner) == second

    asyncio.run(main())


def test_many_who_want_the_list_at_once_share_one_look_and_a_change_is_in_the_next(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner, personas = Principal.local(b.workspace_id), Personas(LIBRARY, b.database)
            await personas.create(owner, SHEET)

            asked = [asyncio.create_task(personas.roll(owner)) for _ in range(20)]
            await asyncio.sleep(0)
            asked[0].cancel()
            await personas.create(owner, renamed("Second"))
            rolls = await asyncio.gather(*asked[1:])

            assert len(set(map(id, rolls))) == 1
            assert len((await personas.roll(owner)).list(custom=True)) == 2

    asyncio.run(main())


def test_an_edit_by_two_processes_loses_neither(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b, opened() as other_database:
            owner, here = Principal.local(b.workspace_id), Personas(LIBRARY, b.database)
            there = Personas(LIBRARY, other_database)
            made = await here.create(owner, SHEET)

            def add(letter: str) -> "asyncio.Task[object]":
                process = here if letter < "e" else there
                return asyncio.create_task(
                    process.update(owner, made.id, lambda before: renamed(before.name + letter))
                )

            await asyncio.gather(*map(add, "abcdefgh"))
            last = await here.get(made.id, owner)
            assert last.name.startswith(SHEET.name)
            assert sorted(last.name.removeprefix(SHEET.name)) == list("abcdefgh")

    asyncio.run(main())


def test_nobody_else_finds_changes_or_deletes_a_persona(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner, personas = Principal.local(b.workspace_id), Personas(LIBRARY, b.database)
            made = await personas.create(owner, SHEET)
            for stranger in (Principal("k", b.workspace_id, "test", "free"), Principal.local("cother")):
                with pytest.raises(PersonaNotFound):
                    await personas.get(made.id, stranger)
                with pytest.raises(PersonaNotFound):
                    await personas.update(stranger, made.id, lambda sheet: sheet)
                with pytest.raises(PersonaNotFound):
                    await personas.delete(stranger, made.id)
                assert not (await personas.roll(stranger)).list(custom=True)
            with pytest.raises(Forbidden):
                await personas.delete(owner, LIBRARY.list()[0].id)
            assert await personas.get(made.id, owner) == made

    asyncio.run(main())


def test_what_was_deleted_is_gone_and_in_a_day_its_place_too(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner = Principal.local(b.workspace_id)
            now = [1000]
            personas = Personas(LIBRARY, b.database, clock=lambda: now[0])
            first, second = await personas.create(owner, SHEET), await personas.create(owner, SHEET)

            await personas.delete(owner, first.id)
            rest, _ = (await personas.roll(owner)).page(5, first.id, custom=True)
            assert [one.id for one in rest] in ([second.id], [])
            now[0] += 3 + repository.GONE_SECONDS
            await personas.delete(owner, second.id)
            with pytest.raises(InvalidRequest):
                (await personas.roll(owner)).page(5, first.id)

    asyncio.run(main())


def test_there_are_so_many_personas_and_no_more(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner = Principal.local(b.workspace_id)
            personas = Personas(LIBRARY, b.database, limits=PersonaLimits(personas=3))
            done = await asyncio.gather(
                *(personas.create(owner, SHEET) for _ in range(6)), return_exceptions=True
            )
            assert sum(isinstance(one, InvalidRequest) for one in done) == 3
            assert len((await personas.roll(owner)).list(custom=True)) == 3

    asyncio.run(main())


def test_versions_are_listed_newest_first_with_what_changed(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner, personas = Principal.local(b.workspace_id), Personas(LIBRARY, b.database)
            made = await personas.create(owner, SHEET)
            await personas.update(owner, made.id, lambda _: renamed("Second"))
            await personas.update(owner, made.id, lambda _: renamed("Third"))
            found, more = await personas.page_versions(owner, made.id, 2)
            assert [one.persona.version for one in found] == [3, 2]
            assert [one.differences for one in found] == [
                (Difference("name", ("Second",), ("Third",)),),
                (Difference("name", (SHEET.name,), ("Second",)),),
            ]
            assert more == 2
            rest, end = await personas.page_versions(owner, made.id, 2, more)
            assert [(one.persona.version, one.differences) for one in rest] == [(1, ())]
            assert end is None
            with pytest.raises(PersonaNotFound):
                await personas.page_versions(Principal.local("other"), made.id, 2)

    asyncio.run(main())


def test_the_second_of_two_edits_of_one_version_is_refused(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            owner, personas = Principal.local(b.workspace_id), Personas(LIBRARY, b.database)
            made = await personas.create(owner, SHEET)
            first = await personas.update(owner, made.id, lambda _: renamed("Mine"), version=1)
            with pytest.raises(VersionConflict, match="at version 2, and you changed version 1"):
                await personas.update(owner, made.id, lambda _: renamed("Yours"), version=1)
            assert await personas.get(made.id, owner) == first

    asyncio.run(main())
