"""
Connect to the operator's MCP servers with the official client library, and offer their tools.

    mcp.toml → one connection per server, kept by a task of its own → its tools, as label__name

A server that cannot be reached has no tools, and it is tried again at growing intervals. The module is
imported only if a server is set up, because it needs the extra `mcp`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import jsonschema_rs
import mcp
import structlog
from mcp.client.streamable_http import streamable_http_client

from mavera.core.json_schema import Schema
from mavera.core.schema_validators import TOOL_PATTERN_BYTES, compile_validator
from mavera.core.server_calls import CallKind
from mavera.core.tool_names import to_offered_name
from mavera.fetch.capped_stream import CappedStream
from mavera.tools.mcp.config import MCPServerConfig
from mavera.tools.mcp.program import run_program
from mavera.tools.tool import Arguments, CallContext, Tool, ToolFailed, ToolResult, one_line

log = structlog.get_logger()

CONNECT_SECONDS = 15.0
_CLOSE_SECONDS = 2.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
# Models take at most 128 functions, and MCP does not limit the size of a page of its list.
_MOST_TOOLS, _MOST_PAGES = 128, 64
_MOST_BYTES = 8 * 1024 * 1024
_MOST_NAME_CHARACTERS = 128  # the limit of MCP


class _CappedStream(CappedStream, httpx2.AsyncByteStream):
    pass


class _CappedTransport(httpx2.AsyncHTTPTransport):
    """A transport that caps the size of a response. In streams of events, the library caps each event."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # The transport requests no compression, because a small packed response can be huge.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("the response has an encoding that was not requested")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            too_large = httpx2.ReadError(f"more than {_MOST_BYTES:,} bytes")
            response.stream = _CappedStream(response.stream, _MOST_BYTES, too_large)
        return response


class MCPTool:
    """One tool of a server. It lives as long as the connection that listed it."""

    kind: CallKind = "function"
    setting = "set up an MCP server in mcp.toml"

    def __init__(self, server: "MCPServer", described: mcp.types.Tool) -> None:
        self._server = server
        self._name = described.name
        self.name = to_offered_name(server.label, described.name)
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
        text = text or "The tool returned nothing."
        return ToolResult(one_line(text), text=text, origin=self._server.describe_origin(self._name))


class MCPServer:
    """
    A connection to one server, and the tools that the server has at the moment.

    `left_out` has the reason for each tool that is not offered, by the server's name for it.
    """

    def __init__(self, label: str, config: MCPServerConfig) -> None:
        self.label = label
        self.config = config
        self.tools: tuple[Tool, ...] = ()
        self.left_out: dict[str, str] = {}
        self._client: mcp.Client | None = None
        self._broken = asyncio.Event()
        self._tried = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def start(self) -> None:
        """Start to connect, and wait a moment for the first try."""
        self._keeper = asyncio.create_task(self._keep_connected())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._tried.wait()

    async def close(self) -> None:
        self._closing = True
        while self._keeper is not None and not self._keeper.done():
            # A cancellation can be lost in the library while it connects.
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=_CLOSE_SECONDS)

    async def call(self, name: str, arguments: Arguments) -> str:
        """Return the text of the tool's result. Raises ToolFailed."""
        client = self._client
        if client is None:
            raise ToolFailed(f"The MCP server '{self.label}' cannot be reached at the moment.")
        try:
            result = await client.call_tool(name, arguments)
        except mcp.MCPError as error:
            if error.code == mcp.types.CONNECTION_CLOSED:
                self._lose_connection()
            raise ToolFailed(
                f"The MCP server '{self.label}' refused.",
                detail=str(error),
                origin=self.describe_origin(name),
            ) from error
        except Exception as error:
            self._lose_connection()
            log.warning("mcp call failed", server=self.label, error=type(error).__name__)
            raise ToolFailed(f"The MCP server '{self.label}' failed.") from error
        text = "\n".join(block.text for block in result.content if block.type == "text")
        if result.is_error:
            raise ToolFailed("The tool failed.", detail=text, origin=self.describe_origin(name))
        return text

    def describe_origin(self, name: str) -> str:
        """Name the source of a tool's text, for the model."""
        return f"the tool '{name}' of the MCP server '{self.label}'"

    def _lose_connection(self) -> None:
        """Offer no tools from now on, and let the keeper connect again."""
        self._client, self.tools = None, ()
        self._broken.set()

    async def _keep_connected(self) -> None:
        """Open and close the client in one task, because its own tasks must end where they began."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing:
            try:
                self._broken.clear()
                async with self._open_connection() as client:
                    await self._choose_tools(client)
                    self._client = client
                    self._tried.set()
                    pause = _FIRST_PAUSE_SECONDS
                    await self._broken.wait()
            except (
                Exception
            ) as error:  # the library raises groups of many types, all of which mean the same here
                log.warning("mcp server away", server=self.label, error=_name_error(error))
            finally:
                self._lose_connection()
                self._tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _open_connection(self) -> AsyncIterator[mcp.Client]:
        async with AsyncExitStack() as stack:
            timeout = self.config.timeout_seconds
            if self.config.command:
                client = mcp.Client(run_program(self.config), read_timeout_seconds=timeout)
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

    async def _choose_tools(self, client: mcp.Client) -> None:
        """Read the server's list, and choose the tools to offer. Logs the omitted tools with the reasons."""
        described = {one.name: one for one in await _list_tools(client)}
        wanted = self.config.tools
        left_out = {name: "the server has no such tool" for name in wanted or () if name not in described}
        tools: list[Tool] = []
        for name, one in described.items():
            if wanted is not None and name not in wanted:
                continue
            reason = _find_reason_against(one)
            if reason is None and len(tools) >= _MOST_TOOLS:
                reason = f"a server can offer at most {_MOST_TOOLS} tools"
            if reason is None:
                tools.append(MCPTool(self, one))
            else:
                left_out[name] = reason
        self.tools = tuple(tools)
        if left_out != self.left_out:
            for name, reason in left_out.items():
                log.warning("mcp tool left out", server=self.label, tool=one_line(name), reason=reason)
        self.left_out = left_out


async def _list_tools(client: mcp.Client) -> list[mcp.types.Tool]:
    """Return the tools on all pages of the server's list. A server can have at most 64 pages."""
    tools: list[mcp.types.Tool] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return tools


def _name_error(error: BaseException) -> str:
    """Return the type of the innermost error. Its text is not logged, because it may contain a key."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _find_reason_against(described: mcp.types.Tool) -> str | None:
    """Return the reason why a tool cannot be offered, None if it can."""
    if not 0 < len(described.name) <= _MOST_NAME_CHARACTERS:
        return f"a name must have 1 to {_MOST_NAME_CHARACTERS} characters"
    try:
        compile_validator({"type": "object", **described.input_schema}, pattern_bytes=TOOL_PATTERN_BYTES)
    except (jsonschema_rs.ValidationError, ValueError):
        return "its schema is not valid"
    return None


def build_mcp_servers(configs: dict[str, MCPServerConfig]) -> list[MCPServer]:
    return [MCPServer(label, config) for label, config in configs.items()]
