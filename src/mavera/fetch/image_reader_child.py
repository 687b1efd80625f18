"""
The reader's process: decodes images and reads the text in them, one after the other.

    stdin    frames: an image each        4 bytes of length, then that many bytes
    stdout   one report, then frames: an ImageReading or Unreadable, as MessagePack

Started by `image_reader.py` as `python -m mavera.fetch.image_reader_child THREADS MAX_PIXELS`
when the first image comes. This module alone imports Pillow, OpenCV and the OCR: some 300 MB
that a server does not carry, and decoders for hostile bytes that had better crash here.
It ends when its stdin does.
"""

import io
import os
import sys
import warnings
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
from PIL import Image, ImageOps
from rapidocr import RapidOCR

from mavera.fetch.image_description import Colour, ImageReading, TextLine, Unreadable

# Larger images are read in this size: it keeps small print legible and the wait bearable.
MAX_SIDE = 2000
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_LEAST_SHARE = 0.03
_MOST_COLOURS = 4

_NAMES = {
    "black": (0, 0, 0),
    "dark grey": (70, 70, 70),
    "grey": (128, 128, 128),
    "light grey": (200, 200, 200),
    "white": (255, 255, 255),
    "beige": (235, 220, 190),
    "brown": (120, 70, 30),
    "dark red": (130, 0, 0),
    "red": (220, 30, 30),
    "pink": (250, 170, 190),
    "orange": (250, 140, 20),
    "yellow": (250, 225, 50),
    "olive": (120, 120, 20),
    "light green": (150, 230, 150),
    "green": (40, 160, 60),
    "dark green": (0, 80, 20),
    "turquoise": (50, 200, 200),
    "light blue": (160, 205, 240),
    "blue": (40, 100, 220),
    "dark blue": (10, 20, 100),
    "purple": (120, 40, 160),
    "lilac": (200, 160, 225),
}


def main() -> None:
    threads, max_pixels = int(sys.argv[1]), int(sys.argv[2])
    answers = _take_stdout()
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ocr = _engine(threads)
    _write(answers, b"ready")
    while (frame := _read(sys.stdin.buffer)) is not None:
        _write(answers, msgspec.msgpack.encode(_answer(frame, ocr)))


def _take_stdout() -> BinaryIO:
    """Return a private copy of stdout, and send what a library prints to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _engine(threads: int) -> Any:
    engine = "EngineConfig.onnxruntime"
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            f"{engine}.intra_op_num_threads": threads,
            f"{engine}.inter_op_num_threads": 1,
        }
    )


def _read(stream: BinaryIO) -> bytes | None:
    """Return the next frame, None at the end."""
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def _answer(data: bytes, ocr: Any) -> ImageReading | Unreadable:
    try:
        image, size, animated = _decode(data)
    except Exception:  # Pillow's decoders raise many kinds, and none of them says more than this
        return Unreadable()
    return ImageReading(*size, _colours(image), _lines(image, ocr), animated)


def _decode(data: bytes) -> tuple[Image.Image, tuple[int, int], bool]:
    """Return the image, upright and opaque, `MAX_SIDE` at most; its true size; whether it moves."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        width, height = opened.size
        animated = bool(getattr(opened, "is_animated", False))
        opened.draft("RGB", (MAX_SIDE, MAX_SIDE))  # a JPEG is decoded small at once
        shrunk = max(opened.size) > MAX_SIDE
        opened.thumbnail((MAX_SIDE, MAX_SIDE)) if shrunk else opened.load()
        upright = ImageOps.exif_transpose(opened).convert("RGBA")
    turned = (upright.width > upright.height) != (width > height) and upright.width != upright.height
    paper = Image.new("RGBA", upright.size, "white")
    paper.alpha_composite(upright)
    return paper.convert("RGB"), (height, width) if turned else (width, height), animated


def _colours(image: Image.Image) -> tuple[Colour, ...]:
    """Return the colours that fill the image, most first."""
    counts: dict[str, int] = {}
    small = image.resize((64, 64), Image.Resampling.NEAREST).quantize(8)
    palette = small.getpalette() or []
    for count, pixel in small.getcolors() or []:
        index = int(cast("int", pixel))  # of a palette, an image's pixels are numbers
        name = _name(palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
        counts[name] = counts.get(name, 0) + count
    total = sum(counts.values())
    shares = [Colour(name, round(count / total, 2)) for name, count in counts.items()]
    kept = [colour for colour in shares if colour.share >= _LEAST_SHARE]
    return tuple(sorted(kept, key=lambda colour: -colour.share)[:_MOST_COLOURS])


def _name(red: int, green: int, blue: int) -> str:
    """Return the nearest name, by a distance that is closer to the eye's than plain RGB."""

    def distance(name: str) -> float:
        r, g, b = _NAMES[name]
        mean = (red + r) / 2
        return (
            (2 + mean / 256) * (red - r) ** 2
            + 4 * (green - g) ** 2
            + (2 + (255 - mean) / 256) * (blue - b) ** 2
        )

    return min(_NAMES, key=distance)


def _lines(image: Image.Image, ocr: Any) -> tuple[TextLine, ...]:
    found = ocr(np.asarray(image)[:, :, ::-1])  # it wants blue first
    if found.boxes is None or found.txts is None:
        return ()
    return tuple(
        TextLine(
            text,
            left=_share(box[:, 0].min(), image.width),
            top=_share(box[:, 1].min(), image.height),
            right=_share(box[:, 0].max(), image.width),
            bottom=_share(box[:, 1].max(), image.height),
        )
        for box, text in zip(found.boxes, found.txts, strict=True)
        if text.strip()
    )


def _share(position: float, whole: int) -> float:
    return round(min(1.0, max(0.0, float(position) / whole)), 4)


if __name__ == "__main__":
    main()
