"""Links that share one study: made, listed, revoked, expired, and nothing but a digest in the store."""

import asyncio
import hashlib

import httpx2 as httpx
import pytest
from msgspec.structs import replace

from mavera.accounts.principal import Principal
from mavera.errors import InvalidRequest, NotFound
from mavera.focus_groups import repository
from mavera.focus_groups.repository import Method, Personas, StudyRow
from mavera.focus_groups.shares import MOST_SHARES, Shares
from mavera.focus_groups.study import YesNo
from mavera.storage.moment import moment_of
from tests.conftest import Serve
from tests.focus_groups.studies import make_study
from tests.support.house import Bank, bank
from tests.support.opening import Open

STUDY = make_study(YesNo(id="q", text="Do you?"))
DAY = 86_400


def make_row(workspace_id: str, study_id: str = "fg_1") -> StudyRow:
    return StudyRow(
        id=study_id, workspace_id=workspace_id, mode="live", key_id="", name="Test", status="COMPLETED",
        program=1, study=STUDY, panel=Personas(ids=("p0",)), model="mavera-1",
        method=Method(read="letters", elicitation="letters@1", model_digest="x", record="scripted"),
        source_id=None, webhook=None, human=None, notices=(), error=None, limit_reached=None, cells_total=0,
        cells_reused=0, price=0, credits_charged=0, credits_due=0, hold_id=None, attempt=1, adoptions=0,
        worker_id=None, fence=0, lease_until=0, created_at=1, started_at=1, ended_at=1, cancelled_at=None,
    )  # fmt: skip


async def open_shares(b: Bank) -> tuple[Shares, Principal]:
    async with b.database.transaction() as transaction:
        await repository.insert(transaction, make_row(b.workspace_id), [])
    moment = moment_of(b.database, b.clock)
    return Shares(b.database, moment=moment), Principal.local(b.workspace_id)


def test_a_link_leads_to_its_study_until_it_expires(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            made = await shares.create(owner, "fg_1", days=2)
            share, row = await shares.find_study(made.secret)
            assert (share, row.id) == (made.share, "fg_1")
            b.clock.seconds += 2 * DAY - 1
            assert (await shares.find_study(made.secret))[0] == share
            b.clock.seconds += 1
            with pytest.raises(NotFound, match="expired or was revoked"):
                await shares.find_study(made.secret)
            assert await shares.list_page(owner, "fg_1", 10) == ([], None)

    asyncio.run(main())


def test_the_store_and_the_repr_have_no_secret(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            made = await shares.create(owner, "fg_1")
            rows = await b.database.fetch_all("SELECT * FROM focus_group_shares")
            assert made.secret not in str(rows)
            assert rows[0]["digest"] == hashlib.sha256(made.secret.encode()).hexdigest()
            assert made.secret not in repr(made)
            assert len(made.secret) == 32

    asyncio.run(main())


def test_a_revoked_link_ends_at_once_and_the_others_go_on(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            first, second = await shares.create(owner, "fg_1"), await shares.create(owner, "fg_1")
            await shares.revoke(owner, "fg_1", first.share.id)
            with pytest.raises(NotFound):
                await shares.find_study(first.secret)
            assert (await shares.list_page(owner, "fg_1", 10))[0] == [second.share]
            with pytest.raises(NotFound, match="no such link"):
                await shares.revoke(owner, "fg_1", first.share.id)

    asyncio.run(main())


def test_another_workspace_can_neither_make_list_nor_revoke(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            made = await shares.create(owner, "fg_1")
            for stranger in (Principal.local("other"), replace(owner, mode="test")):
                with pytest.raises(NotFound):
                    await shares.create(stranger, "fg_1")
                with pytest.raises(NotFound):
                    await shares.list_page(stranger, "fg_1", 10)
                with pytest.raises(NotFound):
                    await shares.revoke(stranger, "fg_1", made.share.id)
            assert (await shares.find_study(made.secret))[0] == made.share

    asyncio.run(main())


def test_links_end_with_their_study(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            made = await shares.create(owner, "fg_1")
            await repository.delete(b.database, "fg_1")
            with pytest.raises(NotFound):
                await shares.find_study(made.secret)
            assert await b.database.fetch_all("SELECT id FROM focus_group_shares") == []

    asyncio.run(main())


def test_pages_have_every_link_once_and_there_is_a_limit(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            made = [(await shares.create(owner, "fg_1", days=1)).share for _ in range(MOST_SHARES)]
            with pytest.raises(InvalidRequest, match="50 links"):
                await shares.create(owner, "fg_1")
            found, cursor = await shares.list_page(owner, "fg_1", 30)
            rest, last = await shares.list_page(owner, "fg_1", 30, cursor)
            assert last is None
            assert sorted([*found, *rest], key=lambda one: one.id) == sorted(made, key=lambda one: one.id)
            b.clock.seconds += DAY
            await shares.create(owner, "fg_1")
            assert len(await b.database.fetch_all("SELECT id FROM focus_group_shares")) == 1

    asyncio.run(main())


@pytest.mark.parametrize("days", [0, -1, 366])
def test_a_link_works_for_a_day_to_a_year(opened: Open, days: int) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            shares, owner = await open_shares(b)
            with pytest.raises(InvalidRequest, match="1 to 365 days"):
                await shares.create(owner, "fg_1", days=days)

    asyncio.run(main())


def test_over_http_only_the_answer_to_post_has_the_link(serve: Serve) -> None:
    served = serve(public_url="https://research.example.com/")
    client = httpx.Client(base_url=served.base_url, headers=served.headers, timeout=60)
    body = {
        "name": "Oat", "persona_ids": ["gen-z-consumer"], "sample_size": 5,
        "questions": [{"id": "q1", "type": "yes_no", "text": "Do you?"}],
    }  # fmt: skip
    study_id = client.post("/focus-groups", json=body).json()["id"]
    made = client.post(f"/focus-groups/{study_id}/shares", json={"expires_in_days": 3})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    share = made.json()
    assert share["url"].startswith("https://research.example.com/console/shared/")
    assert share["expires_at"] - share["created_at"] == 3 * DAY
    listed = client.get(f"/focus-groups/{study_id}/shares").json()
    assert [one["id"] for one in listed["data"]] == [share["id"]]
    assert "url" not in listed["data"][0]
    gone = client.delete(f"/focus-groups/{study_id}/shares/{share['id']}").json()
    assert gone["deleted"] is True
    assert client.get(f"/focus-groups/{study_id}/shares").json()["data"] == []
    assert client.post(f"/focus-groups/{study_id}/shares", json={"expires_in_days": 400}).status_code == 422
    assert client.post("/focus-groups/fg_none/shares", json={}).status_code == 404
    client.close()
