"""
Speak to an MCP server over the standard input and output of a program.

The official client has such a transport too, but it collects a line in memory, however long the line
grows. This one ends the connection if a line is too long.

    program's stdout → lines of at most `most_line_bytes` → messages for the client
    messages of the client → lines → program's stdin
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import structlog
from anyio.abc import ObjectReceiveStream, ObjectSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from mavera.core.finish import finish
from mavera.tools.mcp.config import MCPServerConfig

log = structlog.get_logger()

MOST_LINE_BYTES = 8 * 1024 * 1024
# The time for a program to end after its input has ended, and then again after SIGTERM.
_GRACE_SECONDS = 2.0

Received = SessionMessage | Exception

# The program or the client has closed its side. Either may be first.
_ENDED = (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, anyio.BrokenResourceError)


@asynccontextmanager
async def run_program(
    config: MCPServerConfig, *, most_line_bytes: int = MOST_LINE_BYTES
) -> AsyncIterator[tuple[ObjectReceiveStream[Received], ObjectSendStream[SessionMessage]]]:
    """
    Start the program of `config`, yield the two streams that the client reads and writes, and end it.

    The stream of received messages ends if the program ends, or if a line has more than `most_line_bytes`.
    Raises OSError if the program cannot be started.
    """
    process = await anyio.open_process(
        [config.command, *config.args],
        env=get_default_environment() | config.env,
        cwd=config.cwd,
        stderr=sys.stderr,
        start_new_session=True,  # so that the programs it starts end with it
    )
    to_client, received = anyio.create_memory_object_stream[Received](0)
    to_send, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with received, to_send, anyio.create_task_group() as group:
        group.start_soon(_read_lines, process, to_client, most_line_bytes)
        group.start_soon(_write_lines, process, from_client)
        try:
            yield received, to_send
        finally:
            try:
                await finish(_end(process))
            finally:
                group.cancel_scope.cancel()


async def _read_lines(process: Process, to_client: ObjectSendStream[Received], most_line_bytes: int) -> None:
    assert process.stdout is not None  # noqa: S101 - anyio opens a pipe unless told otherwise
    lines = BufferedByteReceiveStream(process.stdout)
    # The client takes the end of this stream for the end of the connection. It then opens another one.
    async with to_client:
        with suppress(
            anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, anyio.BrokenResourceError
        ):
            while True:
                try:
                    line = await lines.receive_until(b"\n", most_line_bytes)
                except anyio.DelimiterNotFound:
                    log.warning("mcp line too long", limit_bytes=most_line_bytes)
                    return
                await to_client.send(_to_message(line))


def _to_message(line: bytes) -> Received:
    """Return the message of a line. An error is a value too, because the client decides what it ends."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _write_lines(process: Process, from_client: ObjectReceiveStream[SessionMessage]) -> None:
    assert process.stdin is not None  # noqa: S101 - anyio opens a pipe unless told otherwise
    async with from_client:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            async for sent in from_client:
                text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(f"{text}\n".encode())


async def _end(process: Process) -> None:
    """Close the program's input, then ask it and its own children to end, then kill them."""
    if process.stdin is not None:
        with suppress(OSError, anyio.BrokenResourceError):
            await process.stdin.aclose()
    for sign in (None, signal.SIGTERM, signal.SIGKILL):
        if sign is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, sign)
        with anyio.move_on_after(_GRACE_SECONDS):
            await process.wait()
            break
    await process.aclose()
