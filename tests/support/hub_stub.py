"""A model hub on loopback: files with ranges and redirects, and whatever goes wrong on a real one."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class HubStub:
    """
    `files` by path, as in `owner/repo/resolve/revision/file`. A path in `statuses` gets that status instead.

    `redirects` is how often a file is redirected before it comes. `bytes_per_second` slows it down.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    redirects: int = 0
    redirect_to: str = ""
    bytes_per_second: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def running_hub(stub: HubStub) -> Iterator[HubStub]:
    """Serve `stub`; each request is kept as its path, its Range and its Authorization."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, hops = self.path.lstrip("/").partition("?hop=")
            wanted = self.headers.get("Range", "")
            stub.requests.append((path, wanted, self.headers.get("Authorization", "")))
            if path in stub.statuses or path not in stub.files:
                return self._send(stub.statuses.get(path, 404), b"", **stub.headers)
            if int(hops or 0) < stub.redirects:
                target = stub.redirect_to or f"/{path}?hop={int(hops or 0) + 1}"
                return self._send(302, b"", Location=target)
            content = stub.files[path]
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first or 0), min(int(last) + 1 if last else len(content), len(content))
            if start >= len(content):
                return self._send(416, b"", Content_Range=f"bytes */{len(content)}")
            return self._send(
                206, content[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(content)}"
            )

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            pace = stub.bytes_per_second
            for at in range(0, len(body), pace // 20 or len(body) or 1):
                self.wfile.write(body[at : at + (pace // 20 or len(body))])
                if pace:
                    self.wfile.flush()
                    time.sleep(1 / 20)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # a pull that was killed
                super().handle()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
