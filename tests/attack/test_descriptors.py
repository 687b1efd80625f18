"""
File descriptors that run out: the server says so, refuses in order, and recovers.

    each stream takes two descriptors, one to the client and one to the upstream, and the server has 96 in all
"""

import json
from contextlib import ExitStack

from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer
from tests.attack.wire import request_bytes
from tests.support.processes import ASK
from tests.support.upstream_stub import Upstream, answer, is_silent, text

DESCRIPTORS = 96
STREAMS = DESCRIPTORS // 2 - 4
STREAM = json.dumps({**ASK, "stream": True}).encode()


def low_descriptors(server: AttackedServer) -> bool:
    """Return what `/metrics` says. The request fails while no descriptor is left for it."""
    with server.client("") as client:
        page = client.get("/metrics").text
    return [line.split()[1] for line in page.splitlines() if line.startswith("mavera_descriptors_low ")] == [
        "1.0"
    ]


def test_a_server_that_runs_out_of_descriptors_says_so_and_recovers(
    attack: Attack, upstream: Upstream
) -> None:
    upstream.script = [is_silent(text("Well,"))]
    server = attack(
        file_limit=DESCRIPTORS,
        model_backend="upstream",
        upstream_base_url=upstream.url,
        upstream_model="stub",
        upstream_retries=0,
        max_connections_per_address=DESCRIPTORS,
    )
    assert not low_descriptors(server)
    at_rest = server.resources()
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect(60)) for _ in range(STREAMS)]
        server.wait_for(lambda: server.resources().open_files >= at_rest.open_files + STREAMS - 1)
        for connection in connections:
            connection.send(request_bytes("POST", "/api/v1/responses", key=server.keys.live, body=STREAM))
        statuses = {(connection.receive() or b"")[9:12] for connection in connections}
        assert statuses == {b"200", b"503"}
        server.wait_for(lambda: "descriptors_low" in server.log(), 40)
        assert low_descriptors(server)

    upstream.script = [answer()]
    with server.client() as client:
        server.wait_for(lambda: client.post("/api/v1/responses", json=ASK).status_code == 200)
    server.wait_for(lambda: not low_descriptors(server), 40)
    assert "Traceback" not in server.log()
