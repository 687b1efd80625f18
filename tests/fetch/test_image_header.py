"""An image's format and size, from its first bytes."""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.fetch.image_header import ImageHeader, read_header
from tests.support.images import png
from tests.support.requirements import require_module


def saved(kind: str, width: int, height: int, **options: Any) -> bytes:
    image_module = require_module("PIL.Image")
    buffer = BytesIO()
    image_module.new("RGB", (width, height), "red").save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("GIF", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + bytes(5000)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (300, 200), (16, 1025)])
def test_format_and_size_are_those_a_real_encoder_wrote(
    kind: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    assert read_header(saved(kind, *size, **options)) == ImageHeader(kind.lower(), *size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"BM6\x00",
        b"\x89PNG\r\n\x1a\n",
        png(0, 5),
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff" * 1_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_000_000,
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"II*\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_anything_else_is_no_image(data: bytes) -> None:
    assert read_header(data) is None


starts = st.sampled_from(
    [png()[:20], b"GIF89a", b"\xff\xd8\xff\xe0", b"RIFF1234WEBPVP8X", b"RIFF1234WEBPVP8L"]
)


@given(starts, st.binary(max_size=200))
def test_no_bytes_make_it_fail(start: bytes, rest: bytes) -> None:
    header = read_header(start + rest)

    assert header is None or (header.width > 0 and header.height > 0)
