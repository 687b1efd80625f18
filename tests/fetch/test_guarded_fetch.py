"""The guarded fetch against a local site that does everything a hostile one does."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from aiohttp import web

from mavera.errors import APIError, ConfigurationError, InvalidRequest, ServiceUnavailable, ValidationFailed
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch, _only, _Refused
from mavera.settings import load_settings

PNG = b"\x89PNG\r\n\x1a\nnot really"
PNG_ONLY = frozenset({"image/png"})
LOOPBACK = (ip_network("127.0.0.1/32"),)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names:
    """A resolver whose answers the test decides; the last answer of a name is repeated."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): list(said) for name, said in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError("no such name")
        said = self._answers[host]
        return said.pop(0) if len(said) > 1 else said[0]


class Site:
    """A web server on 127.0.0.1 and a fetch that may reach it."""

    def __init__(self, port: int, names: Names, options: dict[str, Any]) -> None:
        self.port = port
        self.requests: list[web.Request] = []
        options = {"networks": LOOPBACK, "total_timeout_seconds": 5.0, **options}
        self._fetch = GuardedFetch(FetchPolicy(ports=frozenset({80, 443, port}), **options), resolver=names)

    async def get(
        self, path: str, *, host: str = "site.test", max_bytes: int = 100_000, caller: str = "ws"
    ) -> bytes:
        url = path if "://" in path else f"http://{host}:{self.port}{path}"
        return await self._fetch.get(
            url, caller=caller, content_types=PNG_ONLY, max_bytes=max_bytes, param="image"
        )


def visit(
    handler: Handler, use: Callable[[Site], Awaitable[Any]], names: Names | None = None, **options: Any
) -> Any:
    """Serve every path with `handler` while `use` runs, and return what that returns."""

    async def run() -> Any:
        async with AsyncExitStack() as stack:
            runner = web.ServerRunner(web.Server(noted), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listener = web.TCPSite(runner, "127.0.0.1", 0)
            await listener.start()
            port = runner.addresses[0][1]
            site = Site(port, names or Names(site_test=[["127.0.0.1"]]), options)
            holder.append(site)
            return await use(site)

    async def noted(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        holder[0].requests.append(request)  # type: ignore[arg-type]
        return await handler(request)  # type: ignore[arg-type]

    holder: list[Site] = []
    return asyncio.run(run())


async def png(_: web.Request) -> web.Response:
    return web.Response(body=PNG, content_type="image/png")


def refusal(
    handler: Handler = png,
    path: str = "/",
    *,
    names: Names | None = None,
    kind: type[APIError] = InvalidRequest,
    **options: Any,
) -> str:
    """Return the sentence with which `path` is refused."""

    async def use(site: Site) -> str:
        with pytest.raises(kind) as refused:
            await site.get(path)
        assert refused.value.param == "image"
        return refused.value.message

    return str(visit(handler, use, names, **options))


def redirect_to(*locations: str) -> Handler:
    """Answer the first requests with redirects, the ones after with the image."""
    left = list(locations)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": left.pop(0)}) if left else await png(request)

    return handler


def test_an_allowed_url_is_fetched_with_no_credentials_cookies_or_wish_for_compression() -> None:
    async def use(site: Site) -> tuple[bytes, Any]:
        return await site.get("/a?b=c#d"), site.requests[0]

    body, request = visit(png, use)

    assert body == PNG
    assert str(request.rel_url) == "/a?b=c"
    assert request.headers["Host"].startswith("site.test:")
    assert request.headers["Accept"] == "image/png"
    assert request.headers["Accept-Encoding"] == "identity"
    assert not {"Authorization", "Cookie"} & set(request.headers)


def test_a_host_may_be_allowed_by_name() -> None:
    body = visit(png, lambda site: site.get("/"), networks=(), hosts=frozenset({"site.test"}))

    assert body == PNG


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0X7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.0x",
        "①②⑦.⓪.⓪.①",
        "１２７.０.０.１",
        "127。0。0。1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
        "168.63.129.16",
        "10.0.0.1",
        "224.0.0.1",
    ],
)
def test_an_inner_address_is_refused_however_it_is_written(host: str) -> None:
    names = Names()

    message = refusal(path=f"http://{host}/", networks=(), names=names)

    assert "public address" in message or "usual form" in message or "valid URL" in message
    assert names.asked == []


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "ip6-localhost", "metadata.test"])
def test_a_name_that_resolves_to_an_inner_address_is_refused_like_one_that_does_not_exist(host: str) -> None:
    names = Names(localhost=[["127.0.0.1"]], metadata_test=[["169.254.169.254"]])

    message = refusal(path=f"http://{host}/", names=names, networks=())

    assert message == refusal(path="http://nowhere.test/", names=Names(), networks=())
    assert "127" not in message
    assert "169" not in message


def test_the_systems_own_resolver_is_checked_too() -> None:
    async def use() -> None:
        await GuardedFetch(FetchPolicy()).get(
            "http://localhost./", caller="ws", content_types=PNG_ONLY, max_bytes=9, param=None
        )

    with pytest.raises(InvalidRequest, match="public address"):
        asyncio.run(use())


@pytest.mark.parametrize("answers", [["8.8.8.8", "127.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["fe80::1%eth0"], []])
def test_one_inner_address_among_the_answers_refuses_them_all(answers: list[str]) -> None:
    assert "public address" in refusal(names=Names(site_test=[answers]), networks=())


def test_a_name_is_resolved_once_and_the_second_answer_never_asked_for() -> None:
    names = Names(site_test=[["127.0.0.1"], ["127.0.0.2"]])

    body = visit(png, lambda site: site.get("/"), names)

    assert body == PNG
    assert names.asked == ["site.test"]


def test_a_socket_is_made_for_a_checked_address_only() -> None:
    make = _only([ip_address("127.0.0.1")])

    make((2, 1, 6, "", ("127.0.0.1", 80))).close()
    with pytest.raises(_Refused):
        make((2, 1, 6, "", ("127.0.0.2", 80)))


@pytest.mark.parametrize(
    "url",
    [
        "gopher://site.test/",
        "file:///etc/passwd",
        "ftp://site.test/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "//site.test/",
        "/etc/passwd",
        "unix:/run/docker.sock",
    ],
)
def test_other_schemes_are_refused(url: str) -> None:
    async def use(site: Site) -> None:
        with pytest.raises(InvalidRequest, match=r"http and https|valid URL"):
            await site._fetch.get(url, caller="ws", content_types=PNG_ONLY, max_bytes=9, param="image")

    visit(png, use)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pass@site.test/",
        "http://user@site.test/",
        "http://8.8.8.8@127.0.0.1/",
        "http://site.test#@127.0.0.1/",
        "http://site.test\\@127.0.0.1/",
        "http://127.0.0.1\\.site.test/",
        "http://site.test:80@127.0.0.1:80/",
        "http://[::1]@8.8.8.8/",
    ],
)
def test_user_info_and_what_parsers_disagree_about_are_refused(url: str) -> None:
    message = refusal(path=url, names=Names())

    assert "user name" in message or "valid URL" in message or "public address" in message


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://:80/",
        "http://./",
        "http://[::1/",
        "http://a b/",
        "http://a\r\nb/",
        "http://a:x/",
        "http://a:99999/",
        "http://" + "a" * 9000,
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    message = refusal(path=url, names=Names())

    assert "valid URL" in message or "longer" in message or "public address" in message


def test_other_ports_are_refused() -> None:
    assert refusal(path="http://site.test:22/").startswith(
        "This server fetches URLs from these ports only: 80, 443"
    )


def test_a_redirect_is_followed_three_times_at_most() -> None:
    assert visit(redirect_to("/1", "/2", "/3"), lambda site: site.get("/")) == PNG
    assert "more than 3 times" in refusal(redirect_to("/1", "/2", "/3", "/4"))


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//10.0.0.1/",
        "http://inner.test/",
        "http://2130706433/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user:pass@site.test/",
        "http://site.test:22/",
        "",
    ],
)
def test_a_redirect_is_checked_like_the_first_url(location: str) -> None:
    names = Names(site_test=[["127.0.0.1"]], inner_test=[["10.0.0.1"]])

    assert "169.254" not in refusal(redirect_to(location), names=names)


def test_a_redirect_to_the_same_name_is_resolved_and_checked_again() -> None:
    names = Names(site_test=[["127.0.0.1"], ["10.0.0.1"]])

    assert "public address" in refusal(redirect_to("/again"), names=names)
    assert names.asked == ["site.test", "site.test"]


@pytest.mark.parametrize("status", [201, 204, 304, 404, 500])
def test_an_answer_other_than_200_is_refused_with_its_status(status: int) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Content-Type": "image/png"})

    assert str(status) in refusal(handler)


def test_another_content_type_is_refused() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    assert "content type" in refusal(handler)


def test_a_slow_answer_is_given_up() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    assert "in time" in refusal(handler, total_timeout_seconds=0.2)


def streaming(piece: bytes, *, pause_seconds: float = 0.0, headers: dict[str, str] | None = None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png", **(headers or {})})
        await response.prepare(request)
        while True:
            await response.write(piece)
            await asyncio.sleep(pause_seconds)

    return handler


def test_a_body_that_drips_is_given_up() -> None:
    assert "in time" in refusal(streaming(b"x", pause_seconds=0.02), total_timeout_seconds=0.3)


def test_an_endless_body_is_cut() -> None:
    assert "larger than 100,000 bytes" in refusal(streaming(b"x" * 5000), kind=ValidationFailed)


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": "100001"})
        await response.prepare(request)
        await asyncio.sleep(30)
        return response

    assert "larger" in refusal(handler, kind=ValidationFailed)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_unpacked(encoding: str) -> None:
    packed = gzip.compress(PNG) if encoding == "gzip" else zlib.compress(PNG)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Type": "image/png", "Content-Encoding": encoding})

    assert visit(handler, lambda site: site.get("/")) == PNG


def answering(body: bytes, encoding: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": "image/png", "Content-Encoding": encoding})

    return handler


def test_a_decompression_bomb_is_stopped_at_the_cap() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000

    tracemalloc.start()
    message = refusal(answering(bomb, "gzip"), kind=ValidationFailed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "larger" in message
    assert peak < 10_000_000


def test_a_body_packed_in_another_way_or_broken_is_refused() -> None:
    assert "was not requested" in refusal(answering(b"x", "br"))
    assert "cannot be read" in refusal(answering(b"no gzip", "gzip"))
    assert "cannot be read" in refusal(answering(gzip.compress(PNG)[:-9], "gzip"))


def test_huge_headers_are_refused() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=PNG, headers={"Content-Type": "image/png", "X-Long": "x" * 100_000})

    assert "cannot be read" in refusal(handler)


def test_nothing_is_fetched_where_fetching_is_off() -> None:
    assert "data URL" in refusal(enabled=False)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert visit(png, lambda site: site.get("/")) == PNG


def test_the_policy_follows_the_settings() -> None:
    settings = load_settings(
        {}, fetch_allow="Intranet.example., 10.1.0.0/16, 127.0.0.1, [::1]", fetch_ports="443, 8443"
    )
    policy = FetchPolicy.from_settings(settings)

    assert policy.ports == {443, 8443}
    assert policy.permits("intranet.example", ip_address("192.168.0.1"))
    assert policy.permits("any.example", ip_address("10.1.2.3"))
    assert policy.permits("any.example", ip_address("::ffff:10.1.2.3"))
    assert policy.permits("any.example", ip_address("127.0.0.1"))
    assert policy.permits("any.example", ip_address("::1"))
    assert not policy.permits("any.example", ip_address("10.2.0.1"))
    assert not policy.permits("not.intranet.example", ip_address("192.168.0.1"))


@pytest.mark.parametrize("ports", ["http", "0", "65536", "-1", "80-90", "80,8 0", "٨٠", "9" * 5000])
def test_a_port_that_is_none_is_named_with_the_setting(ports: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"MAVERA_FETCH_PORTS: '.{1,100}' is not a port. Ports are 1 to 65535"
    ):
        FetchPolicy.from_settings(load_settings({}, fetch_ports=ports))


@pytest.mark.parametrize("ports", ["", " , ,"])
def test_no_port_at_all_is_refused_with_the_setting_that_turns_fetching_off(ports: str) -> None:
    with pytest.raises(ConfigurationError, match="MAVERA_FETCH_ENABLED=false"):
        FetchPolicy.from_settings(load_settings({}, fetch_ports=ports))


@pytest.mark.parametrize("given", [{"fetch_allow": "10.0.0.0/99"}, {"fetch_allow": "http://a/"}])
def test_a_policy_that_cannot_be_understood_stops_the_start(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        FetchPolicy.from_settings(load_settings({}, **given))


def test_one_caller_does_not_hold_up_another() -> None:
    answer = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/slow.png":
            await answer.wait()
        return web.Response(body=PNG, content_type="image/png")

    async def use(site: Site) -> bytes:
        hostile = [asyncio.create_task(site.get("/slow.png", caller="hostile")) for _ in range(40)]
        while not site.requests:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        got = await site.get("/quick.png", caller="innocent")
        assert not any(task.done() for task in hostile)
        answer.set()
        await asyncio.gather(*hostile)
        return got

    assert visit(handler, use, total_timeout_seconds=60.0) == PNG


def test_a_caller_that_waits_too_long_for_a_place_gets_a_503_and_its_url_is_not_blamed() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def use(site: Site) -> list[Any]:
        calls = (site.get("/slow.png") for _ in range(30))
        return await asyncio.gather(*calls, return_exceptions=True)

    found = Counter(type(error) for error in visit(handler, use, total_timeout_seconds=0.5))
    assert found[ServiceUnavailable] + found[InvalidRequest] == 30
    assert found[ServiceUnavailable]
