"""A webhook is signed, tried again, given up, and never sent to an address that is not public."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from mavera.errors import InvalidRequest
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.fetch.signing import sign
from mavera.focus_groups.repository import Method, Personas, StudyRow
from mavera.focus_groups.webhooks import Webhooks, make_secret
from mavera.storage.sealing import Secrets
from tests.focus_groups.test_program import STUDY

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


def fetch_for(url: str) -> GuardedFetch:
    networks = (ipaddress.ip_network("127.0.0.0/8"),)
    return GuardedFetch(
        FetchPolicy(networks=networks, ports=frozenset({int(url.split(":")[2].split("/")[0])}))
    )


async def call(statuses: Sequence[int]) -> list[Any]:
    async with receiver(statuses) as (url, received):
        webhooks = Webhooks(fetch_for(url), SECRETS, waits=(0.01, 0.01), clock=lambda: 1_790_000_000.0)
        await webhooks.send(replace(ROW, webhook=url))
        await webhooks.close()
        return received


def test_a_call_is_signed_and_says_no_answers() -> None:
    [(headers, body)] = asyncio.run(call([200]))
    secret = base64.b64decode(make_secret(SECRETS, ROW).removeprefix("whsec_"))
    signed = b"fg_1.2.1790000000." + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "fg_1.2"
    assert msgspec.json.decode(body) == {
        "type": "focus_group.completed",
        "data": {"id": "fg_1", "object": "focus_group", "status": "COMPLETED", "ended_at": 5},
    }


def test_a_call_is_tried_again_with_the_same_id_until_it_is_taken() -> None:
    received = asyncio.run(call([500, 503, 204]))
    assert {headers["webhook-id"] for headers, _ in received} == {"fg_1.2"}
    assert len(received) == 3


def test_a_call_that_nobody_takes_is_given_up() -> None:
    assert len(asyncio.run(call([500]))) == 3


def test_a_redirect_is_not_followed() -> None:
    assert len(asyncio.run(call([307, 204]))) == 2


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
