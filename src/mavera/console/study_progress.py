"""
Follow a study that runs, by server-sent events with an explicit end.

    progress {"done", "total", "failed", "share"} …  →  end {"status"}

The browser repeats a request whose stream ends, which costs nothing here: a stream without an end of its
study stops after a minute, so that a session that has ended is noticed.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from mavera.api.http import sse
from mavera.api.http.json import json_bytes
from mavera.console.studies import find_study
from mavera.console.study_results import share_of
from mavera.console.visit import Page, Visit

_INTERVAL_SECONDS = 1.0
_LONGEST_SECONDS = 60.0


async def follow_study(visit: Visit) -> Response:
    await find_study(visit)
    return StreamingResponse(_list_events(visit), headers=sse.HEADERS)


async def _list_events(visit: Visit) -> AsyncIterator[bytes]:
    service = visit.services.focus_groups.service
    until = time.monotonic() + _LONGEST_SECONDS
    yield b"retry: 2000\n\n"
    while time.monotonic() < until:
        row = await find_study(visit)
        progress = await service.count_progress(row)
        figures = {
            "done": progress.done,
            "total": progress.total,
            "failed": progress.failed,
            "share": share_of(progress),
        }
        yield sse.frame_bytes(json_bytes(figures), "progress")
        if row.is_finished:
            yield sse.frame_bytes(json_bytes({"status": row.status}), "end")
            return
        await asyncio.sleep(_INTERVAL_SECONDS)


ROUTES = (Page("GET", "/console/w/{workspace_id}/studies/{study_id}/progress", follow_study),)
