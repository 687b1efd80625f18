"""Plot figures with intervals as one SVG: a dot, a line for the interval, a tick for the chance level."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Generic, Protocol, TypeVar

WIDTH, LEFT, RIGHT, ROW = 640, 190, 60, 34


class Estimate(Protocol):
    """A number from 0 to 1 with an interval, such as a Share."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def cases(self) -> int: ...


E_co = TypeVar("E_co", bound=Estimate, covariant=True)


@dataclass(frozen=True, slots=True)
class Figure(Generic[E_co]):
    """A named share. `chance` is the share if no answers differed, None if there is no such number."""

    name: str
    share: E_co
    chance: float | None = None


def draw_svg(figures: Sequence[Figure[Estimate]], title: str) -> str:
    height = 60 + ROW * len(figures)
    span = WIDTH - LEFT - RIGHT
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="13" role="img"'
    lines = [
        f'<svg {head} font-family="sans-serif"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><text x="12" y="22">{escape(title)}</text>',
    ]
    for percent in range(0, 101, 25):
        x = LEFT + span * percent / 100
        lines.append(f'<path d="M{x:.1f} 36V{height - 22}" stroke="#ddd"/>')
        lines.append(
            f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle" fill="#666">{percent} %</text>'
        )
    for number, figure in enumerate(figures):
        y = 52 + ROW * number
        low, high = figure.share.interval
        lines.append(f'<text x="12" y="{y + 5}">{escape(figure.name)}</text>')
        if figure.chance is not None:
            x = LEFT + span * figure.chance
            lines.append(f'<path d="M{x:.1f} {y - 10}V{y + 10}" stroke="#b00" stroke-width="2"/>')
        if figure.share.cases:
            a, b, dot = (LEFT + span * value for value in (low, high, figure.share.value))
            lines.append(f'<path d="M{a:.1f} {y}H{b:.1f}" stroke="#246" stroke-width="3"/>')
            lines.append(f'<circle cx="{dot:.1f}" cy="{y}" r="5" fill="#246"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"
