"""The reader's process: what it reads, and that it is there only while images come."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mavera.errors import ServiceUnavailable
from mavera.fetch.image_description import ImageReading, Unreadable
from mavera.fetch.image_reader import IMAGE_BUDGET, ImageReader
from tests.support.images import png, poster

needs_ocr = pytest.mark.usefixtures("needs_ocr")


def with_reader(use: Callable[[ImageReader], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        reader = ImageReader(**{"threads": 2, "max_pixels": 1_000_000, **options})
        try:
            return await use(reader)
        finally:
            await reader.close()
            assert reader.pids == ()

    return asyncio.run(run())


@needs_ocr
def test_text_colours_and_size_are_read_and_a_broken_image_is_known_as_one() -> None:
    image = poster("HELLO SHOPPERS", "ends 31 July", kind="WEBP")

    async def use(reader: ImageReader) -> list[ImageReading | Unreadable]:
        broken = [png()[:40], png()[:-30], b"no image", png(1001, 1000)]
        return [await reader.read(data) for data in (image, *broken, image)]

    reading, *broken, again = with_reader(use)

    assert isinstance(reading, ImageReading)
    assert (reading.width, reading.height) == (900, 340)
    assert [line.text for line in reading.lines] == ["HELLO SHOPPERS", "ends 31 July"]
    assert reading.lines[0].top < reading.lines[1].top
    assert reading.colours[0].name == "yellow"
    assert broken == [Unreadable()] * 4
    assert again is reading


@needs_ocr
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told which process goes first")
def test_the_kernel_ends_a_reader_before_the_engine_when_memory_runs_out() -> None:
    def read_score(pid: int) -> str:
        return Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii").strip()

    async def use(reader: ImageReader) -> str:
        await reader.read(png(40, 40))
        return read_score(reader.pids[0])

    assert with_reader(use) == "1000"


@needs_ocr
def test_the_process_ends_when_no_image_comes_and_a_next_image_starts_another() -> None:
    async def use(reader: ImageReader) -> None:
        await reader.read(png(40, 40))
        (first,) = reader.pids
        async with asyncio.timeout(20):
            while psutil.pid_exists(first):  # noqa: ASYNC110 - the reader tells nobody
                await asyncio.sleep(0.05)
        assert isinstance(await reader.read(png(50, 50)), ImageReading)
        assert len(reader.pids) == 1
        assert reader.pids[0] != first

    with_reader(use, idle_seconds=0.2)


@needs_ocr
def test_an_image_that_is_late_is_a_503_once_and_then_too_heavy() -> None:
    async def use(reader: ImageReader) -> None:
        with pytest.raises(ServiceUnavailable):
            await reader.read(png(600, 600))
        assert reader.pids == ()
        assert await reader.read(png(600, 600)) == Unreadable(too_heavy=True)

    with_reader(use, budget=replace(IMAGE_BUDGET, clock_seconds=0.001))


@needs_ocr
def test_a_process_that_is_killed_is_replaced() -> None:
    async def use(reader: ImageReader) -> None:
        await reader.read(png(40, 40))
        os.kill(reader.pids[0], signal.SIGKILL)
        assert isinstance(await reader.read(png(50, 50)), ImageReading)

    with_reader(use)


@needs_ocr
def test_an_image_that_uses_up_its_processor_time_is_read_in_part_or_not_at_all() -> None:
    async def use(reader: ImageReader) -> None:
        letters = [f"{number} {'letters and words ' * 3}" for number in range(40)]
        reading = await reader.read(poster(*letters))
        # Reading stops at half of the time. Only a single step that takes longer ends the process.
        if isinstance(reading, ImageReading):
            assert reading.partial
            assert len(reading.lines) < len(letters)
        else:
            assert reading == Unreadable(too_heavy=True)
        assert isinstance(await reader.read(png(4, 4)), ImageReading)

    with_reader(use, budget=replace(IMAGE_BUDGET, cpu_seconds=1), max_pixels=10_000_000)


@needs_ocr
def test_an_image_that_needs_more_memory_than_there_is_is_too_heavy() -> None:
    async def use(reader: ImageReader) -> None:
        assert await reader.read(png(7000, 7000)) == Unreadable(too_heavy=True)
        assert isinstance(await reader.read(png(4, 4)), ImageReading)

    with_reader(use, budget=replace(IMAGE_BUDGET, memory_bytes=700 * 1024 * 1024), max_pixels=50_000_000)


@needs_ocr
def test_images_of_two_callers_are_read_side_by_side() -> None:
    async def use(reader: ImageReader) -> None:
        hostile = [png(300 + number, 300) for number in range(3)]
        queue = [asyncio.create_task(reader.read(image, caller="hostile")) for image in hostile]
        await asyncio.sleep(0)
        assert isinstance(await reader.read(png(4, 4), caller="innocent"), ImageReading)
        assert len(reader.pids) == 2
        assert not all(task.done() for task in queue)
        await asyncio.gather(*queue)

    with_reader(use, children=2)


@needs_ocr
def test_a_reading_that_nobody_waits_for_is_stopped() -> None:
    async def use(reader: ImageReader) -> None:
        task = asyncio.create_task(reader.read(png(900, 900)))
        while not reader.pids:  # noqa: ASYNC110 - the reader tells nobody
            await asyncio.sleep(0.01)
        (pid,) = reader.pids
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not psutil.pid_exists(pid)

    with_reader(use)


def test_a_server_carries_nothing_of_what_reads_images() -> None:
    heavy = {"PIL", "numpy", "cv2", "rapidocr", "onnxruntime"}
    code = f"import sys, mavera.app; print(*({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
