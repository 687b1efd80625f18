"""
The least that a gateway can do, for comparison: decode, forward, decode, encode. No keys, no ledger, no log.

    python -m bench.relay --upstream http://127.0.0.1:9912/v1   →   prints its port, serves until ended
"""

import argparse
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Asked(msgspec.Struct):
    model: str
    messages: list[dict[str, Any]]


_decode_asked = msgspec.json.Decoder(Asked).decode
_decode_said = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def relay(upstream: str) -> Starlette:
    async def complete(request: Request) -> Response:
        asked = _decode_asked(await request.body())
        session: aiohttp.ClientSession = request.app.state.session
        body = _encode({"model": asked.model, "messages": asked.messages})
        headers = {"Content-Type": "application/json"}
        async with session.post(f"{upstream}/chat/completions", data=body, headers=headers) as answer:
            said = _decode_said(await answer.read())
        return Response(_encode(said), media_type="application/json")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    return Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(relay(options.upstream), log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
