"""
Draw the marks of a chart as SVG, and wrap them for a page or for a file of its own.

    Chart(marks, height, title)  →  write_inline      for a page: a class beside each colour, for dark pages
                                 →  write_standalone  for a slide: literal light colours, title, base and note

No mark has a `style`, because the pages forbid it. Every colour is an attribute with a class beside it: a
style sheet may replace the colour, and a copy without a style sheet keeps it. Texts are escaped here and
nowhere else.
"""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

WIDTH = 720
LINE = 15
_FONT = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_MARGIN = 24


class Paint(NamedTuple):
    """A colour, and the class by which a page may replace it."""

    colour: str
    name: str


INK = Paint("#1F2A37", "chart-ink")
GREY = Paint("#5B6472", "chart-grey")
GRID = Paint("#E5E7EB", "chart-grid")
BAR = Paint("#4A90BF", "chart-bar")
BAND = Paint("#D2E2ED", "chart-band")
PAPER = Paint("#FFFFFF", "chart-paper")
MARK = Paint("#C2410C", "chart-mark")


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart, `WIDTH` wide. `title` is for screen readers and for the file of its own."""

    marks: str
    height: float
    title: str


def write_inline(chart: Chart) -> str:
    """Return the chart as an `svg` element for a page."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {chart.height:.0f}" width="{WIDTH}" '
        f'height="{chart.height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(chart.title)}</title>{chart.marks}</svg>"
    )


def write_standalone(chart: Chart, *, base: str, note: str) -> str:
    """Return the chart as a file: on white, with its title above it, and its base and a note below it."""
    title = _wrap(chart.title, 74, most=3)
    foot = [*_wrap(base, 108, most=2), *_wrap(note, 108, most=4)]
    top = 20 + 22 * len(title)
    height = top + chart.height + 18 + 16 * len(foot) + 8
    parts = [draw_rect(0, 0, WIDTH + 2 * _MARGIN, height, PAPER)]
    parts += [write(_MARGIN, 26 + 22 * at, line, size=18, weight="600") for at, line in enumerate(title)]
    parts.append(f'<g transform="translate({_MARGIN} {top})">{chart.marks}</g>')
    below = top + chart.height + 26
    parts += [write(_MARGIN, below + 16 * at, line, paint=GREY) for at, line in enumerate(foot)]
    width = WIDTH + 2 * _MARGIN
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}" '
        f'font-family="{_FONT}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(chart.title)}</title>{''.join(parts)}</svg>\n"
    )


def write(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    paint: Paint = INK,
    weight: str = "400",
    size: int = 12,
    full: str | None = None,
) -> str:
    """Return a text. `full` is shown by pointing at it, if the text is cut."""
    hint = f"<title>{escape(full)}</title>" if full is not None and full != text else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{paint.name}" fill="{paint.colour}" '
        f'font-weight="{weight}" font-size="{size}">{escape(text)}{hint}</text>'
    )


def write_label(text: str, x: float, middle: float, *, size: int) -> str:
    """Return a label that ends at `x`, on up to two lines of `size` characters around the height `middle`."""
    lines = _wrap(text, size, most=2)
    top = middle + 4 - (len(lines) - 1) * LINE / 2
    return "".join(
        write(x, top + at * LINE, line, anchor="end", full=text if line.endswith("…") else None)
        for at, line in enumerate(lines)
    )


def count_lines(texts: Sequence[str], size: int) -> int:
    """Return the number of lines that the longest label needs."""
    return max((len(_wrap(text, size, most=2)) for text in texts), default=1)


def cut(text: str, size: int) -> str:
    """Return a text that is at most `size` characters wide. A wide character counts as two."""
    if measure(text) <= size:
        return text
    kept = ""
    for character in text:
        if measure(kept + character) >= max(size, 2):
            break
        kept += character
    return kept.rstrip() + "…"


def measure(text: str) -> int:
    """Return the width of a text in characters. Those of East Asian scripts count as two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def draw_rect(x: float, y: float, width: float, height: float, paint: Paint) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'class="{paint.name}" fill="{paint.colour}"/>'
    )


def draw_line(x1: float, y1: float, x2: float, y2: float, paint: Paint, *, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{paint.name}-line" '
        f'stroke="{paint.colour}" stroke-width="{width:g}"/>'
    )


def draw_whisker(low: float, high: float, y: float) -> str:
    """Return a horizontal interval with its ends."""
    ends = "".join(draw_line(x, y - 4, x, y + 4, INK) for x in (low, high))
    return draw_line(low, y, high, y, INK) + ends


def draw_diamond(x: float, y: float) -> str:
    """Return the mark of the answer without personas."""
    points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
    return (
        f'<polygon points="{points}" class="chart-diamond" fill="{PAPER.colour}" stroke="{MARK.colour}" '
        'stroke-width="1.6"/>'
    )


def draw_path(points: Sequence[tuple[float, float]], paint: Paint, *, closed: bool = False) -> str:
    """Return a line through `points`, or the area that they enclose."""
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    if closed:
        return f'<polygon points="{text}" class="{paint.name}" fill="{paint.colour}"/>'
    return (
        f'<polyline points="{text}" class="{paint.name}-line" fill="none" stroke="{paint.colour}" '
        'stroke-width="2.5"/>'
    )


def is_dark(paint: Paint) -> bool:
    """Return whether white text is readable on a colour, and black text is not."""
    red, green, blue = (int(paint.colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.3 * red + 0.59 * green + 0.11 * blue < 125


def _wrap(text: str, size: int, *, most: int) -> list[str]:
    """Return a text on up to `most` lines. The last one is cut if there is more."""
    if not text.strip():
        return []
    # Lines of wide characters hold half as many of them.
    wide = max(measure(text) / max(len(text), 1), 1)
    lines = textwrap.wrap(text, max(int(size / wide), 4))
    if len(lines) > most:
        lines = [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), size)]
    return lines
