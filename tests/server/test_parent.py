"""The process behind several workers: what it does when no worker can be started, and how it stops."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mavera.server.descriptors import count_descriptors
from mavera.server.parent import Parent
from mavera.settings import load_settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers share a socket, which needs POSIX")

WORKER = f"""#!{sys.executable}
import pathlib, time
pathlib.Path(__file__).with_suffix(".started").touch()
time.sleep(600)
"""


def test_a_worker_that_cannot_be_started_is_tried_again_and_leaves_no_descriptor_behind(
    tmp_path: Path,
) -> None:
    program = tmp_path / "worker"
    settings = load_settings({}, data_dir=tmp_path, model_backend="scripted", workers=2)

    async def run(parent: Parent) -> tuple[int | None, int | None]:
        running = asyncio.create_task(parent.run())
        async with asyncio.timeout(30):
            await until_logged(4)
            before = count_descriptors()
            await until_logged(8)
            after = count_descriptors()
            program.with_suffix(".new").write_text(WORKER)
            program.with_suffix(".new").chmod(0o700)
            program.with_suffix(".new").rename(program)
            while not program.with_suffix(".started").exists():  # noqa: ASYNC110 - the file tells nobody
                await asyncio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            await running
        return before, after

    async def until_logged(failures: int) -> None:
        while len(logged) < failures:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs() as logged:
        before, after = asyncio.run(run(Parent(settings, listener, (str(program),))))

    assert before == after
    assert logged[0]["status"] == "not started: No such file or directory"
