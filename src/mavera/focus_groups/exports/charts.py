"""
Draw charts as SVG, for a page that needs nothing else: no script, no font and no picture from outside.

    draw_bars       a bar for each answer, a whisker for its simulation interval, a mark for the baseline
    draw_stack      one bar of 100 %: promoters, passives and detractors, or the points of a scale
    draw_columns    a column for each point of a scale
    draw_points     part-worths around 0, with whiskers
    draw_curve      shares by price, with a band

Every chart has a title for screen readers. Colours keep their difference in print and for colour-blind
readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

INK, GREY, GRID = "#1F2A37", "#6B7280", "#E5E7EB"
BLUE, MARK = "#1D6FA5", "#C2410C"
# From dark to pale; the middle is neutral.
RAMP = ("#9A3412", "#D97706", "#F3D9A4", "#E5E7EB", "#B9D3E6", "#5B9BC4", "#1D6FA5")
WIDTH = 720
_LABEL = 230
_ROW = 26


@dataclass(frozen=True, slots=True)
class Bar:
    """A value to draw, from 0 to 1, with its interval and the value without personas."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    baseline: float | None = None


def draw_bars(bars: Sequence[Bar], title: str, *, is_share: bool = True, top: float | None = None) -> str:
    """Return a chart of horizontal bars. `top` is the end of the axis, else the largest value or interval."""
    ends = [bar.interval[1] if bar.interval else bar.value for bar in bars]
    marks = [bar.baseline for bar in bars if bar.baseline is not None]
    limit = top if top is not None else _round_up(max([*ends, *marks, 1e-9]))
    height = len(bars) * _ROW + 24
    scale = (WIDTH - _LABEL - 60) / limit
    parts = [_draw_axis(limit, scale, height, is_share)]
    for at, bar in enumerate(bars):
        y = at * _ROW + 6
        parts.append(_write_label(bar.label, y + 13))
        parts.append(_draw_rect(_LABEL, y + 2, max(bar.value, 0) * scale, _ROW - 10, BLUE))
        if bar.interval is not None:
            parts.append(
                _draw_whisker(_LABEL + bar.interval[0] * scale, _LABEL + bar.interval[1] * scale, y + 10)
            )
        if bar.baseline is not None:
            parts.append(_draw_mark(_LABEL + bar.baseline * scale, y + 10))
        end = max([bar.value, *(bar.interval or ()), *([bar.baseline] if bar.baseline is not None else ())])
        value = f"{bar.value:.0%}" if is_share else f"{bar.value:.2f}"
        parts.append(_write(_LABEL + end * scale + 8, y + 14, value, weight="600"))
    return _wrap(parts, height, title)


def draw_stack(parts: Sequence[tuple[str, float]], title: str, colours: Sequence[str] | None = None) -> str:
    """Return one bar of 100 %, with a legend. Parts below 4 % have no number in the bar."""
    shades = colours or pick_colours(len(parts))
    drawn, x = [], 0.0
    for (_, share), colour in zip(parts, shades, strict=True):
        width = share * WIDTH
        drawn.append(_draw_rect(x, 4, width, 34, colour))
        if share >= 0.04:
            shade = "#FFFFFF" if _is_dark(colour) else INK
            drawn.append(_write(x + width / 2, 26, f"{share:.0%}", anchor="middle", fill=shade, weight="600"))
        x += width
    x, y = 0.0, 58.0
    for (label, _), colour in zip(parts, shades, strict=True):
        width = 26 + 6.6 * min(len(label), 40)
        if x + width > WIDTH:
            x, y = 0.0, y + 20
        drawn.append(_draw_rect(x, y - 9, 10, 10, colour))
        drawn.append(_write(x + 15, y, _cut(label, 40), fill=GREY))
        x += width
    return _wrap(drawn, y + 10, title)


def draw_columns(columns: Sequence[Bar], title: str) -> str:
    """Return a chart of vertical columns, for the points of a scale."""
    ends = [bar.interval[1] if bar.interval else bar.value for bar in columns]
    marks = [bar.baseline for bar in columns if bar.baseline is not None]
    limit, height = _round_up(max([*ends, *marks, 1e-9])), 170.0
    step = WIDTH / max(len(columns), 1)
    scale = height / limit
    drawn = []
    for at, bar in enumerate(columns):
        x, middle = at * step, at * step + step / 2
        top = height - bar.value * scale
        drawn.append(_draw_rect(x + step * 0.18, top + 20, step * 0.64, bar.value * scale, BLUE))
        if bar.interval is not None:
            low, high = (20 + height - end * scale for end in bar.interval)
            drawn.append(_draw_line(middle, low, middle, high, INK))
        if bar.baseline is not None:
            drawn.append(_draw_mark(middle, 20 + height - bar.baseline * scale))
        edge = max([bar.value, *(bar.interval or ()), *([bar.baseline] if bar.baseline is not None else ())])
        drawn.append(
            _write(middle, 14 + height - edge * scale, f"{bar.value:.0%}", anchor="middle", weight="600")
        )
        drawn.append(
            _write(middle, height + 38, _cut(bar.label, int(step / 6.2)), anchor="middle", fill=GREY)
        )
    drawn.append(_draw_line(0, height + 20, WIDTH, height + 20, GREY))
    return _wrap(drawn, height + 46, title)


def draw_points(points: Sequence[Bar], title: str) -> str:
    """Return values around 0, with whiskers."""
    ends = [abs(end) for bar in points for end in (bar.value, *(bar.interval or ()))]
    limit = _round_up(max([*ends, 1e-9]))
    height = len(points) * _ROW + 12
    middle = _LABEL + (WIDTH - _LABEL - 60) / 2
    scale = (WIDTH - _LABEL - 60) / 2 / limit
    drawn = [_draw_line(middle, 0, middle, height - 6, GREY)]
    for at, bar in enumerate(points):
        y = at * _ROW + 6
        drawn.append(_write_label(bar.label, y + 13))
        start = middle + min(bar.value, 0) * scale
        drawn.append(_draw_rect(start, y + 4, abs(bar.value) * scale, _ROW - 14, BLUE))
        if bar.interval is not None:
            drawn.append(
                _draw_whisker(middle + bar.interval[0] * scale, middle + bar.interval[1] * scale, y + 10)
            )
        drawn.append(_write(WIDTH - 4, y + 14, f"{bar.value:+.2f}", anchor="end", weight="600"))
    return _wrap(drawn, height, title)


def draw_curve(points: Sequence[tuple[float, Bar]], title: str) -> str:
    """Return shares by price. `points` are in the order of their prices."""
    height, left = 190.0, 48.0
    prices = [price for price, _ in points]
    width = (WIDTH - left - 40) / max(max(prices) - min(prices), 1e-9)

    def place(price: float, share: float) -> tuple[float, float]:
        return left + (price - min(prices)) * width, 14 + height * (1 - share)

    drawn = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = place(min(prices), share)[1]
        drawn.append(_draw_line(left, y, WIDTH - 40, y, GRID))
        drawn.append(_write(left - 8, y + 4, f"{share:.0%}", anchor="end", fill=GREY))
    if all(bar.interval for _, bar in points):
        lows = [place(price, bar.interval[0]) for price, bar in points if bar.interval]
        highs = [place(price, bar.interval[1]) for price, bar in points if bar.interval]
        band = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*highs, *reversed(lows)])
        drawn.append(f'<polygon points="{band}" fill="{BLUE}" opacity="0.15"/>')
    line = " ".join("{:.1f},{:.1f}".format(*place(price, bar.value)) for price, bar in points)
    drawn.append(f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>')
    for price, bar in points:
        x, y = place(price, bar.value)
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{BLUE}"/>')
        drawn.append(_write(x, y - 9, f"{bar.value:.0%}", anchor="middle", weight="600"))
        drawn.append(_write(x, height + 34, bar.label, anchor="middle", fill=GREY))
    return _wrap(drawn, height + 42, title)


def pick_colours(count: int) -> tuple[str, ...]:
    """Return `count` colours from one end of the ramp to the other."""
    if count == 1:
        return (RAMP[-1],)
    return tuple(RAMP[round(at * (len(RAMP) - 1) / (count - 1))] for at in range(count))


def _is_dark(colour: str) -> bool:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.3 * red + 0.59 * green + 0.11 * blue < 150


def _round_up(value: float) -> float:
    """Return the next of 0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5 … that is not below `value`."""
    power = 1.0
    while power < value:
        power *= 10
    while power / 10 >= value:
        power /= 10
    return next(step * power for step in (0.1, 0.2, 0.25, 0.5, 1.0) if step * power >= value - 1e-12)


def _draw_axis(limit: float, scale: float, height: float, is_share: bool) -> str:
    parts = []
    # A scale of points gets a line for each point.
    steps = 4 if is_share or limit != int(limit) or limit > 10 else int(limit)
    for at in range(steps + 1):
        value = limit * at / steps
        x = _LABEL + value * scale
        parts.append(_draw_line(x, 0, x, height - 18, GRID))
        label = f"{value:.0%}" if is_share else f"{value:g}"
        parts.append(_write(x, height - 4, label, anchor="middle", fill=GREY, size=10))
    return "".join(parts)


def _write_label(text: str, y: float) -> str:
    return _write(_LABEL - 10, y, _cut(text, 36), anchor="end", full=text)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: max(size - 1, 1)].rstrip() + "…"


def _draw_rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{max(height, 0):.1f}" '
        f'fill="{fill}"/>'
    )


def _draw_line(x1: float, y1: float, x2: float, y2: float, stroke: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>'


def _draw_whisker(low: float, high: float, y: float) -> str:
    ends = "".join(_draw_line(x, y - 4, x, y + 4, INK) for x in (low, high))
    return _draw_line(low, y, high, y, INK) + ends


def _draw_mark(x: float, y: float) -> str:
    """Draw a diamond: the answer without personas."""
    points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
    return f'<polygon points="{points}" fill="#FFFFFF" stroke="{MARK}" stroke-width="1.6"/>'


def _write(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    weight: str = "400",
    size: int = 12,
    full: str | None = None,
) -> str:
    hint = f"<title>{escape(full)}</title>" if full is not None and full != text else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}" '
        f'font-size="{size}">{escape(text)}{hint}</text>'
    )


def _wrap(parts: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
