"""Choose and draw the charts of a question for the report."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from mavera.focus_groups.exports.charts import (
    Bar,
    draw_bars,
    draw_columns,
    draw_curve,
    draw_points,
    draw_stack,
    pick_colours,
)
from mavera.focus_groups.headlines import describe_figures, format_score
from mavera.focus_groups.schemas import QuestionResult
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import NPS, Conjoint, Matrix, MultipleChoice, Question, Ranking, YesNo, ends_of

_LEGEND = (
    '<p class="legend"><span class="bar"></span> estimate <span class="whisker"></span> with other personas '
    '<span class="diamond"></span> without personas</p>'
)
MOST_COLUMNS = 11


def draw_question(simulation: Simulation, question: Question, result: QuestionResult) -> Iterator[str]:
    """Yield the charts of a question as HTML, none if nothing was answered."""
    if isinstance(result.model, dict):
        yield from _draw_model(question, result)
        return
    match question:
        case Matrix():
            yield from _draw_matrix(question, result)
        case NPS():
            yield from _draw_nps(question, result)
        case Ranking():
            yield from _draw_ranking(result)
        case YesNo() | MultipleChoice():
            yield from _draw_choice(result)
        case _:
            yield from _draw_scale(question, result)
    if isinstance(result.by_cell, list):
        yield from _draw_arms(result)


def _list_bars(
    shares: Mapping[str, float], result: QuestionResult, baseline: Mapping[str, float] | None
) -> list[Bar]:
    spans = result.intervals if isinstance(result.intervals, dict) else {}
    return [
        Bar(label, share, spans.get(label), None if baseline is None else baseline.get(label))
        for label, share in shares.items()
    ]


def _find_baseline(result: QuestionResult, member: str) -> Mapping[str, float] | None:
    figures = result.baseline.no_persona if result.baseline else None
    found = getattr(figures, member, None) if figures is not None else None
    return found if isinstance(found, dict) else None


def _draw_choice(result: QuestionResult) -> Iterator[str]:
    if not isinstance(result.distribution, dict):
        return
    bars = _list_bars(result.distribution, result, _find_baseline(result, "distribution"))
    yield _frame(draw_bars(bars, result.text)) + _LEGEND
    if isinstance(result.nets, dict):
        nets = _list_bars(result.nets, result, _find_baseline(result, "nets"))
        yield "<h3>Nets</h3>" + _frame(draw_bars(nets, f"Nets: {result.text}"))
    if isinstance(result.turf, list) and result.turf:
        yield "<h3>Reach of combinations (assumed)</h3><table class='plain'>"
        yield "<tr><th>Options</th><th>Reach</th><th>Ticked of them</th></tr>"
        for one in result.turf:
            items = escape(" + ".join(one.items))
            yield f"<tr><td>{items}</td><td>{one.reach:.0%}</td><td>{one.frequency:.2f}</td></tr>"
        yield "</table>"


def _draw_nps(question: Question, result: QuestionResult) -> Iterator[str]:
    if not isinstance(result.score, float) or not isinstance(result.distribution, dict):
        return
    parts = [
        ("Detractors (0–6)", _number(result.detractors)),
        ("Passives (7–8)", _number(result.passives)),
        ("Promoters (9–10)", _number(result.promoters)),
    ]
    span = result.simulation_interval
    ends = f"{format_score(span[0])} to {format_score(span[1])}" if span else ""
    around = f"<span>{ends} with other personas</span>" if span else ""
    yield f'<p class="score">{format_score(result.score)} {around}</p>'
    yield _frame(draw_stack(parts, "Detractors, passives, promoters", ("#D97706", "#E5E7EB", "#1D6FA5")))
    yield from _draw_scale(question, result)


def _draw_scale(question: Question, result: QuestionResult) -> Iterator[str]:
    if not isinstance(result.distribution, dict):
        return
    bars = _list_bars(result.distribution, result, _find_baseline(result, "distribution"))
    long = any(len(bar.label) > 14 for bar in bars) or len(bars) > MOST_COLUMNS + 2
    yield _frame(draw_bars(bars, result.text) if long else draw_columns(bars, result.text)) + _LEGEND
    ends = ends_of(question)
    if ends is not None:
        yield f'<p class="ends"><span>{escape(ends[0])}</span><span>{escape(ends[1])}</span></p>'
    facts = []
    if isinstance(result.mean, float):
        facts.append(f"Mean {result.mean:.2f}")
    if isinstance(result.std_dev, float):
        facts.append(f"standard deviation {result.std_dev:.2f}")
    if isinstance(result.boxes, dict):
        facts += [f"{name.lower()} {share:.0%}" for name, share in result.boxes.items()]
    if facts:
        yield f'<p class="numbers">{escape("; ".join(facts))}.</p>'


def _draw_matrix(question: Matrix, result: QuestionResult) -> Iterator[str]:
    rows = [row for row in result.rows or () if isinstance(row.mean, float)]
    if not rows:
        return
    bars = []
    for row in rows:
        figures = row.baseline.no_persona if row.baseline else None
        base = figures.mean if figures is not None and isinstance(figures.mean, float) else None
        bars.append(Bar(row.text, _number(row.mean), row.simulation_interval, base))
    chart = draw_bars(bars, f"Means: {question.text}", is_share=False, top=float(question.points))
    yield "<h3>Means</h3>" + _frame(chart) + _LEGEND
    for row in rows:
        if isinstance(row.distribution, dict):
            parts = list(row.distribution.items())
            labels = len(parts) - len(question.missing)
            colours = (*pick_colours(labels), *("#F3F4F6",) * len(question.missing))
            yield f"<h3>{escape(row.text)}</h3>" + _frame(draw_stack(parts, row.text, colours))


def _draw_ranking(result: QuestionResult) -> Iterator[str]:
    if not isinstance(result.distribution, dict):
        return
    bars = _list_bars(result.distribution, result, _find_baseline(result, "distribution"))
    ordered = sorted(bars, key=lambda bar: -bar.value)
    yield "<h3>First choice</h3>" + _frame(draw_bars(ordered, f"First choice: {result.text}")) + _LEGEND
    if isinstance(result.mean_rank, dict):
        ranks = "; ".join(
            f"{item} {rank:.2f}" for item, rank in sorted(result.mean_rank.items(), key=_by_value)
        )
        yield f'<p class="numbers">Mean rank (1 is best): {escape(ranks)}.</p>'


def _by_value(pair: tuple[str, float]) -> float:
    return pair[1]


def _draw_arms(result: QuestionResult) -> Iterator[str]:
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


def _draw_model(question: Question, result: QuestionResult) -> Iterator[str]:
    model: dict[str, Any] = result.model if isinstance(result.model, dict) else {}
    if "items" in model:
        ordered = sorted(model["items"], key=lambda one: -float(one["utility"]["value"]))
        bars = [_worth_bar(one["item"], one["share_of_preference"]) for one in ordered]
        yield "<h3>Share of preference</h3>" + _frame(draw_bars(bars, f"Share of preference: {result.text}"))
        yield _LEGEND.replace('<span class="diamond"></span> without personas', "")
        return
    importances = [_worth_bar(one["attribute"], one["importance"]) for one in model["attributes"]]
    yield "<h3>Importance</h3>" + _frame(draw_bars(importances, "Importance of attributes"))
    for one in model["attributes"]:
        points = [_worth_bar(level["level"], level["part_worth"]) for level in one["levels"]]
        yield f"<h3>Part-worths: {escape(one['attribute'])}</h3>" + _frame(
            draw_points(points, one["attribute"])
        )
        paid = [level for level in one["levels"] if level["willingness_to_pay"] is not None]
        if len(paid) > 1:
            first = escape(one["levels"][0]["level"])
            texts = ", ".join(
                f"{level['level']} {level['willingness_to_pay']['value']:+.2f}" for level in paid[1:]
            )
            yield f'<p class="numbers">Willingness to pay, compared with {first}: {escape(texts)}.</p>'
    if model["demand"] and isinstance(question, Conjoint):
        prices = next(one.prices for one in question.attributes if one.name == question.price)
        curve = sorted(
            zip(prices, (_worth_bar(one["price"], one["share"]) for one in model["demand"]), strict=True),
            key=lambda pair: pair[0],
        )
        against = "choosing none" if question.none else "the same product at the mean price"
        yield f"<h3>An average product against {against}, by price</h3>" + _frame(draw_curve(curve, "Demand"))


def _worth_bar(label: str, worth: dict[str, Any]) -> Bar:
    span = worth["simulation_interval"]
    return Bar(label, float(worth["value"]), None if span is None else (span[0], span[1]))


def _number(value: object) -> float:
    return value if isinstance(value, float) else 0.0


def _frame(chart: str) -> str:
    return f"<figure>{chart}</figure>"
