"""
Decode images and read the text in them, in a process of its own, one image after the other.

    stdin    frames, each of them an image
    stdout   one report, then frames: an ImageReading or Unreadable, as MessagePack

`image_reader.py` starts the process when the first image comes, as
`python -m mavera.fetch.image_reader_child MEMORY CPU_SECONDS THREADS MAX_PIXELS`.
Only this module imports Pillow, OpenCV and the OCR. They take about 300 MB, which the server saves, and
their decoders may crash on hostile bytes without harm to it. The process ends when its stdin ends.

The work for one image is bounded, whatever its shape. The detector searches a canvas of at most 2 million
pixels, whose longer side is at most three times the shorter. Lines are read until their text fills the
description or half of the processor time is used. The rest is left out, and the reading says so.
"""

import io
import math
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import msgspec
import numpy as np
from PIL import Image, ImageOps
from rapidocr import RapidOCR

from mavera.fetch.image_description import MAX_TEXT_CHARACTERS, Colour, ImageReading, TextLine, Unreadable
from mavera.fetch.reader_child import answer_frames, limit_memory, take_stdout

# Larger images are reduced to this size. Small print stays legible, and time and memory stay bearable.
MAX_SIDE = 2000
MAX_AREA = 2_000_000
# The canvas in which the detector searches: its thinnest shape, its size, and its largest enlargement.
MOST_RATIO = 3
DETECTED_SIDE = 736
MOST_ENLARGED = 4.0
# In pixels. Nothing thinner has legible letters.
LEAST_SIDE = 8
LEAST_LETTER = 4
MOST_LINE_RATIO = 32
LEAST_SCORE = 0.5
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
    memory_bytes, cpu_seconds, threads, max_pixels = (int(float(argument)) for argument in sys.argv[1:5])
    limit_memory(memory_bytes)
    answers = take_stdout()
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    answer = partial(_answer, ocr=_engine(threads), reading_seconds=cpu_seconds / 2)
    answer_frames(answer, cpu_seconds=cpu_seconds, answers=answers)


def _engine(threads: int) -> Any:
    engine = "EngineConfig.onnxruntime"
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            f"{engine}.intra_op_num_threads": threads,
            f"{engine}.inter_op_num_threads": 1,
            # By default the engine enlarges small or thin images, but these already have their size.
            "Det.limit_type": "max",
            "Det.limit_side_len": MAX_SIDE * 2,
        }
    )


def _answer(data: bytes, ocr: Any, reading_seconds: float) -> bytes:
    return msgspec.msgpack.encode(_reading(data, ocr, reading_seconds))


def _reading(data: bytes, ocr: Any, reading_seconds: float) -> ImageReading | Unreadable:
    ends = time.process_time() + reading_seconds
    try:
        image, size, animated = _decode(data)
    except MemoryError:
        return Unreadable(too_heavy=True)
    except Exception:  # Pillow's decoders raise many types, and none of them says more than this
        return Unreadable()
    try:
        lines, complete = _read_lines(image, ocr, ends)
    except Exception:  # each library has its own error for a lack of memory
        return Unreadable(too_heavy=True)
    return ImageReading(*size, _colours(image), tuple(lines), animated, not complete)


def _decode(data: bytes) -> tuple[Image.Image, tuple[int, int], bool]:
    """Return the image (upright, opaque and small enough), its true size, and whether it is animated."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        width, height = opened.size
        animated = bool(getattr(opened, "is_animated", False))
        most = _fit_size(width, height)
        opened.draft("RGB", most)  # a JPEG is decoded small at once
        image: Image.Image = opened
        if opened.mode.startswith("I"):  # 16 bits, which Pillow can neither reduce nor turn into colours
            image = opened.point(lambda level: level * (1 / 256)).convert("L")
        image.thumbnail(most) if image.width > most[0] or image.height > most[1] else image.load()
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    turned = (upright.width > upright.height) != (width > height) and upright.width != upright.height
    paper = Image.new("RGBA", upright.size, "white")
    paper.alpha_composite(upright)
    return paper.convert("RGB"), (height, width) if turned else (width, height), animated


def _fit_size(width: int, height: int) -> tuple[int, int]:
    """Return the size in which an image is read. The shape stays the same."""
    scale = min(1.0, MAX_SIDE / max(width, height), math.sqrt(MAX_AREA / (width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _colours(image: Image.Image) -> tuple[Colour, ...]:
    """Return the colours that fill the image, the largest share first."""
    counts: dict[str, int] = {}
    small = image.resize((64, 64), Image.Resampling.NEAREST).quantize(8)
    palette = small.getpalette() or []
    for count, pixel in small.getcolors() or []:
        index = int(cast("int", pixel))  # the pixels of an image with a palette are numbers
        name = _name(palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
        counts[name] = counts.get(name, 0) + count
    total = sum(counts.values())
    shares = [Colour(name, round(count / total, 2)) for name, count in counts.items()]
    kept = [colour for colour in shares if colour.share >= _LEAST_SHARE]
    return tuple(sorted(kept, key=lambda colour: -colour.share)[:_MOST_COLOURS])


def _name(red: int, green: int, blue: int) -> str:
    """Return the nearest colour name, by a distance that follows the eye better than plain RGB does."""

    def distance(name: str) -> float:
        r, g, b = _NAMES[name]
        mean = (red + r) / 2
        return (
            (2 + mean / 256) * (red - r) ** 2
            + 4 * (green - g) ** 2
            + (2 + (255 - mean) / 256) * (blue - b) ** 2
        )

    return min(_NAMES, key=distance)


def _read_lines(image: Image.Image, ocr: Any, ends: float) -> tuple[list[TextLine], bool]:
    """Return the lines of text, and whether these are all. `ends` is in this process's processor time."""
    lines: list[TextLine] = []
    characters = 0
    for box in _find_boxes(image, ocr):
        if characters > MAX_TEXT_CHARACTERS or time.process_time() > ends:
            return lines, False
        text = " ".join(_read_text(piece, ocr) for piece in _pieces(_cut_out(image, box))).strip()
        if text:
            lines.append(_line(text, box, image))
            characters += len(text)
    return lines, True


def _find_boxes(image: Image.Image, ocr: Any) -> list[Any]:
    """Return the corners of each line of text, in reading order."""
    if min(image.size) < LEAST_SIDE:
        return []
    canvas = _canvas(image)
    # The detector needs letters of some size, so a small image is enlarged as far as it fits.
    enlarged = min(MOST_ENLARGED, DETECTED_SIDE / min(canvas.size), math.sqrt(MAX_AREA / _area(canvas)))
    factor = max(1.0, enlarged)
    if factor > 1.0:
        canvas = canvas.resize((int(canvas.width * factor), int(canvas.height * factor)))
    found = ocr(_pixels(canvas), use_det=True, use_cls=False, use_rec=False)
    return [] if found.boxes is None else [box / factor for box in found.boxes]


def _canvas(image: Image.Image) -> Image.Image:
    """Return a thin image on a white canvas. The detector would enlarge a strip without bound."""
    shorter = math.ceil(max(image.size) / MOST_RATIO)
    size = max(image.width, shorter), max(image.height, shorter)
    if size == image.size:
        return image
    canvas = Image.new("RGB", size, "white")
    canvas.paste(image, (0, 0))
    return canvas


def _area(image: Image.Image) -> int:
    return image.width * image.height


def _cut_out(image: Image.Image, box: Any) -> Image.Image:
    """Return one line of text, level. A line that runs downwards is turned."""
    upper_left, upper_right, lower_right, lower_left = (tuple(map(float, corner)) for corner in box)
    width = int(max(math.dist(upper_left, upper_right), math.dist(lower_left, lower_right)))
    height = int(max(math.dist(upper_left, lower_left), math.dist(upper_right, lower_right)))
    corners = (*upper_left, *lower_left, *lower_right, *upper_right)
    line = image.transform(
        (max(1, width), max(1, height)), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC
    )
    return line.transpose(Image.Transpose.ROTATE_90) if line.height >= 1.5 * line.width else line


def _pieces(line: Image.Image) -> Iterator[Image.Image]:
    """Yield a line in pieces that are not too long, because the OCR enlarges each to a height of its own."""
    if line.height < LEAST_LETTER:
        return
    longest = MOST_LINE_RATIO * line.height
    for left in range(0, line.width, longest):
        yield line.crop((left, 0, min(line.width, left + longest), line.height))


def _read_text(line: Image.Image, ocr: Any) -> str:
    found = ocr(_pixels(line), use_det=False, use_cls=True, use_rec=True)
    texts, scores = found.txts or (), found.scores or ()
    return " ".join(text for text, score in zip(texts, scores, strict=True) if score >= LEAST_SCORE)


def _pixels(image: Image.Image) -> Any:
    return np.asarray(image)[:, :, ::-1]  # the OCR expects blue first


def _line(text: str, box: Any, image: Image.Image) -> TextLine:
    return TextLine(
        text,
        left=_share(box[:, 0].min(), image.width),
        top=_share(box[:, 1].min(), image.height),
        right=_share(box[:, 0].max(), image.width),
        bottom=_share(box[:, 1].max(), image.height),
    )


def _share(position: float, whole: int) -> float:
    return round(min(1.0, max(0.0, float(position) / whole)), 4)


if __name__ == "__main__":
    main()
