"""
Draw analyses: bars and highlighted pieces for a terminal, and a chart of several as SVG.

The module is pure. Colour-blind readers can tell the colours of the chart apart.
"""

from collections.abc import Iterator, Sequence
from html import escape

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mavera.core.analysis import Analysis

WIDTH = 24
_COLOURS = ("#2a78d6", "#e8710a", "#1b8a5a", "#a142c4", "#c5221f", "#7a6a00", "#00838f", "#5f6368")
SCALES = (("valence", "emotional_valence"), ("arousal", "arousal"), ("dominance", "dominance"))
_ROW, _LEFT, _TOP = 26, 190, 64


def draw_analysis(analysis: Analysis, text: str) -> Iterator[RenderableType]:
    """Yield the lines to print: the answer with the evidence of biases highlighted, then the numbers."""
    if analysis.error is not None:
        yield Text(f"No analysis: {analysis.error.message}", style="yellow")
        return
    if analysis.biases:
        yield highlight_evidence(analysis, text)
    table = Table.grid(padding=(0, 2))
    for name, value in list_scales(analysis):
        table.add_row(name, draw_bar(value), "–" if value is None else f"{value:.1f}")
    yield table
    if analysis.emotion is not None:
        yield Text(f"Emotion: {analysis.emotion.primary_emotion}")
    if analysis.stance is not None:
        sides = ", for and against" if analysis.stance.mixed else ""
        yield Text(f"Stance: {analysis.stance.verdict} ({analysis.stance.score:+.2f}{sides})")
    for bias in analysis.biases:
        yield Text(f"Bias: {bias.name} ({bias.probability:.0%}): {bias.description}", style="yellow")
    for insight in analysis.key_insights:
        yield Text(f"• {insight}")


def list_scales(analysis: Analysis) -> list[tuple[str, float | None]]:
    """Return the names and values of all scales from 1 to 10."""
    emotion, news = analysis.emotion, analysis.news_relevance
    return [
        ("confidence", analysis.confidence),
        ("expressed certainty", analysis.expressed_certainty),
        *((name, getattr(emotion, member) if emotion else None) for name, member in SCALES),
        ("news", news.score if news else None),
    ]


def draw_bar(value: float | None) -> str:
    """Return a bar for 1–10. It is empty if there is no value."""
    filled = 0 if value is None else round((value - 1) / 9 * WIDTH)
    return "█" * filled + "░" * (WIDTH - filled)


def highlight_evidence(analysis: Analysis, text: str) -> Text:
    shown = Text(text)
    for bias in analysis.biases:
        for piece in bias.evidence:
            at = text.find(piece)
            if at >= 0:
                shown.stylize("black on yellow", at, at + len(piece))
    return shown


def draw_chart(question: str, answers: Sequence[tuple[str, Analysis]]) -> str:
    """Return an SVG with the valence, arousal and dominance of each answer on a scale of 1–10."""
    groups = [_group(number, answers) for number in range(len(SCALES))]
    below = _TOP + len(SCALES) * (len(answers) * _ROW + 40)
    ticks = "".join(
        f'<path d="M{_x(n)} {_TOP - 8}V{below - 24}" stroke="#ddd"/>'
        f'<text x="{_x(n)}" y="{below - 8}" text-anchor="middle">{n}</text>'
        for n in range(1, 11)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {below}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(question)}</title><rect width="640" height="{below}" fill="#fff"/>'
        f'<text x="12" y="26" font-size="15">{escape(_short(question, 80))}</text>'
        f"{ticks}{''.join(groups)}</svg>\n"
    )


def _group(number: int, answers: Sequence[tuple[str, Analysis]]) -> str:
    title, member = SCALES[number]
    top = _TOP + number * (len(answers) * _ROW + 40)
    made = [f'<text x="12" y="{top + 4}" font-weight="bold">{title}</text>']
    for row, (name, analysis) in enumerate(answers):
        y = top + 12 + row * _ROW
        value = getattr(analysis.emotion, member) if analysis.emotion else None
        made.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(_short(name, 26))}</text>')
        if value is None:
            made.append(f'<text x="{_LEFT}" y="{y + 14}" fill="#777">no analysis</text>')
            continue
        colour = _COLOURS[row % len(_COLOURS)]
        made.append(
            f'<rect x="{_LEFT}" y="{y}" width="{_x(value) - _LEFT:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{_x(value) + 6:.1f}" y="{y + 14}">{value:.1f}</text>'
        )
    return "".join(made)


def _x(value: float) -> float:
    return round(_LEFT + (value - 1) / 9 * 390, 1)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
