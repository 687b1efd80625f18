"""The choice among several servers of a model: by persona, by load and by health."""

import asyncio
from collections import Counter

import pytest

from mavera.errors import ConfigurationError
from mavera.models.endpoint import Endpoint
from mavera.models.servers import Server, Servers, identify_server, normalise_base_urls

URLS = tuple(f"http://10.0.0.{number}:8000/v1" for number in range(1, 5))
KEYS = [f"{number:032x}" for number in range(400)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def servers_at(*urls: str, clock: Clock | None = None) -> Servers:
    return Servers([Endpoint(url) for url in urls], "stub", clock=clock or Clock())


def choose(servers: Servers, key: str | None, *tried: Server) -> Server:
    server = servers.choose(key, tried)
    assert server is not None
    return server


def test_a_key_has_the_same_server_whatever_the_order_of_the_list() -> None:
    one, other = servers_at(*URLS), servers_at(*reversed(URLS))

    assert [choose(one, key).identity for key in KEYS] == [choose(other, key).identity for key in KEYS]


def test_keys_spread_over_all_servers() -> None:
    servers = servers_at(*URLS)

    counts = Counter(choose(servers, key).identity for key in KEYS)

    assert len(counts) == len(URLS)
    assert min(counts.values()) > len(KEYS) / len(URLS) / 2


def test_a_server_that_leaves_moves_only_its_own_keys() -> None:
    before, after = servers_at(*URLS), servers_at(*URLS[:-1])

    for key in KEYS:
        was = choose(before, key).identity
        if was != identify_server(URLS[-1]):
            assert choose(after, key).identity == was


def test_a_server_gets_no_more_than_its_share_and_a_quarter() -> None:
    servers = servers_at(*URLS)

    for _ in range(100):
        choose(servers, KEYS[0]).in_flight += 1

    busy = Counter[str]()
    for _ in URLS:  # each choice counts as one more request, so that all four servers come up
        server = choose(servers, KEYS[0])
        busy[server.identity] = server.in_flight
        server.in_flight += 1000
    assert sum(busy.values()) == 100
    assert max(busy.values()) <= 32  # 1.25 times the mean, rounded up


def test_a_prompt_without_a_key_goes_where_the_least_is_in_flight() -> None:
    servers = servers_at(*URLS[:2])
    first = choose(servers, None)
    first.in_flight += 1

    assert choose(servers, None) is not first


def test_a_server_that_failed_is_passed_over_and_then_tried_by_one_request() -> None:
    clock = Clock()
    servers = servers_at(*URLS[:2], clock=clock)
    first = choose(servers, KEYS[0])
    servers.note_failure(first)

    assert choose(servers, KEYS[0]) is not first
    clock.now = 1.5
    assert choose(servers, KEYS[0]) is first
    assert choose(servers, KEYS[0]) is not first, "a second request did not wait for the outcome of the first"
    servers.note_success(first)
    assert choose(servers, KEYS[0]) is first


def test_if_every_server_is_down_one_is_asked_all_the_same() -> None:
    servers = servers_at(*URLS[:2])
    for _ in range(2):
        servers.note_failure(choose(servers, KEYS[0]))

    assert choose(servers, KEYS[0])
    assert servers.is_down


def test_a_server_that_serves_another_model_is_passed_over() -> None:
    lists = {URLS[0]: {"stub"}, URLS[1]: {"other"}, URLS[2]: set[str]()}
    servers = servers_at(*URLS[:3])

    async def list_models(endpoint: Endpoint) -> frozenset[str]:
        return frozenset(lists[endpoint.base_url])

    asyncio.run(servers.look(list_models))

    assert {choose(servers, key).identity for key in KEYS} == {identify_server(url) for url in URLS[::2][:2]}
    assert servers.list_faults() == {identify_server(URLS[1]): "does not serve stub"}


def test_lists_say_nothing_if_no_server_lists_the_model() -> None:
    servers = servers_at(*URLS[:2])

    async def list_models(_: Endpoint) -> frozenset[str]:
        return frozenset({"/models/qwen.gguf"})

    asyncio.run(servers.look(list_models))

    assert not servers.list_faults()


def test_a_server_that_does_not_answer_the_watch_is_down() -> None:
    servers = servers_at(*URLS[:2])

    async def list_models(endpoint: Endpoint) -> None:
        if endpoint.base_url == URLS[0]:
            raise OSError("silence")

    asyncio.run(servers.look(list_models))

    assert {choose(servers, key).identity for key in KEYS} == {identify_server(URLS[1])}


@pytest.mark.parametrize(
    "text",
    [
        "http://a/v1, http://a/v1/",
        "http://a/v1,http://A:80/v1",
        "http://a/v1,http://u:secret@a/v1/chat/completions",
    ],
)
def test_the_same_server_twice_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match="MAVERA_UPSTREAM_BASE_URL names the same server twice"
    ) as it:
        normalise_base_urls(text, "MAVERA_UPSTREAM_BASE_URL")
    assert "secret" not in str(it.value)
