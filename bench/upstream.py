"""
A model's server that costs next to nothing: streams chat chunks that carry the time they were sent.

    python -m bench.upstream --tokens 200 --every-ms 20   →   prints its port, serves until ended

A request's `max_tokens` goes before `--tokens`. The time is the monotonic clock's, which all
processes of a machine share.
"""

import argparse
import asyncio
import re
import time

_MAX_TOKENS = re.compile(rb'"max_tokens": ?(\d+)')


class Upstream(asyncio.Protocol):
    """One connection: any request is answered with a stream, written by a timer."""

    def __init__(self, tokens: int, every_seconds: float) -> None:
        self._tokens = tokens
        self._every_seconds = every_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        if len(body) >= length:
            self._received = body[length:]
            limit = _MAX_TOKENS.search(body)
            self._answer(int(limit[1]) if limit else self._tokens)

    def _answer(self, tokens: int) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._left = tokens
        asyncio.get_running_loop().call_later(self._every_seconds, self._say)

    def _say(self) -> None:
        if self._transport.is_closing():
            return
        if not self._left:
            usage = b'{"prompt_tokens":1,"completion_tokens":%d}' % self._tokens
            self._send(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":%b}' % usage)
            self._send(b"[DONE]")
            self._transport.write(b"0\r\n\r\n")
            return
        self._left -= 1
        now = b"%d " % time.monotonic_ns()
        self._send(b'{"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % now)
        asyncio.get_running_loop().call_later(self._every_seconds, self._say)

    def _send(self, data: bytes) -> None:
        event = b"data: " + data + b"\n\n"
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))


async def _serve(tokens: int, every_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(tokens, every_seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--every-ms", type=float, default=20.0)
    options = parser.parse_args()
    asyncio.run(_serve(options.tokens, options.every_ms / 1000))


if __name__ == "__main__":
    main()
