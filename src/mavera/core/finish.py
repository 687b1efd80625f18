"""Finish work even if its caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """
    Return the result of `work`. A caller that is cancelled, once or often, waits for the end of `work` first.

    Use it for short, bounded work such as a statement or a file. If the caller was cancelled, the result
    or the error of `work` is dropped, so `work` must leave nothing open.
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
            task.exception()  # asyncio warns of an exception that nobody retrieves
        raise asyncio.CancelledError
    return task.result()
