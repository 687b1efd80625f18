"""
Requests with a name that is not this server's: what a page does whose name was made to resolve to 127.0.0.1.
"""

import json
import socket

import pytest

from mavera.api.http.hosts import HostCheck, is_loopback
from mavera.settings import Settings
from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer

PAGES = ["/docs", "/openapi.json", "/metrics", "/health/live", "/api/v1/personas", "/nothing"]
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def ask(server: AttackedServer, path: str, head: str, version: str = "1.1") -> tuple[int, str]:
    """Return the status and the body of what a raw request is answered with."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        request = f"GET {path} HTTP/{version}\r\n{head}"
        if "Upgrade" not in head:
            request += "Connection: close\r\n"
        connection.sendall(f"{request}\r\n".encode("latin-1"))
        answer = connection.makefile("rb").read() if "Upgrade" not in head else connection.recv(65536)
    top, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    return int(top.split()[1]), body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "[::1].evil.example",
        "[evil",
        "10.0.0.1",
        "",
    ],
)
@pytest.mark.parametrize("page", PAGES)
def test_another_host_is_refused_on_every_page(attacked: AttackedServer, page: str, host: str) -> None:
    status, body = ask(attacked, page, f"Host: {host.format(port=attacked.port)}\r\n")
    assert status == 400, body
    if body.startswith("{"):
        assert json.loads(body)["error"]["code"] == "invalid_request"


def test_the_refusal_says_what_to_set(attacked: AttackedServer) -> None:
    _, body = ask(attacked, "/docs", "Host: api.example.com\r\n")
    assert "MAVERA_ALLOWED_HOSTS=api.example.com" in json.loads(body)["error"]["message"]


def test_two_hosts_and_none_are_refused(attacked: AttackedServer) -> None:
    assert ask(attacked, "/docs", "Host: localhost\r\nHost: evil.example\r\n")[0] == 400
    assert ask(attacked, "/docs", "")[0] == 400
    assert ask(attacked, "/health/live", "", version="1.0")[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:{port}", "127.0.0.2", "[::1]:9", "localhost."]
)
def test_our_own_names_are_answered_with_any_port(attacked: AttackedServer, host: str) -> None:
    for page in ("/docs", "/metrics", "/health/live"):
        assert ask(attacked, page, f"Host: {host.format(port=attacked.port)}\r\n")[0] == 200


def test_a_websocket_is_opened_for_our_own_names_only(attacked: AttackedServer) -> None:
    key = f"Authorization: Bearer {attacked.keys.live}\r\n{UPGRADE}"
    assert ask(attacked, "/api/v1/responses", f"Host: evil.example\r\n{key}")[0] == 400
    assert ask(attacked, "/api/v1/responses", f"Host: localhost\r\n{key}")[0] == 101


def test_hosts_that_are_named_are_answered(attack: Attack) -> None:
    server = attack(allowed_hosts="api.example.com, *.example.org", public_url="https://media.example.net")
    good = ["api.example.com", "API.example.com:443", "a.b.example.org", "media.example.net", "localhost"]
    for host in good:
        assert ask(server, "/docs", f"Host: {host}\r\n")[0] == 200, host
    for host in ("example.com", "example.org", "evilexample.org", "api.example.com.evil.net"):
        assert ask(server, "/docs", f"Host: {host}\r\n")[0] == 400, host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "mavera.internal"])
def test_elsewhere_than_on_loopback_any_host_is_answered_unless_some_are_named(host: str) -> None:
    scope = {"headers": [(b"host", b"anything.example")], "server": ("192.0.2.7", 8000)}
    HostCheck(Settings(host=host)).check(scope)
    HostCheck(Settings(host=host, allowed_hosts="*")).check(scope)
    named = HostCheck(Settings(host=host, allowed_hosts="api.example.com"))
    with pytest.raises(Exception, match="MAVERA_ALLOWED_HOSTS"):
        named.check(scope)
    named.check({**scope, "headers": [(b"host", b"192.0.2.7:8000")]})  # a probe at the server's own address


def test_what_is_loopback() -> None:
    ours = ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "localhost")
    assert [host for host in ours if not is_loopback(host)] == []
    assert [host for host in ("0.0.0.0", "::", "10.0.0.1", "", "example.com") if is_loopback(host)] == []
