"""
Tools of MCP servers that the operator set up, by the official client library.

    mcp.toml → one connection each, kept by a task of its own → its tools, as label__name

A server that cannot be reached has no tools; it is tried again, ever more slowly. Imported
only where a server is set up: it needs the extra `mcp`.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import jsonschema_rs
import mcp
import structlog
from mcp.client.streamable_http import streamable_http_client

from mavera.core.json_schema import Schema
from mavera.core.server_calls import CallKind
from mavera.fetch.capped_lines import register
from mavera.fetch.capped_stream import CappedStream
from mavera.tools.mcp.config import MCPServerConfig
from mavera.tools.tool import Arguments, CallContext, Tool, ToolFailed, ToolResult, one_line

log = structlog.get_logger()

CONNECT_SECONDS = 15.0
_CLOSE_SECONDS = 2.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_MOST_TOOLS = 64
_MOST_BYTES = 8 * 1024 * 1024
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,38}")


class _CappedStream(CappedStream, httpx2.AsyncByteStream):
    pass


class _CappedTransport(httpx2.AsyncHTTPTransport):
    """Stops an answer past a size; of streams of events the library caps each event itself."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Unpacked, a small answer can be huge: none is asked for packed.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("an answer that is packed, though none was asked for")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            too_large = httpx2.ReadError(f"more than {_MOST_BYTES:,} bytes")
            response.stream = _CappedStream(response.stream, _MOST_BYTES, too_large)
        return response


class MCPTool:
    """One tool of a server, for as long as the connection that listed it."""

    kind: CallKind = "function"
    setting = "set up an MCP server in mcp.toml"

    def __init__(self, server: "MCPServer", described: mcp.types.Tool) -> None:
        self._server = server
        self._name = described.name
        self.name = f"{server.label}__{described.name}"
        self.description = one_line(described.description or described.name, 500)
        self.parameters: Schema = {"type": "object", **described.input_schema}

    @property
    def provider(self) -> str:
        return f"mcp:{self._server.label}" if self._server.connected else ""

    @property
    def unasked(self) -> bool:
        return self._server.config.unasked

    @property
    def timeout_seconds(self) -> float:
        return self._server.config.timeout_seconds

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def target(self, arguments: Arguments) -> str:
        return self.name

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        text = await self._server.call(self._name, arguments)
        text = text or "It gave nothing."
        return ToolResult(one_line(text), text=text, origin=self._server.origin(self._name))


class MCPServer:
    """A connection to one server, and the tools that it has just now."""

    def __init__(self, label: str, config: MCPServerConfig) -> None:
        self.label = label
        self.config = config
        self.tools: tuple[Tool, ...] = ()
        self._client: mcp.Client | None = None
        self._broken = asyncio.Event()
        self._tried = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def start(self) -> None:
        """Begin to connect, and wait a moment for the first try."""
        self._keeper = asyncio.create_task(self._keep_connected())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._tried.wait()

    async def close(self) -> None:
        self._closing = True
        while self._keeper is not None and not self._keeper.done():
            # One that comes while the library is connecting can be lost in it.
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=_CLOSE_SECONDS)

    async def call(self, name: str, arguments: Arguments) -> str:
        """Return the text that the tool gave. Raises ToolFailed."""
        client = self._client
        if client is None:
            raise ToolFailed(f"The MCP server '{self.label}' cannot be reached just now.")
        try:
            result = await client.call_tool(name, arguments)
        except mcp.MCPError as error:
            if error.code == mcp.types.CONNECTION_CLOSED:
                self._broken.set()
            raise ToolFailed(
                f"The MCP server '{self.label}' refused.", said=str(error), origin=self.origin(name)
            ) from error
        except Exception as error:
            self._broken.set()
            log.warning("mcp call failed", server=self.label, error=type(error).__name__)
            raise ToolFailed(f"The MCP server '{self.label}' failed.") from error
        text = "\n".join(block.text for block in result.content if block.type == "text")
        if result.is_error:
            raise ToolFailed("The tool failed.", said=text, origin=self.origin(name))
        return text

    def origin(self, name: str) -> str:
        """Say whose words a result is."""
        return f"the tool '{name}' of the MCP server '{self.label}'"

    async def _keep_connected(self) -> None:
        """The client's own tasks have to end where they began, so one task opens and closes it."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing:
            try:
                self._broken.clear()
                async with self._connection() as client:
                    self.tools = tuple(await self._listed(client))
                    self._client = client
                    self._tried.set()
                    pause = _FIRST_PAUSE_SECONDS
                    await self._broken.wait()
            except (
                Exception
            ) as error:  # the library raises groups of many kinds, and one is as good as another
                log.warning("mcp server away", server=self.label, error=_kind(error))
            finally:
                self._client, self.tools = None, ()
                self._tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[mcp.Client]:
        async with AsyncExitStack() as stack:
            timeout = self.config.timeout_seconds
            if self.config.command:
                program = mcp.StdioServerParameters(
                    command=self.config.command,
                    args=self.config.args,
                    env=self.config.env,
                    cwd=self.config.cwd,
                    encoding=register(),
                )
                client = mcp.Client(program, read_timeout_seconds=timeout)
            else:
                http = httpx2.AsyncClient(
                    headers=self.config.headers,
                    timeout=timeout,
                    transport=_CappedTransport(),
                    trust_env=False,
                )
                await stack.enter_async_context(http)
                transport = streamable_http_client(
                    self.config.url, http_client=http, max_sse_event_size=_MOST_BYTES
                )
                client = mcp.Client(transport, read_timeout_seconds=timeout)
            yield await stack.enter_async_context(client)

    async def _listed(self, client: mcp.Client) -> list[Tool]:
        wanted = self.config.tools
        described = (await client.list_tools()).tools
        return [
            MCPTool(self, one)
            for one in described[:_MOST_TOOLS]
            if (wanted is None or one.name in wanted) and _NAME.fullmatch(one.name) and _is_usable(one)
        ]


def _kind(error: BaseException) -> str:
    """Return what kind of error it comes down to; its text may hold a key of the operator's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _is_usable(described: mcp.types.Tool) -> bool:
    try:
        jsonschema_rs.validator_for({"type": "object", **described.input_schema}, offline=True)
    except (jsonschema_rs.ValidationError, ValueError):
        log.warning("mcp tool left out: its schema is not valid", tool=described.name)
        return False
    return True


def mcp_servers(configs: dict[str, MCPServerConfig]) -> list[MCPServer]:
    return [MCPServer(label, config) for label, config in configs.items()]
