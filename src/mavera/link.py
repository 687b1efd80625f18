"""
Questions from a worker process to the one that started it, over a pair of sockets.

    worker    await link.fetch_reply(question, Verdict)   →  [id, [kind of question, …]]
              link.send(question)                         the same; nobody waits for the reply
    parent    reply_to_all(sock, Question, reply)         ←  [id, true, …]  |  [id, false, [message, seconds]]

`Question` is a union of tagged Structs (`server/questions.py`). The pair of sockets has no name, so no other
process can ask. When one side ends, the other one reads the end of the stream.
"""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import msgspec
import structlog

from mavera.errors import APIError, ServiceUnavailable

log = structlog.get_logger()

T = TypeVar("T")

# The settings are the longest reply.
_MOST_LINE_BYTES = 1024 * 1024


class _Reply(msgspec.Struct, array_like=True):
    id: int
    succeeded: bool
    body: msgspec.Raw


class _Refusal(msgspec.Struct, array_like=True):
    message: str
    retry_after: int | None


class Link:
    """The worker's end. `lost` is called once, when the parent has ended."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: Callable[[], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._lost = lost
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[_Reply]] = {}
        self._task = asyncio.create_task(self._read(), name="mavera-link")

    @classmethod
    async def open(cls, sock: socket.socket, *, lost: Callable[[], None]) -> Self:
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_MOST_LINE_BYTES)
        return cls(reader, writer, lost)

    async def fetch_reply(self, question: msgspec.Struct, kind: type[T]) -> T:
        """Return the parent's reply. Raises ServiceUnavailable if it refuses."""
        number = next(self._ids)
        future: asyncio.Future[_Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._writer.write(msgspec.json.encode((number, question)) + b"\n")
        try:
            reply = await future
        finally:
            del self._waiting[number]
        if reply.succeeded:
            return msgspec.json.decode(reply.body, type=kind)
        refusal = msgspec.json.decode(reply.body, type=_Refusal)
        raise ServiceUnavailable(refusal.message, retry_after=refusal.retry_after)

    def send(self, question: msgspec.Struct) -> None:
        """Send a question whose reply nobody needs."""
        self._writer.write(msgspec.json.encode((next(self._ids), question)) + b"\n")

    async def _read(self) -> None:
        decode = msgspec.json.Decoder(_Reply).decode
        try:
            while line := await self._reader.readline():
                reply = decode(line)
                future = self._waiting.get(reply.id)
                if future is not None and not future.done():
                    future.set_result(reply)
        except OSError:
            pass
        except (msgspec.DecodeError, ValueError) as error:  # ValueError: a line beyond the limit
            log.error("link_broken", error=type(error).__name__)
        self._writer.close()
        # Without the parent's replies, every question would wait for ever.
        self._lost()


async def reply_to_all(sock: socket.socket, kind: Any, reply: Callable[[Any], Awaitable[Any]]) -> None:
    """Reply to the questions of a worker, each of `kind`, until it ends. A slow reply delays no other."""
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_MOST_LINE_BYTES)
    decode = msgspec.json.Decoder(tuple[int, kind]).decode
    tasks: set[asyncio.Task[None]] = set()
    try:
        while line := await reader.readline():
            number, question = decode(line)
            task = asyncio.create_task(_send_reply(writer, number, question, reply))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except OSError:
        pass  # the worker died during its questions
    except (msgspec.DecodeError, ValueError) as error:  # ValueError: a line beyond the limit
        log.error("link_broken", error=type(error).__name__)
    finally:
        for task in tasks:
            task.cancel()
        writer.close()


async def _send_reply(
    writer: asyncio.StreamWriter, number: int, question: Any, reply: Callable[[Any], Awaitable[Any]]
) -> None:
    try:
        line: Any = (number, True, await reply(question))
    except APIError as error:
        line = (number, False, (error.message, error.retry_after))
    except Exception as error:
        # The worker waits for a reply in any case.
        log.exception("question failed", question=type(question).__name__, error=type(error).__name__)
        line = (number, False, ("The server could not answer this question. Retry in a second.", 1))
    writer.write(msgspec.json.encode(line, enc_hook=str) + b"\n")
