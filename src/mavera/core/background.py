"""End a task that ran in the background."""

import asyncio
from contextlib import suppress
from typing import Any


async def stop(task: asyncio.Task[Any] | None) -> None:
    """Cancel `task`, and wait until it has ended. Its own errors pass through. None is no task."""
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
