"""
Write the calls of server tools into responses of both wire formats.

    tool_calls, server_tool_calls    one object for each call, in the order in which they ended
    items of /responses              OpenAI's own: web_search_call, image_generation_call, mcp_call
    annotations                      url_citation, for references to sources in the text
"""

from collections.abc import Iterator
from typing import Any, Literal

from mavera.core.server_calls import Citation, ServerCall, ServerOutcome

Wire = dict[str, Any]
Step = Literal["in_progress", "searching", "generating", "completed", "failed"]

_TYPES = {
    "search": "web_search_call",
    "page": "web_search_call",
    "image": "image_generation_call",
    "function": "mcp_call",
}
_ID_PREFIXES = {"web_search_call": "ws", "image_generation_call": "ig", "mcp_call": "mcp"}
# The events between the beginning and the end of a call.
_WORKING: dict[str, Step] = {"web_search_call": "searching", "image_generation_call": "generating"}


def call_object(outcome: ServerOutcome) -> Wire:
    """Return a call as `tool_calls` and `server_tool_calls` list it."""
    call = outcome.call
    members = {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": outcome.status,
        "duration_ms": outcome.milliseconds,
        "result": outcome.summary,
    }
    if outcome.sources:
        members["sources"] = [
            {"number": source.number, "url": source.url, "title": source.title} for source in outcome.sources
        ]
    if outcome.media_url is not None:
        members["url"] = outcome.media_url
    return members


def url_citation(citation: Citation) -> Wire:
    return {
        "type": "url_citation",
        "start_index": citation.start,
        "end_index": citation.end,
        "url": citation.source.url,
        "title": citation.source.title,
    }


class CallItem:
    """A call as an item of /responses, from its announcement to its end."""

    def __init__(self, call: ServerCall, item_id: str, position: int) -> None:
        self._call = call
        self._position = position
        kind = _TYPES[call.kind]
        self.item: Wire = {"id": item_id, "type": kind, "status": "in_progress", **_build_members(kind, call)}

    @staticmethod
    def prefix(call: ServerCall) -> str:
        return _ID_PREFIXES[_TYPES[call.kind]]

    @property
    def _type(self) -> str:
        kind: str = self.item["type"]
        return kind

    def announce_start(self) -> Iterator[Wire]:
        """Yield the events that follow the item's announcement."""
        yield self._build_event("in_progress")
        if self._type in _WORKING:
            yield self._build_event(_WORKING[self._type])
        else:
            arguments = {"arguments": self._call.arguments, **self._at}
            yield {"type": "response.mcp_call_arguments.done", **arguments}

    def announce_end(self, outcome: ServerOutcome) -> Iterator[Wire]:
        self.item["status"] = outcome.status
        if self._call.kind == "search":
            sources = [{"type": "url", "url": source.url} for source in outcome.sources]
            self.item["action"] = {**self.item["action"], "sources": sources}
        elif self._call.kind == "image":
            self.item["result"] = outcome.image
        elif self._call.kind == "function":
            self.item["output"] = outcome.summary
        yield from self._end_events(outcome.status)

    def announce_abort(self) -> Iterator[Wire]:
        """Close the item of a call that will never end."""
        self.item["status"] = "failed"
        yield from self._end_events("failed")

    def _end_events(self, status: Step) -> Iterator[Wire]:
        # OpenAI has a `failed` event only for MCP calls. For others, the status of the item reports it.
        if status == "completed" or self._type == "mcp_call":
            yield self._build_event(status)
        yield {"type": "response.output_item.done", "output_index": self._position, "item": dict(self.item)}

    @property
    def _at(self) -> Wire:
        return {"item_id": self.item["id"], "output_index": self._position}

    def _build_event(self, step: Step) -> Wire:
        return {"type": f"response.{self._type}.{step}", **self._at}


def _build_members(kind: str, call: ServerCall) -> Wire:
    match call.kind:
        case "search":
            return {"action": {"type": "search", "query": call.target, "queries": [call.target]}}
        case "page":
            return {"action": {"type": "open_page", "url": call.target or None}}
        case "image":
            return {"result": None}
        case _:
            server, separator, name = call.name.partition("__")
            label, tool = (server, name) if separator else ("mavera", call.name)
            return {
                "server_label": label,
                "name": tool,
                "arguments": call.arguments,
                "output": None,
                "error": None,
            }
