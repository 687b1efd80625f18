"""
Search the web or the operator's documents, as the server tool `tavily_search`.

    Tavily        with MAVERA_TAVILY_API_KEY
    SearXNG       with MAVERA_SEARXNG_URL
    the index     with documents from `mavera tools index add`
"""

from typing import ClassVar, Protocol

from mavera.core.json_schema import Schema
from mavera.core.server_calls import CallKind
from mavera.tools.tool import Arguments, CallContext, Found, ToolFailed, ToolResult

MOST_RESULTS = 5
# This limit is not in the schema, because decoding under a long bounded string is slow.
MOST_QUERY_CHARACTERS = 400


class SearchProvider(Protocol):
    """A search engine. `name` is empty while it has nothing to search."""

    @property
    def name(self) -> str: ...

    async def search(self, query: str, *, most: int) -> tuple[Found, ...]:
        """Return the results, the best first. Raises ToolFailed."""
        ...

    async def close(self) -> None: ...


class TavilySearchTool:
    name = "tavily_search"
    kind: CallKind = "search"
    unasked = True
    description = "Search the web and documents for current facts: news, prices, what you do not know."
    parameters: ClassVar[Schema] = {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "description": "What to look for, in a few words.",
            }
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    setting = (
        "set MAVERA_TAVILY_API_KEY or MAVERA_SEARXNG_URL, or add documents with 'mavera tools index add'"
    )

    def __init__(self, provider: SearchProvider, *, timeout_seconds: float) -> None:
        self._provider = provider
        self.timeout_seconds = timeout_seconds

    @property
    def provider(self) -> str:
        return self._provider.name

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        await self._provider.close()

    def target(self, arguments: Arguments) -> str:
        return str(arguments.get("query", ""))

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        query = str(arguments["query"]).strip()[:MOST_QUERY_CHARACTERS]
        if not query:
            raise ToolFailed("The query is empty.")
        found = await self._provider.search(query, most=MOST_RESULTS)
        if not found:
            return ToolResult("Nothing was found.", text="The search found nothing. Say so, or search anew.")
        results = "result" if len(found) == 1 else "results"
        return ToolResult(f"{len(found)} {results}: {', '.join(one.title for one in found)}"[:200], found)
