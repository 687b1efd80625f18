"""
The toolbox: offer server tools to a turn, and run each call within its limits.

    offer(turn, principal)   configured ∩ allowed to the workspace ∩ named by the request → Offer
    offer.call(…)            quota → timeout → the tool → an audit row

If a request names a tool that cannot be offered, the response is a 400 with the reason.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
import structlog

from mavera.accounts.limits.windows import Limiter, MemoryLimiter
from mavera.accounts.plans import Limits
from mavera.accounts.principal import Principal
from mavera.core.text import format_count
from mavera.core.turn import NamedTool, Turn
from mavera.errors import APIError, InvalidRequest
from mavera.fetch.fair_places import FairPlaces
from mavera.settings import Settings
from mavera.tools.audit import AuditLog, AuditRow, NoAudit
from mavera.tools.tool import Arguments, CallContext, Tool, ToolFailed, ToolResult

log = structlog.get_logger()

# The limits of concurrent calls, in all and of one workspace. Each call holds a connection to a provider.
_PLACES, _PLACES_EACH, _PATIENCE_SECONDS = 64, 16, 20.0

# Other names that a caller may use for our tools.
SYNONYMS = {
    "web_search": "tavily_search",
    "web_search_2025_08_26": "tavily_search",
    "web_search_preview": "tavily_search",
    "web_search_preview_2025_03_11": "tavily_search",
    "image_generation": "generateImage",
}


class Allowances(Protocol):
    """The tools that each workspace may use."""

    async def of(self, workspace_id: str) -> frozenset[str] | None:
        """Return the names, or None for all. A name that ends in `__*` stands for all of an MCP server."""
        ...


class ToolSource(Protocol):
    """A source of tools, which may change with time. Their names begin with its label."""

    @property
    def label(self) -> str: ...

    @property
    def tools(self) -> tuple[Tool, ...]: ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """The reason for each tool that is not offered, by the name that the source gives it."""
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class AllowAll:
    async def of(self, workspace_id: str) -> frozenset[str] | None:
        return None


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """`unasked` chooses the tools that a request gets without naming them: `auto`, `none`, or their names."""

    unasked: frozenset[str] | Literal["auto", "none"] = "auto"
    per_minute: int = 120
    per_day: int = 5000

    @classmethod
    def of(cls, settings: Settings) -> "ToolPolicy":
        names = [name.strip() for name in settings.tools.split(",") if name.strip()]
        unasked: frozenset[str] | Literal["auto", "none"]
        if names == ["auto"] or not names:
            unasked = "auto"
        elif names == ["none"]:
            unasked = "none"
        else:
            unasked = frozenset(SYNONYMS.get(name, name) for name in names)
        return cls(unasked, settings.tools_per_minute, settings.tools_per_day)


class Offer(msgspec.Struct, frozen=True):
    """The tools that one run may call, by name."""

    tools: dict[str, Tool] = {}
    toolbox: "Toolbox | None" = None

    def __bool__(self) -> bool:
        return bool(self.tools)

    async def call(
        self, tool: Tool, arguments: Arguments, context: CallContext, seconds: float
    ) -> ToolResult:
        """Return the result. Raises ToolFailed, even if the tool only takes longer than `seconds`."""
        assert self.toolbox is not None  # noqa: S101 - an offer with tools has one
        return await self.toolbox.call(tool, arguments, context, seconds)


_NOTHING = Offer()


class Toolbox:
    def __init__(
        self,
        tools: Sequence[Tool] = (),
        *,
        sources: Sequence[ToolSource] = (),
        policy: ToolPolicy = ToolPolicy(),
        allowances: Allowances | None = None,
        limiter: Limiter | None = None,
        audit: AuditLog | NoAudit | None = None,
    ) -> None:
        self._own = tuple(tools)
        self._sources = tuple(sources)
        self._policy = policy
        self._own_unasked = tuple(tool for tool in self._own if self.is_unasked(tool))
        self._allowances = allowances or AllowAll()
        self._missed: set[str] = set()
        self._limiter = limiter or MemoryLimiter()
        self._audit = audit or NoAudit()
        self._opened = AsyncExitStack()
        self._places = FairPlaces(
            _PLACES, each=_PLACES_EACH, patience_seconds=_PATIENCE_SECONDS, busy="Too many tools are running."
        )

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All tools of this moment, whether they are set up or not."""
        return (*self._own, *(tool for source in self._sources for tool in source.tools))

    @property
    def sources(self) -> tuple[ToolSource, ...]:
        return self._sources

    @property
    def away(self) -> tuple[ToolSource, ...]:
        """The sources that have no tools at the moment."""
        return tuple(source for source in self._sources if not source.tools)

    async def start(self) -> None:
        for tool in self._own:
            self._opened.push_async_callback(tool.close)
            await tool.start()
        await self.start_sources()

    async def start_sources(self) -> None:
        """Connect to all sources at once, so that a slow or unreachable one does not delay the others."""
        for source in self._sources:
            self._opened.push_async_callback(source.close)
        await asyncio.gather(*(source.start() for source in self._sources))

    async def close(self) -> None:
        await self._opened.aclose()

    async def offer(self, turn: Turn, principal: Principal) -> Offer:
        """Return the tools that `turn` may call. Raises InvalidRequest if it names one that it may not."""
        if turn.tool_choice.mode == "none":
            return _NOTHING
        # Only tools that could be offered are examined, because most requests name none and get none.
        asked = self.tools if turn.named_tools else self._list_unasked()
        usable = {tool.name: tool for tool in asked if tool.provider}
        for tool in turn.tools:
            usable.pop(tool.name, None)  # the caller's own tool has precedence
        if not (usable or turn.named_tools):
            return _NOTHING
        allowed = await self._allowances.of(principal.workspace_id) if usable else None
        permitted = {name: tool for name, tool in usable.items() if allowed is None or matches(name, allowed)}
        for named in turn.named_tools:
            if not (named.is_optional and turn.tool_choice.mode == "auto" and self._lacks(named, usable)):
                self._refuse(named, permitted, usable)
        wanted = tuple(named.name for named in turn.named_tools)
        chosen = turn.tool_choice.names
        found = {
            name: tool
            for name, tool in permitted.items()
            if (matches(name, wanted) if wanted else self.is_unasked(tool))
            and (not chosen or matches(name, chosen))
        }
        return Offer(found, self)

    def _list_unasked(self) -> Sequence[Tool]:
        """Return the tools that a request gets without naming any."""
        others = [tool for source in self._sources for tool in source.tools if self.is_unasked(tool)]
        return (*self._own_unasked, *others) if others else self._own_unasked

    def is_unasked(self, tool: Tool) -> bool:
        """Whether requests get this tool without naming it."""
        if self._policy.unasked == "none":
            return False
        return tool.unasked if self._policy.unasked == "auto" else tool.name in self._policy.unasked

    def _lacks(self, named: NamedTool, usable: dict[str, Tool]) -> bool:
        """Whether this server does not have the tool that is named. It is logged once."""
        if any(matches(name, (named.name,)) for name in usable):
            return False
        if named.name not in self._missed:
            self._missed.add(named.name)
            log.info("optional_tool_left_out", tool=named.name)
        return True

    def _refuse(self, named: NamedTool, permitted: dict[str, Tool], usable: dict[str, Tool]) -> None:
        if any(matches(name, (named.name,)) for name in permitted):
            return
        if any(matches(name, (named.name,)) for name in usable):
            raise InvalidRequest(f"This workspace may not use the tool '{named.name}'.", param=named.at)
        known = next((tool for tool in self.tools if tool.name == named.name), None)
        if known is None:
            listed = ", ".join(tool.name for tool in self.tools)
            raise InvalidRequest(
                f"There is no tool '{named.name[:80]}' here. The server tools are: {listed}.", param=named.at
            )
        raise InvalidRequest(
            f"The tool '{named.name}' is not set up on this server: {known.setting}.", param=named.at
        )

    async def call(
        self, tool: Tool, arguments: Arguments, context: CallContext, seconds: float
    ) -> ToolResult:
        """Run one call. The audit gets a row in any case."""
        started = time.perf_counter()
        status, size = "cancelled", 0
        try:
            await self._count(context.principal)
            result = await self._run(tool, arguments, context, seconds)
            status, size = "completed", len(result.text) + sum(len(found.text) for found in result.found)
            return result
        except ToolFailed:
            status = "failed"
            raise
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000)
            who = (context.principal, context.run_id)
            self._audit.note(AuditRow(*who, tool.name, tool.provider, status, milliseconds, size))

    async def _run(
        self, tool: Tool, arguments: Arguments, context: CallContext, seconds: float
    ) -> ToolResult:
        try:
            async with self._places.take(context.principal.workspace_id):
                return await _run_in_time(seconds, tool, arguments, context)
        except APIError as error:
            raise ToolFailed(error.message) from error

    async def _count(self, principal: Principal) -> None:
        limits = Limits(self._policy.per_minute, self._policy.per_day, None)
        verdict = await self._limiter.allow(f"tools:{principal.workspace_id}", limits)
        if not verdict.allowed:
            raise ToolFailed(
                "This workspace has used up its tool calls for now"
                f" ({verdict.limit} in this window). "
                f"Retry in {format_count(verdict.reset_seconds, 'second')}."
            )


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether `name` is one of `patterns`. `shop__*` stands for all tools of an MCP server."""
    server, separator, _ = name.partition("__")
    return name in patterns or bool(separator and f"{server}__*" in patterns)


async def _run_in_time(seconds: float, tool: Tool, arguments: Arguments, context: CallContext) -> ToolResult:
    try:
        async with asyncio.timeout(seconds):
            return await tool.run(arguments, context)
    except TimeoutError as error:
        raise ToolFailed(
            f"The tool gave no result within {format_count(round(seconds), 'second')}."
        ) from error
    except APIError as error:
        raise ToolFailed(error.message) from error
    except ToolFailed:
        raise
    except Exception as error:
        # The text of an unforeseen error may contain a key, so only its type is logged.
        log.exception("tool failed", tool=tool.name, error=type(error).__name__)
        raise ToolFailed("The tool failed because of an internal error.") from error
