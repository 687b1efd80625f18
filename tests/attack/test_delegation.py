"""
Keys that try to hand out more than they have, alone, in chains and side by side.

Each attacker is an admin key that lacks something: it is live or test, spends little, ends soon or has few
scopes. The root key of the operator, made on the command line, lacks nothing.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts.keys.delegation import MAX_LEVELS, KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import ADMIN_SCOPES, DEFAULT_SCOPES
from mavera.storage.database import Database
from tests.attack.serving import AttackedServer

ASK: dict[str, Any] = {"model": "mavera-1", "input": "Hm?"}
TOMORROW = int(time.time()) + 86_400


@dataclass(frozen=True)
class Holder:
    """Whoever holds a key."""

    client: httpx.Client
    made: dict[str, Any]

    def make(self, **wish: Any) -> httpx.Response:
        return self.client.post("/api/v1/api-keys", json=wish)

    def revoke(self, key_id: str, query: str = "") -> httpx.Response:
        return self.client.delete(f"/api/v1/api-keys/{key_id}{query}")

    def ask(self) -> int:
        return self.client.post("/api/v1/responses", json=ASK).status_code


@dataclass(frozen=True)
class House:
    server: AttackedServer
    clients: list[httpx.Client]

    def hold(self, made: dict[str, Any]) -> Holder:
        client = self.server.client(made["key"])
        self.clients.append(client)
        return Holder(client, made)

    def admin(self, **terms: Any) -> Holder:
        """Return the holder of an admin key that the operator made."""
        new = asyncio.run(self._make(KeyTerms(**{"scopes": ADMIN_SCOPES, **terms})))
        return self.hold(new)

    async def _make(self, terms: KeyTerms) -> dict[str, Any]:
        async with Database.open(self.server.settings) as database, Keyring(database) as keyring:
            new = await keyring.make(self.server.keys.workspace_id, terms)
            return {"key": new.text, "id": new.key.id}

    def child(self, maker: Holder, **wish: Any) -> Holder:
        made = maker.make(**wish)
        assert made.status_code == 201, made.text
        return self.hold(made.json())


@pytest.fixture
def house(attacked: AttackedServer) -> Iterator[House]:
    house = House(attacked, [])
    yield house
    for client in house.clients:
        client.close()


@pytest.mark.parametrize(
    ("terms", "wish", "param"),
    [
        ({"mode": "test"}, {"mode": "live"}, "mode"),
        ({"budget": 0}, {"budget": 1}, "budget"),
        ({"budget": 5}, {"budget": 1_000_000_000}, "budget"),
        ({"expires_at": TOMORROW}, {"expires_at": TOMORROW + 1}, "expires_at"),
        ({"scopes": ("admin", "usage:read")}, {"scopes": list(ADMIN_SCOPES)}, "scopes"),
        ({"scopes": ("admin", "usage:read")}, {"scopes": ["admin", "responses"]}, "scopes"),
        ({"scopes": ("admin",)}, {}, "scopes"),
    ],
)
def test_a_key_is_refused_what_it_lacks_itself(
    house: House, terms: dict[str, Any], wish: dict[str, Any], param: str
) -> None:
    refused = house.admin(**terms).make(**wish)
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("forbidden", param, "permission_error")


@pytest.mark.parametrize("wish", [{}, {"budget": None, "expires_at": None, "mode": None, "scopes": None}])
def test_what_is_left_out_is_what_the_maker_has(house: House, wish: dict[str, Any]) -> None:
    terms = {"mode": "test", "budget": 7, "expires_at": TOMORROW, "scopes": ("admin", "usage:read")}
    maker = house.admin(**terms)
    made = maker.make(**wish).json()
    expected = {**terms, "scopes": ["usage:read"], "made_by": maker.made["id"]}
    assert {name: made[name] for name in expected} == expected
    root = house.admin().make(**wish).json()
    expected = {"mode": "live", "budget": None, "expires_at": None, "scopes": list(DEFAULT_SCOPES)}
    assert {name: root[name] for name in expected} == expected


def test_less_than_the_maker_has_is_handed_out(house: House) -> None:
    maker = house.admin(budget=7, expires_at=TOMORROW)
    less = {"mode": "test", "budget": 6, "expires_at": TOMORROW - 1, "scopes": ["responses"]}
    made = maker.make(**less).json()
    assert {name: made[name] for name in less} == less


def test_two_children_with_the_whole_budget_spend_it_once(house: House) -> None:
    maker = house.admin(budget=4)
    children = [house.child(maker, budget=4), house.child(maker)]
    assert [child.ask() for child in children * 2] == [200] * 4
    assert [holder.ask() for holder in (*children, maker)] == [402] * 3
    late = house.child(maker)
    assert late.ask() == 402


def test_a_chain_of_keys_spends_no_more_than_its_first(house: House) -> None:
    root = house.admin(budget=5)
    chain = [root]
    for _ in range(MAX_LEVELS):
        chain.append(house.child(chain[-1], scopes=list(ADMIN_SCOPES)))
    refused = chain[-1].make()
    assert refused.status_code == 403
    assert [holder.ask() for holder in reversed(chain)] == [200] * 5 + [402] * 4


def test_many_children_at_once_spend_the_budget_once(house: House) -> None:
    maker = house.admin(budget=10)
    children = [house.child(maker) for _ in range(6)]
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda n: children[n % 6].ask(), range(30)))
    assert (statuses.count(200), statuses.count(402)) == (10, 20)


def test_a_key_revokes_itself_those_below_it_and_no_greater_one(house: House) -> None:
    root, small = house.admin(), house.admin(budget=3)
    below = house.child(house.child(small, scopes=list(ADMIN_SCOPES)), scopes=["responses"])
    for attacker in (
        small,
        house.admin(mode="test"),
        house.admin(scopes=("admin",)),
        house.admin(expires_at=TOMORROW),
    ):
        assert attacker.revoke(root.made["id"]).status_code == 403
    assert root.ask() == 200
    assert small.revoke(below.made["id"]).status_code == 200
    assert below.ask() == 401
    assert small.revoke(small.made["id"]).status_code == 200
    assert small.ask() == 401
    assert root.revoke(house.admin(budget=1).made["id"]).status_code == 200


def test_a_key_is_replaced_by_one_that_it_made_or_revoked_with_all_of_them(house: House) -> None:
    old = house.admin()
    new = house.child(old, scopes=list(ADMIN_SCOPES))
    third = house.child(new, scopes=list(ADMIN_SCOPES))
    assert new.revoke(old.made["id"]).status_code == 200
    assert [old.ask(), new.ask(), third.ask()] == [401, 200, 200]
    assert third.revoke(new.made["id"], "?with_children=maybe").status_code == 422
    assert new.revoke(new.made["id"], "?with_children=true").status_code == 200
    assert [new.ask(), third.ask()] == [401, 401]


def test_a_key_with_less_does_not_lift_the_cap_of_its_workspace(house: House) -> None:
    path = f"/api/v1/workspaces/{house.server.keys.workspace_id}"
    root = house.admin()
    assert root.client.patch(path, json={"usage_limit": 900_000}).status_code == 200
    for attacker, wishes in (
        (house.admin(budget=3), [900_001, None]),
        (house.admin(mode="test"), [900_001, None, 1]),
    ):
        for wish in wishes:
            refused = attacker.client.patch(path, json={"usage_limit": wish, "name": "Mine"})
            assert (refused.status_code, refused.json()["error"]["param"]) == (403, "usage_limit")
    assert root.client.get(path).json()["usage_limit"] == 900_000
    assert root.client.get(path).json()["name"] != "Mine"
    assert house.admin(budget=3).client.patch(path, json={"usage_limit": 800_000}).status_code == 200
    assert root.client.patch(path, json={"usage_limit": None}).status_code == 200


def test_a_key_that_was_revoked_a_moment_ago_makes_no_other(house: House) -> None:
    """Within the second for which a key is remembered it still gets past the door."""
    one = house.admin()
    for _ in range(3):
        victim = house.child(one, scopes=list(ADMIN_SCOPES))
        with ThreadPoolExecutor(4) as pool:
            made = [pool.submit(victim.make) for _ in range(3)]
            pool.submit(one.revoke, victim.made["id"], "?with_children=true").result()
            keys = [answer.result().json() for answer in made if answer.result().status_code == 201]
        assert [house.hold(key).ask() for key in keys] == [401] * len(keys)
