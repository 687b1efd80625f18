"""
Draw the charts of a study. The report, the console and `copy chart` use the same ones.

    draw_bars       a bar for each answer, a whisker for its simulation interval, a mark for the baseline
    draw_columns    a column for each point of a scale
    draw_stacks     a bar of 100 % for each segment: promoters, passives, detractors, or the points of a scale
    draw_heat_map   a field for each row and answer of a matrix, with its share in words
    draw_points     utilities around 0, with whiskers
    draw_curve      shares by price, with a band

Axes of shares and columns begin at 0. Colours keep their difference in print and for colour-blind readers,
and every value stands beside its mark as a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mavera.focus_groups.canvas import (
    BAND,
    BAR,
    GREY,
    GRID,
    INK,
    WIDTH,
    Chart,
    Paint,
    count_lines,
    cut,
    draw_diamond,
    draw_line,
    draw_path,
    draw_rect,
    draw_whisker,
    is_dark,
    measure,
    write,
    write_label,
)

# From dark to pale; the middle is neutral. The fields keep these colours in the dark.
RAMP = tuple(
    Paint(colour, f"chart-ramp-{at}")
    for at, colour in enumerate(("#9A3412", "#D97706", "#F3D9A4", "#E5E7EB", "#B9D3E6", "#5B9BC4", "#1D6FA5"))
)
# Names without an order: neighbours differ in hue and in lightness.
NAMES = tuple(
    Paint(colour, f"chart-name-{at}")
    for at, colour in enumerate(("#1D6FA5", "#E9B44C", "#2F8F83", "#C9B6E4", "#8C4A6B", "#9FC5A8"))
)
MISSING = Paint("#F3F4F6", "chart-missing")
DETRACTORS, PASSIVES, PROMOTERS = RAMP[1], RAMP[3], RAMP[6]
HEAT = tuple(
    Paint(colour, f"chart-heat-{at}")
    for at, colour in enumerate(("#F1F6FA", "#D5E5F0", "#AECDE2", "#7FB0D1", "#4A8DBA", "#1D6FA5"))
)
_WHITE = Paint("#FFFFFF", "chart-on-dark")
_BLACK = Paint("#1F2A37", "chart-on-light")
_LABEL = 230
_LABEL_SIZE = 34
_RIGHT = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """A value to draw, from 0 to 1, with its interval and the value without personas."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    baseline: float | None = None

    @property
    def end(self) -> float:
        """The largest of the value, its interval and its baseline."""
        return max(self.value, *(self.interval or (self.value,)), self.baseline or 0)


@dataclass(frozen=True, slots=True)
class Stack:
    """The shares of one segment, in the order of the chart's labels."""

    label: str
    shares: tuple[float, ...]


def draw_bars(bars: Sequence[Bar], title: str, *, is_share: bool = True, top: float | None = None) -> Chart:
    """Return a chart of horizontal bars. `top` is the end of the axis, else the largest value or interval."""
    limit = top if top is not None else _round_up(max([*(bar.end for bar in bars), 1e-9]))
    step = _step_of([bar.label for bar in bars])
    height = len(bars) * step + 24
    scale = (WIDTH - _LABEL - _RIGHT) / limit
    parts = [_draw_axis(limit, scale, height, is_share)]
    for at, bar in enumerate(bars):
        middle = at * step + step / 2
        parts.append(write_label(bar.label, _LABEL - 10, middle, size=_LABEL_SIZE))
        parts.append(draw_rect(_LABEL, middle - 8, max(bar.value, 0) * scale, 16, BAR))
        if bar.interval is not None:
            low, high = (_LABEL + end * scale for end in bar.interval)
            parts.append(draw_whisker(low, high, middle))
        if bar.baseline is not None:
            parts.append(draw_diamond(_LABEL + bar.baseline * scale, middle))
        value = f"{bar.value:.0%}" if is_share else f"{bar.value:.2f}"
        parts.append(write(WIDTH - 4, middle + 4, value, anchor="end", weight="600"))
    return Chart("".join(parts), height, title)


def draw_columns(columns: Sequence[Bar], title: str) -> Chart:
    """Return a chart of vertical columns, for the points of a scale."""
    limit, height, top = _round_up(max([*(bar.end for bar in columns), 1e-9])), 170.0, 20.0
    left = 44.0
    step = (WIDTH - left) / max(len(columns), 1)
    scale = height / limit
    bottom = height + top
    parts = []
    for at in range(_steps_of(limit) + 1):
        share = limit * at / _steps_of(limit)
        parts.append(draw_line(left, bottom - share * scale, WIDTH, bottom - share * scale, GRID))
        label = _write_share(share)
        parts.append(write(left - 8, bottom - share * scale + 4, label, anchor="end", paint=GREY, size=11))
    for at, bar in enumerate(columns):
        middle = left + at * step + step / 2
        parts.append(
            draw_rect(middle - step * 0.32, bottom - bar.value * scale, step * 0.64, bar.value * scale, BAR)
        )
        if bar.interval is not None:
            low, high = (bottom - end * scale for end in bar.interval)
            parts.append(draw_line(middle, low, middle, high, INK))
            parts += [draw_line(middle - 4, y, middle + 4, y, INK) for y in (low, high)]
        if bar.baseline is not None:
            parts.append(draw_diamond(middle, bottom - bar.baseline * scale))
        name = cut(bar.label, int(step / 6.2))
        parts.append(write(middle, bottom + 18, name, anchor="middle", paint=GREY, full=bar.label))
        parts.append(write(middle, bottom + 35, f"{bar.value:.0%}", anchor="middle", weight="600"))
    parts.append(draw_line(left, bottom, WIDTH, bottom, GREY))
    return Chart("".join(parts), bottom + 42, title)


def draw_stacks(
    stacks: Sequence[Stack], labels: Sequence[str], title: str, paints: Sequence[Paint] | None = None
) -> Chart:
    """Return bars of 100 %, one below the other, with a legend. Narrow parts have no number."""
    shades = paints or pick_paints(len(labels))
    parts, top = _draw_legend(labels, shades)
    named = any(stack.label for stack in stacks)
    left = _LABEL if named else 0
    width = WIDTH - left
    step = max(_step_of([stack.label for stack in stacks]), 32)
    for at, stack in enumerate(stacks):
        x, y = float(left), top + at * step
        if named:
            parts.append(write_label(stack.label, _LABEL - 10, y + step / 2, size=_LABEL_SIZE))
        for share, paint in zip(stack.shares, shades, strict=True):
            parts.append(draw_rect(x, y + 4, share * width, step - 8, paint))
            if share * width >= 0.05 * WIDTH:
                parts.append(_write_on(paint, x + share * width / 2, y + step / 2 + 4, f"{share:.0%}"))
            x += share * width
    return Chart("".join(parts), top + len(stacks) * step + 4, title)


def draw_heat_map(
    rows: Sequence[Stack], labels: Sequence[str], title: str, means: Sequence[float | None] = ()
) -> Chart:
    """
    Return a field for each row and answer. The darker a field, the larger its share; the legend has the ends.

    `means` stand in a column of their own at the right.
    """
    top = 44.0
    right = 52.0 if means else 0.0
    width = (WIDTH - _LABEL - right) / max(len(labels), 1)
    step = max(_step_of([row.label for row in rows]), 30)
    limit = _round_up(max([share for row in rows for share in row.shares] or [0.1]))
    parts = []
    for at, label in enumerate(labels):
        name = cut(label, max(int(width / 6.4), 2))
        parts.append(
            write(_LABEL + (at + 0.5) * width, top - 10, name, anchor="middle", paint=GREY, full=label)
        )
    if means:
        parts.append(write(WIDTH, top - 10, "Mean", anchor="end", paint=GREY))
    for at, row in enumerate(rows):
        y = top + at * step
        parts.append(write_label(row.label, _LABEL - 10, y + step / 2, size=_LABEL_SIZE))
        for place, share in enumerate(row.shares):
            paint = HEAT[min(int(share / limit * len(HEAT)), len(HEAT) - 1)]
            x = _LABEL + place * width
            parts.append(draw_rect(x + 1, y + 1, width - 2, step - 2, paint))
            parts.append(_write_on(paint, x + width / 2, y + step / 2 + 4, f"{share:.0%}"))
        mean = means[at] if means else None
        if mean is not None:
            parts.append(write(WIDTH, y + step / 2 + 4, f"{mean:.2f}", anchor="end", weight="600"))
    parts.append(_draw_heat_legend(limit))
    return Chart("".join(parts), top + len(rows) * step + 4, title)


def draw_points(points: Sequence[Bar], title: str) -> Chart:
    """Return values around 0, with whiskers. Both sides of the axis have the same length."""
    ends = [abs(end) for bar in points for end in (bar.value, *(bar.interval or ()))]
    limit = _round_up(max([*ends, 1e-9]))
    step = _step_of([bar.label for bar in points])
    height = len(points) * step + 24
    middle = _LABEL + (WIDTH - _LABEL - _RIGHT) / 2
    scale = (WIDTH - _LABEL - _RIGHT) / 2 / limit
    parts = []
    for at in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x = middle + at * limit * scale
        parts.append(draw_line(x, 0, x, height - 18, GRID if at else GREY))
        if at in (-1.0, 0.0, 1.0):
            label = f"{at * limit:+g}".replace("-", "−") if at else "0"
            parts.append(write(x, height - 4, label, anchor="middle", paint=GREY, size=11))
    for at, bar in enumerate(points):
        y = at * step + step / 2
        parts.append(write_label(bar.label, _LABEL - 10, y, size=_LABEL_SIZE))
        start = middle + min(bar.value, 0) * scale
        parts.append(draw_rect(start, y - 7, abs(bar.value) * scale, 14, BAR))
        if bar.interval is not None:
            low, high = (middle + end * scale for end in bar.interval)
            parts.append(draw_whisker(low, high, y))
        value = f"{bar.value:+.2f}".replace("-", "−")
        parts.append(write(WIDTH - 4, y + 4, value, anchor="end", weight="600"))
    return Chart("".join(parts), height, title)


def draw_curve(points: Sequence[tuple[float, Bar]], title: str) -> Chart:
    """Return shares by price. `points` are in the order of their prices."""
    height, left, inset = 190.0, 48.0, 36.0
    prices = [price for price, _ in points]
    width = (WIDTH - left - 40 - inset) / max(max(prices) - min(prices), 1e-9)

    def place(price: float, share: float) -> tuple[float, float]:
        return left + inset + (price - min(prices)) * width, 14 + height * (1 - share)

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = place(min(prices), share)[1]
        parts.append(draw_line(left, y, WIDTH - 40, y, GRID))
        parts.append(write(left - 8, y + 4, f"{share:.0%}", anchor="end", paint=GREY, size=11))
    if all(bar.interval for _, bar in points):
        lows = [place(price, bar.interval[0]) for price, bar in points if bar.interval]
        highs = [place(price, bar.interval[1]) for price, bar in points if bar.interval]
        parts.append(draw_path([*highs, *reversed(lows)], BAND, closed=True))
    parts.append(draw_path([place(price, bar.value) for price, bar in points], BAR))
    for price, bar in points:
        x, y = place(price, bar.value)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{BAR.name}" fill="{BAR.colour}"/>')
        parts.append(write(x, y - 9, f"{bar.value:.0%}", anchor="middle", weight="600"))
        parts.append(write(x, height + 34, bar.label, anchor="middle", paint=GREY))
    return Chart("".join(parts), height + 42, title)


def pick_paints(count: int) -> tuple[Paint, ...]:
    """Return `count` colours from one end of the ramp to the other."""
    if count == 1:
        return (RAMP[-1],)
    return tuple(RAMP[round(at * (len(RAMP) - 1) / (count - 1))] for at in range(count))


def _step_of(labels: Sequence[str]) -> float:
    """Return the height of a row that has room for its label."""
    return 26.0 if count_lines(labels, _LABEL_SIZE) < 2 else 36.0


def _write_on(paint: Paint, x: float, y: float, text: str) -> str:
    return write(x, y, text, anchor="middle", paint=_WHITE if is_dark(paint) else _BLACK, weight="600")


def _draw_legend(labels: Sequence[str], paints: Sequence[Paint]) -> tuple[list[str], float]:
    """Return a legend above the bars, and the height at which they begin."""
    parts, x, y = [], 0.0, 14.0
    for label, paint in zip(labels, paints, strict=True):
        text = cut(label, 40)
        width = 30 + 6.6 * measure(text)
        if x and x + width > WIDTH:
            x, y = 0.0, y + 20
        parts.append(draw_rect(x, y - 10, 11, 11, paint))
        parts.append(write(x + 16, y, text, paint=GREY, full=label))
        x += width
    return parts, y + 8


def _draw_heat_legend(limit: float) -> str:
    width = 16.0
    start = WIDTH - len(HEAT) * width - 38
    fields = [draw_rect(start + at * width, 2, width, 9, paint) for at, paint in enumerate(HEAT)]
    low = write(start - 6, 11, "0%", anchor="end", paint=GREY, size=11)
    high = write(start + len(HEAT) * width + 6, 11, _write_share(limit), paint=GREY, size=11)
    return "".join([*fields, low, high])


def _round_up(value: float) -> float:
    """Return the next of 0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5 … that is not below `value`."""
    power = 1.0
    while power < value:
        power *= 10
    while power / 10 >= value:
        power /= 10
    return next(step * power for step in (0.1, 0.2, 0.25, 0.5, 1.0) if step * power >= value - 1e-12)


def _steps_of(limit: float) -> int:
    """Return the number of steps of an axis that `_round_up` ended, so that each is a round number."""
    leading = f"{limit:e}"[:3]
    return 4 if leading in ("1.0", "2.0") else 5


def _write_share(share: float) -> str:
    return f"{share:.0%}" if abs(share * 100 - round(share * 100)) < 1e-9 else f"{share:.1%}"


def _draw_axis(limit: float, scale: float, height: float, is_share: bool) -> str:
    parts = []
    # A scale of points gets a line for each point.
    steps = _steps_of(limit) if is_share or limit != int(limit) or limit > 10 else int(limit)
    for at in range(steps + 1):
        value = limit * at / steps
        x = _LABEL + value * scale
        parts.append(draw_line(x, 0, x, height - 18, GRID))
        label = _write_share(value) if is_share else f"{value:g}"
        parts.append(write(x, height - 4, label, anchor="middle", paint=GREY, size=11))
    return "".join(parts)
