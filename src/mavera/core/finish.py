"""Work that has to reach its end, even if whoever began it is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """
    Return what `work` returns. A caller that is cancelled, once or often, waits for its end first.

    For work that is short and bounded: a statement, a file. If the caller was cancelled, what
    `work` returned or raised is dropped, so `work` has to leave nothing open by itself.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # fetched, so that nobody warns of it
        raise asyncio.CancelledError
    return task.result()
