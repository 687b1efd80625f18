"""Write the charts of a question into the report."""

from collections.abc import Iterator
from html import escape

from mavera.focus_groups.canvas import Chart, write_inline
from mavera.focus_groups.figures import Figure, list_figures
from mavera.focus_groups.headlines import describe_figures, format_score
from mavera.focus_groups.schemas import QuestionResult
from mavera.focus_groups.study import Question

_BAR = '<span class="bar"></span> estimate'
_WHISKER = ' <span class="whisker"></span> with other personas'
_DIAMOND = ' <span class="diamond"></span> without personas'


def draw_question(question: Question, result: QuestionResult) -> Iterator[str]:
    """Yield the charts of a question as HTML, none if nothing was answered."""
    if isinstance(result.score, float):
        yield _write_score(result)
    for figure in list_figures(question, result):
        yield from _write_figure(figure)
    if isinstance(result.turf, list) and result.turf:
        yield from _write_reach(result)
    if isinstance(result.by_cell, list):
        yield from _write_arms(result)


def _write_figure(figure: Figure) -> Iterator[str]:
    if figure.title:
        yield f"<h3>{escape(figure.title)}</h3>"
    yield _frame(figure.chart)
    if figure.has_intervals or figure.has_baseline:
        marks = (_WHISKER if figure.has_intervals else "") + (_DIAMOND if figure.has_baseline else "")
        yield f'<p class="legend">{_BAR}{marks}</p>'
    if figure.ends is not None:
        low, high = figure.ends
        yield f'<p class="ends"><span>{escape(low)}</span><span>{escape(high)}</span></p>'
    if figure.facts:
        yield f'<p class="numbers">{escape(figure.facts)}</p>'


def _write_score(result: QuestionResult) -> str:
    span = result.simulation_interval
    ends = f"{format_score(span[0])} to {format_score(span[1])}" if span else ""
    around = f"<span>{ends} with other personas</span>" if span else ""
    return f'<p class="score">{format_score(result.score or 0)} {around}</p>'


def _write_reach(result: QuestionResult) -> Iterator[str]:
    yield "<h3>Reach of combinations (assumed)</h3><table class='plain'>"
    yield "<tr><th>Options</th><th>Reach</th><th>Ticked of them</th></tr>"
    for one in result.turf or ():
        items = escape(" + ".join(one.items))
        yield f"<tr><td>{items}</td><td>{one.reach:.0%}</td><td>{one.frequency:.2f}</td></tr>"
    yield "</table>"


def _write_arms(result: QuestionResult) -> Iterator[str]:
    """Yield a small table of the monadic cells: the headline figure of each."""
    rows = []
    for arm in result.by_cell or ():
        headline = describe_figures(arm)
        if headline is not None:
            rows.append((arm.cell, headline))
    if len(rows) < 2:
        return
    yield "<table class='plain arms'><tr><th>Cell</th><th>Result</th></tr>"
    for cell, text in rows:
        yield f"<tr><td>{escape(cell)}</td><td>{escape(text)}</td></tr>"
    yield "</table>"


def _frame(chart: Chart) -> str:
    return f"<figure>{write_inline(chart)}</figure>"
