"""A webhook is signed, tried again, given up, made after a death, and never sent to a private address."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from signal import SIGKILL
from threading import Thread
from typing import Any

import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from mavera.errors import InvalidRequest
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.fetch.signing import sign
from mavera.focus_groups import repository
from mavera.focus_groups.repository import Method, Personas, StudyRow
from mavera.focus_groups.service import FocusGroups
from mavera.focus_groups.webhooks import Webhooks, make_secret
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.moment import Moment
from mavera.storage.sealing import Secrets
from tests.focus_groups.test_program import STUDY
from tests.support.mortal_worker import Death, start_worker
from tests.support.opening import Open
from tests.support.processes import make_key
from tests.support.study_service import find_principal, use_service
from tests.support.tables import make_tables

SECRETS = Secrets(b"s" * 32)
ROW = StudyRow(
    id="fg_1",
    workspace_id="w",
    mode="live",
    key_id="k",
    name="Oat",
    status="COMPLETED",
    program=1,
    study=STUDY,
    panel=Personas(ids=()),
    model="mavera-1",
    method=Method(read="letters", elicitation="e", model_digest="m", record="m"),
    source_id=None,
    webhook=None,
    human=None,
    notices=(),
    error=None,
    limit_reached=None,
    cells_total=1,
    cells_reused=0,
    price=1,
    credits_charged=1,
    credits_due=0,
    hold_id=None,
    attempt=2,
    adoptions=0,
    worker_id=None,
    fence=1,
    lease_until=0,
    created_at=1,
    started_at=1,
    ended_at=5,
    cancelled_at=None,
)


@asynccontextmanager
async def receiver(statuses: Sequence[int]) -> AsyncIterator[tuple[str, list[Any]]]:
    """Answer with `statuses` in turn, the last one for ever, and keep what came."""
    left, received = list(statuses), []

    async def receive(request: web.Request) -> web.Response:
        received.append((dict(request.headers), await request.read()))
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/hook", received
    finally:
        await runner.cleanup()


@contextmanager
def receiving(statuses: Sequence[int]) -> Iterator[tuple[str, list[Any]]]:
    """Run `receiver` in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    opened = receiver(statuses)
    try:
        yield asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(20)
        asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def fetch_for(url: str) -> GuardedFetch:
    networks = (ipaddress.ip_network("127.0.0.0/8"),)
    return GuardedFetch(
        FetchPolicy(networks=networks, ports=frozenset({int(url.split(":")[2].split("/")[0])}))
    )


async def call(opened: Open, statuses: Sequence[int]) -> list[Any]:
    """Return what a receiver that answers with `statuses` gets of one ended study."""
    async with receiver(statuses) as (url, received), opened() as database:
        await insert_ended(database, url)
        clock = Clock()
        webhooks = make_webhooks(database, url, clock)
        for _ in range(10):
            await webhooks.send_due()
            await webhooks.close(60)
            clock.seconds += 10
        assert await repository.list_due_webhooks(database, webhooks.moment, limit=1) == []
        return received


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def make_webhooks(database: Database, url: str, clock: Clock) -> Webhooks:
    return Webhooks(
        database,
        fetch_for(url),
        SECRETS,
        moment=Moment("CAST(:now AS BIGINT)", clock),
        waits=(10, 10),
        clock=lambda: 1_790_000_000.0,
    )


async def insert_ended(database: Database, url: str) -> None:
    """Store a study that has ended, and charge it."""
    row = replace(ROW, webhook=url, settled_at=None)
    async with database.transaction() as transaction:
        await repository.insert(transaction, row, ())
    assert await repository.mark_settled(database, row)


def test_a_call_is_signed_and_says_no_answers(opened: Open) -> None:
    [(headers, body)] = asyncio.run(call(opened, [200]))
    secret = base64.b64decode(make_secret(SECRETS, ROW).removeprefix("whsec_"))
    signed = b"fg_1.2.1790000000." + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "fg_1.2"
    assert msgspec.json.decode(body) == {
        "type": "focus_group.completed",
        "data": {"id": "fg_1", "object": "focus_group", "status": "COMPLETED", "ended_at": 5},
    }


def test_a_call_is_tried_again_with_the_same_id_until_it_is_taken(opened: Open) -> None:
    received = asyncio.run(call(opened, [500, 503, 204]))
    assert {headers["webhook-id"] for headers, _ in received} == {"fg_1.2"}
    assert len(received) == 3


def test_a_call_that_nobody_takes_is_given_up(opened: Open) -> None:
    assert len(asyncio.run(call(opened, [500]))) == 3


def test_a_redirect_is_not_followed(opened: Open) -> None:
    assert len(asyncio.run(call(opened, [307, 204]))) == 2


def test_two_processes_make_one_call(opened: Open) -> None:
    async def scene() -> int:
        async with receiver([204]) as (url, received), opened() as database:
            await insert_ended(database, url)
            both = [make_webhooks(database, url, Clock()) for _ in range(2)]
            await asyncio.gather(*(one.send_due() for one in both))
            await asyncio.gather(*(one.close(60) for one in both))
            return len(received)

    assert asyncio.run(scene()) == 1


def test_a_study_that_runs_again_owes_no_call_of_its_former_end(opened: Open) -> None:
    async def scene() -> int:
        async with receiver([204]) as (url, received), opened() as database:
            await insert_ended(database, url)
            assert await repository.reopen(database, ROW, None, ("failed",)) == 0
            webhooks = make_webhooks(database, url, Clock())
            await webhooks.send_due()
            await webhooks.close()
            return len(received)

    assert asyncio.run(scene()) == 0


@pytest.mark.proof
@pytest.mark.parametrize(
    ("death", "calls"),
    [
        (Death("settle", "after"), 1),
        (Death("call", "after"), 1),
        # The receiver has the message, and nobody has recorded it: it comes twice, with one id.
        (Death("called", "before"), 2),
    ],
    ids=lambda value: f"{value.phase}-{value.when}" if isinstance(value, Death) else "",
)
def test_a_call_is_made_whenever_its_worker_is_killed(
    settings: Settings, database_url: str, tmp_path: Path, death: Death, calls: int
) -> None:
    make_tables(database_url)
    asyncio.run(make_key(settings, 10_000))

    async def create(service: FocusGroups, database: Database) -> StudyRow:
        return await service.create(await find_principal(service, database), STUDY, webhook=url)

    async def forget_the_wait(_: FocusGroups, database: Database) -> None:
        await database.execute("UPDATE focus_groups SET webhook_due_at = 0 WHERE webhook_due_at > 0")

    async def is_owed(_: FocusGroups, database: Database) -> bool:
        found = await database.fetch_one("SELECT settled_at, webhook_due_at FROM focus_groups")
        return found is None or found["settled_at"] is None or found["webhook_due_at"] is not None

    with receiving([204]) as (url, received):
        row = use_service(settings, create)
        port = int(url.split(":")[2].split("/")[0])
        log = tmp_path / "asked.log"
        first = start_worker(settings.data_dir, settings.database_url, log, death=death, webhook_port=port)
        try:
            first.join(120)
            assert first.exitcode == -SIGKILL
        finally:
            first.kill()
        use_service(settings, forget_the_wait)
        second = start_worker(
            settings.data_dir, settings.database_url, log, worker_id="other", webhook_port=port
        )
        try:
            deadline = time.monotonic() + 120
            while use_service(settings, is_owed):
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            second.kill()
            second.join(20)

    assert [headers["webhook-id"] for headers, _ in received] == [f"{row.id}.1"] * calls


def test_each_study_has_a_secret_of_its_own() -> None:
    other = replace(ROW, id="fg_2")
    assert make_secret(SECRETS, ROW) != make_secret(SECRETS, other)
    assert sign(make_secret(SECRETS, ROW), "i", b"", 1) != sign(make_secret(SECRETS, other), "i", b"", 1)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://10.0.0.1/x", "file:///etc/passwd", "http://u:p@example.com/", ""]
)
def test_an_address_that_is_not_public_is_refused_before_the_study_starts(url: str) -> None:
    fetch = GuardedFetch(FetchPolicy())
    with pytest.raises(InvalidRequest):
        asyncio.run(fetch.check(url, param="webhook"))
    with pytest.raises(InvalidRequest):
        asyncio.run(fetch.post(url, b"{}", {}, caller="w", param="webhook"))
