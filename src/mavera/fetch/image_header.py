"""
Read the format and the size of an image from its first bytes, without decoding it.

    89 PNG …    GIF8[79]a    FF D8 FF …    RIFF….WEBP

The module is pure, and cheap enough for the event loop. It ignores file names and content types.
"""

import struct
from dataclasses import dataclass
from typing import Literal

Format = Literal["png", "jpeg", "gif", "webp"]

# Start-of-frame markers: the JPEG segments that hold the size.
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A photograph with much metadata has about a hundred. A file of segments only must not delay the server.
_MOST_SEGMENTS = 2000


@dataclass(frozen=True, slots=True)
class ImageHeader:
    format: Format
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader | None:
    """Return the header of the image in `data`, None if it has none of the four formats."""
    try:
        header = _read(data)
    except (struct.error, IndexError):
        return None
    return header if header is not None and header.width > 0 and header.height > 0 else None


def _read(data: bytes) -> ImageHeader | None:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return ImageHeader("png", *struct.unpack_from(">II", data, 16))
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return ImageHeader("gif", *struct.unpack_from("<HH", data, 6))
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> ImageHeader | None:
    """Go from segment to segment until one holds the size."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:
            return None
        if data[at + 1] in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return ImageHeader("jpeg", width, height)
        padded = data[at + 1] == 0xFF
        at += 1 if padded else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _webp(data: bytes) -> ImageHeader | None:
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return ImageHeader("webp", width & 0x3FFF, height & 0x3FFF)
        case b"VP8L" if data[20] == 0x2F:
            (bits,) = struct.unpack_from("<I", data, 21)
            return ImageHeader("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X" if len(data) >= 30:
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            return ImageHeader("webp", width, height)
        case _:
            return None
