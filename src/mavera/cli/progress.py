"""Show progress on standard error: a bar if the size is known, else a spinner."""

import asyncio
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mavera.models.model import Model


def build_download_bar(console: Console) -> Progress:
    """Return a bar for bytes, with speed and time left. It is silent unless the output is a terminal."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


async def wait_until_ready(
    model: Model, console: Console, *, load_progress: Callable[[], float | None] = lambda: None
) -> None:
    """Show a bar while the model starts. Returns when it has started or failed."""
    if model.status().state != "starting":
        return
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("Loading the model", total=1.0)
        while model.status().state == "starting":
            done = load_progress()
            progress.update(
                task, completed=done if done is not None else 0.0, total=1.0 if done is not None else None
            )
            await asyncio.sleep(0.05)
