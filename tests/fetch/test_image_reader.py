"""The reader's process: what it reads, and that it is there only while images come."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from mavera.errors import ServiceUnavailable
from mavera.fetch.image_description import ImageReading, Unreadable
from mavera.fetch.image_reader import ImageReader, is_installed
from tests.images import png, poster

needs_ocr = pytest.mark.skipif(not is_installed(), reason="the extra 'ocr' is not installed")


def with_reader(use: Callable[[ImageReader], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        reader = ImageReader(**{"threads": 2, "max_pixels": 1_000_000, **options})
        try:
            return await use(reader)
        finally:
            await reader.close()
            assert reader.pid is None

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
def test_the_process_ends_when_no_image_comes_and_a_next_image_starts_another() -> None:
    async def use(reader: ImageReader) -> None:
        await reader.read(png(40, 40))
        first = reader.pid
        assert first is not None
        async with asyncio.timeout(20):
            while psutil.pid_exists(first):  # noqa: ASYNC110 - the reader tells nobody
                await asyncio.sleep(0.05)
        assert isinstance(await reader.read(png(50, 50)), ImageReading)
        assert reader.pid not in (first, None)

    with_reader(use, idle_seconds=0.2)


@needs_ocr
def test_a_process_that_dies_or_is_too_slow_is_told_as_503_and_replaced() -> None:
    async def use(reader: ImageReader) -> None:
        with pytest.raises(ServiceUnavailable):
            await reader.read(png(600, 600))
        assert reader.pid is None

    with_reader(use, read_seconds=0.001)


@needs_ocr
def test_a_reading_that_nobody_waits_for_is_stopped() -> None:
    async def use(reader: ImageReader) -> None:
        task = asyncio.create_task(reader.read(png(900, 900)))
        while reader.pid is None:  # noqa: ASYNC110 - the reader tells nobody
            await asyncio.sleep(0.01)
        pid = reader.pid
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
