"""Images made by the tests that need them."""

import base64
import struct
import zlib
from io import BytesIO

from tests.support.requirements import require_module


def png(width: int = 4, height: int = 3) -> bytes:
    """Return a whole PNG, all white, made without a library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\x00" + b"\xff" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def poster(*lines: str, kind: str = "PNG") -> bytes:
    """Return a yellow image with a few lines of large dark blue text; skip the test without Pillow."""
    image_module = require_module("PIL.Image")
    image = image_module.new("RGB", (900, 120 + 110 * len(lines)), (255, 240, 60))
    draw = require_module("PIL.ImageDraw").Draw(image)
    font = require_module("PIL.ImageFont").load_default(size=64)
    for number, line in enumerate(lines):
        draw.text((40, 40 + 130 * number), line, fill=(10, 20, 100), font=font)
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
