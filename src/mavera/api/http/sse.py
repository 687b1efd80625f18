"""
Server-sent events: wire events in, bytes out.

An event with a `type` is named by it (Responses), one without is not (Chat).
"""

from typing import Any

from mavera.api.http.json import json_bytes

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": still here\n\n"

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # nginx and its kin collect a stream into 16 KB pieces unless told otherwise.
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
