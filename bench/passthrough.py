"""
The least that a server in the middle can cost: the same uvicorn and aiohttp, every piece passed on unread.

    python -m bench.passthrough http://127.0.0.1:PORT/v1   →   prints its URL, serves until ended

No keys, no personas, no parsing, no encoding: what mavera costs beyond this is mavera's own.
"""

import socket
import sys

import aiohttp
import uvicorn
from starlette.types import Receive, Scope, Send


class Passthrough:
    """Answers any POST with what `upstream_url` answers."""

    def __init__(self, upstream_url: str) -> None:
        self._url = f"{upstream_url}/chat/completions"
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message["body"]
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self._session.post(self._url, data=body) as response:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while data := await response.content.readany():
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(Passthrough(sys.argv[1]), log_config=None, access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
