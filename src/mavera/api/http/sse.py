"""
Encode server-sent events: wire events in, bytes out.

An event with a `type` has it as its name (Responses). An event without one has no name (Chat).
"""

from typing import Any

from mavera.api.http.json import json_bytes

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": still here\n\n"

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # Without this header, nginx and other proxies collect a stream into pieces of 16 KB.
    "x-accel-buffering": "no",
}


def frame(wire: dict[str, Any]) -> bytes:
    """Return the bytes of one event."""
    return frame_bytes(json_bytes(wire), wire.get("type"))


def frame_bytes(data: bytes, name: str | None) -> bytes:
    """Return the bytes of an event whose JSON is `data`."""
    if name is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
