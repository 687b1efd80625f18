"""The head of an upstream's answer, and all that is not its body, have limits too."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from mavera.models.exchange import Address, ExchangeFailed, Poster, TimedOut, TooMuch

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]
BURST = 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


async def _endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while True:
        writer.write(b"X-Filler: " + b"x" * 500 + b"\r\n")
        await writer.drain()


async def _endless_header(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"X-Filler: ")
    while True:
        writer.write(b"x" * 500)
        await writer.drain()


async def _endless_continue(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        await writer.drain()


async def _slow_continue(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless_trailers(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n")
    while True:
        writer.write(b"X-Filler: " + b"x" * 500 + b"\r\n")
        await writer.drain()


async def _endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b"x" * 1000)
        await writer.drain()


async def _slow_body(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("say", "failure"),
    [
        (_endless_headers, TooMuch),
        (_endless_header, TooMuch),
        (_endless_continue, TooMuch),
        (_slow_continue, TimedOut),
        (_endless_trailers, TooMuch),
        (_endless_body, TooMuch),
        (_slow_body, TimedOut),
    ],
)
def test_an_answer_without_end_fails(say: Say, failure: type[ExchangeFailed]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await say(writer)
        writer.close()

    async def run() -> int:
        received = 0
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        poster = Poster(connect_seconds=5, most_bytes=1_000_000, total_seconds=1.0)
        address = Address.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", headers={})
        try:
            answer = await poster.post(address, b"", patience_seconds=0.5)
            while data := await answer.read(patience_seconds=0.5):
                received += len(data)
        except failure:
            return received
        finally:
            await poster.close()
            server.close()
        pytest.fail("it came to an end")

    async def bounded() -> int:
        async with asyncio.timeout(20):
            return await run()

    assert asyncio.run(bounded()) <= 1_000_000


class KeepingServer:
    """Answers once `BURST` connections are open, and never closes one by itself."""

    def __init__(self) -> None:
        self.open = self.most_open = 0
        self._full, self._left = asyncio.Event(), asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._left.clear()
        self.most_open = max(self.most_open, self.open)
        if self.open == BURST:
            self._full.set()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                await self._full.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.open -= 1
        writer.close()
        if not self.open:
            self._left.set()

    async def wait_until_left(self) -> None:
        async with asyncio.timeout(10):
            await self._left.wait()


async def _ask(poster: Poster, address: Address) -> None:
    answer = await poster.post(address, b"{}", patience_seconds=10)
    while await answer.read(patience_seconds=10):
        pass
    answer.close()


def test_connections_that_carry_nothing_are_closed() -> None:
    """A burst opens a connection for each request, and a server may keep them all."""

    async def burst() -> int:
        keeping = KeepingServer()
        server = await asyncio.start_server(keeping.handle, "127.0.0.1", 0)
        address = Address.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", headers={})
        poster = Poster(connect_seconds=5, idle_seconds=0.1)
        await asyncio.gather(*(_ask(poster, address) for _ in range(BURST)))
        await keeping.wait_until_left()
        await _ask(poster, address)
        await poster.close()
        await keeping.wait_until_left()
        server.close()
        await server.wait_closed()
        return keeping.most_open

    assert asyncio.run(burst()) == BURST
