"""
Images made to be expensive: thin, deep, packed, turned, broken.

Each is read within a small budget, or is known as one that cannot be read. None holds its reader for long:
the budgets here are a fraction of a server's, so work that grew with the shape of an image would end it.
"""

import asyncio
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from mavera.fetch.image_description import ImageReading, Unreadable
from mavera.fetch.image_reader import IMAGE_BUDGET, ImageReader
from tests.support.images import png, poster
from tests.support.requirements import require_module

pytestmark = pytest.mark.usefixtures("needs_ocr")

# Loading the models is part of the first.
BUDGET = replace(IMAGE_BUDGET, cpu_seconds=30, memory_bytes=1300 * 1024 * 1024)


def pillow(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    image_module = require_module("PIL.Image")
    image = image_module.new(mode, size, options.pop("colour", 200))
    frames = [image_module.new(mode, size, 10 * number) for number in range(options.pop("frames", 0))]
    buffer = BytesIO()
    image.save(buffer, kind, **({"save_all": True, "append_images": frames} if frames else {}), **options)
    return buffer.getvalue()


def turned(width: int, height: int) -> bytes:
    exif = require_module("PIL.Image").Exif()
    exif[0x0112] = 6  # to be turned by 90°
    return pillow("RGB", (width, height), "JPEG", colour=(9, 9, 9), exif=exif)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a small PNG with another chunk after its header."""
    whole = png()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return whole[:33] + chunk + whole[33:]


def dense_text(width: int, height: int) -> bytes:
    image = require_module("PIL.Image").new("RGB", (width, height), "white")
    draw = require_module("PIL.ImageDraw").Draw(image)
    for top in range(0, height, 12):
        draw.text((0, top), "words and words " * (width // 90), fill="black")
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


READABLE: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "1 x 50": (lambda: png(1, 50), (1, 50)),
    "50 x 1": (lambda: png(50, 1), (50, 1)),
    "1 x 65535": (lambda: png(1, 65535), (1, 65535)),
    "65535 x 1": (lambda: png(65535, 1), (65535, 1)),
    "8000 x 9": (lambda: png(8000, 9), (8000, 9)),
    "9 x 8000": (lambda: png(9, 8000), (9, 8000)),
    "1 x 1": (lambda: png(1, 1), (1, 1)),
    "8 x 8": (lambda: png(8, 8), (8, 8)),
    "7000 x 7000": (lambda: png(7000, 7000), (7000, 7000)),
    "16 bits": (lambda: pillow("I;16", (60, 40), "PNG"), (60, 40)),
    "16 bits, 7000 x 7000": (lambda: pillow("I;16", (7000, 7000), "PNG"), (7000, 7000)),
    "CMYK": (lambda: pillow("CMYK", (60, 40), "JPEG", colour=(9, 9, 9, 9)), (60, 40)),
    "progressive": (lambda: pillow("RGB", (600, 400), "JPEG", colour=0, progressive=True), (600, 400)),
    "palette": (lambda: pillow("P", (60, 40), "PNG"), (60, 40)),
    "turned strip": (lambda: turned(3000, 10), (10, 3000)),
    "animated GIF": (lambda: pillow("L", (60, 40), "GIF", frames=200), (60, 40)),
    "animated PNG": (lambda: pillow("L", (60, 40), "PNG", frames=20), (60, 40)),
    "animated WebP": (lambda: pillow("RGB", (60, 40), "WEBP", colour=(9, 9, 9), frames=20), (60, 40)),
}
UNREADABLE: dict[str, Callable[[], bytes]] = {
    "a colour profile that unpacks to 200 MB": lambda: with_chunk(
        b"iCCP", b"bomb\x00\x00" + zlib.compress(b"\x00" * 200_000_000)
    ),
    "a text that unpacks to 200 MB": lambda: with_chunk(
        b"zTXt", b"bomb\x00\x00" + zlib.compress(b"\x00" * 200_000_000)
    ),
    "cut in the middle": lambda: png(500, 500)[:-40],
    "a header and nothing else": lambda: png(500, 500)[:33],
    "more pixels than are allowed": lambda: png(20_000, 20_000),
}


@pytest.fixture(scope="module")
def read() -> Iterator[Callable[[bytes], Any]]:
    """Give a reader whose one process serves all of these, unless one of them ends it."""
    with asyncio.Runner() as runner:
        reader = ImageReader(threads=2, max_pixels=50_000_000, budget=BUDGET, children=1)
        yield lambda data: runner.run(reader.read(data))
        runner.run(reader.close())


@pytest.mark.parametrize("shape", READABLE)
def test_an_odd_image_is_read_within_the_budget(shape: str, read: Callable[[bytes], Any]) -> None:
    make, size = READABLE[shape]
    reading = read(make())
    assert isinstance(reading, ImageReading)
    assert (reading.width, reading.height) == size


@pytest.mark.parametrize("trick", UNREADABLE)
def test_a_trick_is_known_as_one(trick: str, read: Callable[[bytes], Any]) -> None:
    reading = read(UNREADABLE[trick]())
    assert isinstance(reading, Unreadable | ImageReading)
    if isinstance(reading, Unreadable):
        assert not reading.too_heavy


def test_a_page_full_of_small_words_is_read_in_part(read: Callable[[bytes], Any]) -> None:
    reading = read(dense_text(1200, 1000))
    assert isinstance(reading, ImageReading)
    assert reading.partial
    assert "words and words" in " ".join(line.text for line in reading.lines)


def test_a_long_strip_of_text_is_read_in_pieces(read: Callable[[bytes], Any]) -> None:
    reading = read(dense_text(1300, 24))
    assert isinstance(reading, ImageReading)
    assert "words" in " ".join(line.text for line in reading.lines)


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (128 * 256, "grey"), (65535, "white")])
def test_sixteen_bits_have_their_brightness(level: int, name: str, read: Callable[[bytes], Any]) -> None:
    reading = read(pillow("I;16", (60, 40), "PNG", colour=level))
    assert [colour.name for colour in reading.colours] == [name]


def test_large_letters_are_read_as_before(read: Callable[[bytes], Any]) -> None:
    reading = read(poster("HELLO SHOPPERS", "ends 31 July"))
    assert [line.text for line in reading.lines] == ["HELLO SHOPPERS", "ends 31 July"]
