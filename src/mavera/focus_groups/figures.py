"""
Choose and draw the charts of a question, each with a table of the same numbers.

    list_figures    the charts of a question: answers, nets, means, utilities, demand
    list_segments   the answers of each persona or monadic cell, side by side

The report and the console show the same figures. Everything comes from the wire objects of `schemas.py`, so
no library of statistics is loaded here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mavera.focus_groups.canvas import Chart, Paint
from mavera.focus_groups.charts import (
    DETRACTORS,
    MISSING,
    NAMES,
    PASSIVES,
    PROMOTERS,
    RAMP,
    Bar,
    Stack,
    draw_bars,
    draw_columns,
    draw_curve,
    draw_heat_map,
    draw_points,
    draw_stacks,
    pick_paints,
)
from mavera.focus_groups.headlines import NOTHING
from mavera.focus_groups.schemas import Figures, PartResult, QuestionResult, Range
from mavera.focus_groups.study import (
    NPS,
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    Question,
    Ranking,
    YesNo,
    ends_of,
    has_scale,
    scale_of,
)

MOST_COLUMNS = 11
_LONG_LABEL = 14
_GROUPS = ("Detractors (0–6)", "Passives (7–8)", "Promoters (9–10)")


@dataclass(frozen=True, slots=True)
class Figure:
    """
    A chart and its table. `key` is unique within a study. `title` is "" for the main chart of a question.

    `has_intervals` and `has_baseline` say which marks a legend has to explain. `ends` are the words at the
    two ends of a scale, and `facts` a sentence of further numbers.
    """

    key: str
    title: str
    chart: Chart
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    has_intervals: bool = False
    has_baseline: bool = False
    ends: tuple[str, str] | None = None
    facts: str = ""


def list_figures(question: Question, result: QuestionResult) -> tuple[Figure, ...]:
    """Return the figures of a question, none if nothing was answered or the answers are words."""
    return tuple(_list_figures(question, result))


def _list_figures(question: Question, result: QuestionResult) -> Iterator[Figure]:
    if isinstance(result.model, dict):
        yield from _list_models(question, result, result.model)
        return
    match question:
        case Matrix():
            yield from _list_matrix(question, result)
        case NPS():
            yield from _list_nps(question, result)
            yield from _list_scale(question, result)
        case Ranking():
            yield from _list_ranking(result)
        case YesNo() | MultipleChoice():
            yield from _list_choice(question, result)
        case MaxDiff() | Conjoint():
            yield from _list_shown(result)
        case _:
            yield from _list_scale(question, result)


def list_segments(question: Question, result: QuestionResult, names: Mapping[str, str]) -> tuple[Figure, ...]:
    """
    Return the answers by persona and by monadic cell. A segment without an answer is left out.

    `names` has the names of personas by their ids. Questions without one distribution have no segments.
    """
    found = []
    if isinstance(result.by_persona, list):
        people = [(names.get(one.persona_id, one.persona_id), one) for one in result.by_persona]
        found.append(_draw_segments(question, result, "personas", "By persona", people))
    if isinstance(result.by_cell, list):
        cells = [(one.cell, one) for one in result.by_cell]
        found.append(_draw_segments(question, result, "cells", "By cell", cells))
    return tuple(one for one in found if one is not None)


def _draw_segments(
    question: Question,
    result: QuestionResult,
    kind: str,
    title: str,
    segments: Sequence[tuple[str, Figures]],
) -> Figure | None:
    """Return one bar of 100 % for each segment, or a heat map where answers do not add up to 100 %."""
    known = [(name, one) for name, one in segments if isinstance(one.distribution, dict)]
    if len(known) < 2 or isinstance(question, MaxDiff | Conjoint):
        return None
    what = f"{title}: {result.text}"
    if isinstance(question, NPS):
        labels: tuple[str, ...] = _GROUPS
        stacks = [
            Stack(name, (_number(one.detractors), _number(one.passives), _number(one.promoters)))
            for name, one in known
        ]
        chart = draw_stacks(stacks, labels, what, (DETRACTORS, PASSIVES, PROMOTERS))
    else:
        labels = tuple(dict.fromkeys(label for _, one in known for label in _shares_of(one)))
        stacks = [
            Stack(name, tuple(_shares_of(one).get(label, 0) for label in labels)) for name, one in known
        ]
        paints = _paint_answers(question, len(labels))
        chart = draw_stacks(stacks, labels, what, paints) if paints else draw_heat_map(stacks, labels, what)
    rows = [(stack.label, *map(_write_share, stack.shares)) for stack in stacks]
    return Figure(
        f"{result.question_id}-{kind}", title, chart, (title[3:].capitalize(), *labels), tuple(rows)
    )


def _paint_answers(question: Question, count: int) -> tuple[Paint, ...]:
    """Return a colour for each answer. None can be told apart if there are many, or if they overlap."""
    if not has_scale(question):
        return ()
    missing = len(scale_of(question).missing)
    known = count - missing
    if isinstance(question, YesNo):
        return (PROMOTERS, PASSIVES, *(MISSING,) * missing)[:count]
    if isinstance(question, MultipleChoice):
        return (*NAMES[:known], *(MISSING,) * missing) if known <= len(NAMES) else ()
    return (*pick_paints(known), *(MISSING,) * missing) if known <= len(RAMP) else ()


def _list_choice(question: Question, result: QuestionResult) -> Iterator[Figure]:
    bars = _list_bars(result, "distribution")
    if not bars:
        return
    yield _make_bars(result.question_id, "", draw_bars(bars, result.text), bars, "Answer")
    nets = _list_bars(result, "nets")
    if nets:
        chart = draw_bars(nets, f"Nets: {result.text}")
        yield _make_bars(f"{result.question_id}-nets", "Nets", chart, nets, "Net")


def _list_nps(question: Question, result: QuestionResult) -> Iterator[Figure]:
    if not isinstance(result.score, float):
        return
    shares = (_number(result.detractors), _number(result.passives), _number(result.promoters))
    chart = draw_stacks(
        [Stack("", shares)],
        _GROUPS,
        f"Detractors, passives, promoters: {result.text}",
        (DETRACTORS, PASSIVES, PROMOTERS),
    )
    rows = tuple((name, _write_share(share)) for name, share in zip(_GROUPS, shares, strict=True))
    yield Figure(f"{result.question_id}-groups", "", chart, ("Group", "Share"), rows)


def _list_scale(question: Question, result: QuestionResult) -> Iterator[Figure]:
    bars = _list_bars(result, "distribution")
    if not bars:
        return
    is_long = any(len(bar.label) > _LONG_LABEL for bar in bars) or len(bars) > MOST_COLUMNS + 2
    chart = draw_bars(bars, result.text) if is_long else draw_columns(bars, result.text)
    yield _make_bars(
        result.question_id, "", chart, bars, "Answer", ends=ends_of(question), facts=_describe_scale(result)
    )


def _describe_scale(result: Figures) -> str:
    facts = []
    if isinstance(result.mean, float):
        facts.append(f"Mean {result.mean:.2f}")
    if isinstance(result.std_dev, float):
        facts.append(f"standard deviation {result.std_dev:.2f}")
    if isinstance(result.boxes, dict):
        facts += [f"{name.lower()} {share:.0%}" for name, share in result.boxes.items()]
    return f"{'; '.join(facts)}." if facts else ""


def _list_matrix(question: Matrix, result: QuestionResult) -> Iterator[Figure]:
    rows = [row for row in result.rows or () if isinstance(row.mean, float)]
    if not rows:
        return
    bars = [Bar(row.text, _number(row.mean), row.simulation_interval, _find_base_mean(row)) for row in rows]
    chart = draw_bars(bars, f"Means: {result.text}", is_share=False, top=float(question.points))
    yield _make_bars(
        f"{result.question_id}-means", "Means", chart, bars, "Row", is_share=False, ends=ends_of(question)
    )
    labels = scale_of(question).answers
    stacks = [Stack(row.text, tuple(_shares_of(row).get(label, 0) for label in labels)) for row in rows]
    means = [row.mean if isinstance(row.mean, float) else None for row in rows]
    yield Figure(
        result.question_id,
        "Answers",
        draw_heat_map(stacks, labels, f"Answers: {result.text}", means),
        ("Row", *labels, "Mean"),
        tuple(
            (row.text, *map(_write_share, stack.shares), f"{_number(row.mean):.2f}")
            for row, stack in zip(rows, stacks, strict=True)
        ),
    )


def _list_ranking(result: QuestionResult) -> Iterator[Figure]:
    bars = sorted(_list_bars(result, "distribution"), key=lambda bar: -bar.value)
    if not bars:
        return
    facts = ""
    if isinstance(result.mean_rank, dict):
        ranks = sorted(result.mean_rank.items(), key=lambda pair: pair[1])
        facts = f"Mean rank (1 is best): {'; '.join(f'{item} {rank:.2f}' for item, rank in ranks)}."
    chart = draw_bars(bars, f"First choice: {result.text}")
    yield _make_bars(result.question_id, "First choice", chart, bars, "Item", facts=facts)


def _list_shown(result: QuestionResult) -> Iterator[Figure]:
    """Yield how often items or levels were chosen when they were shown: the figures without a model."""
    groups = (("best", "Chosen as best when shown", result.best), ("worst", "Chosen as worst", result.worst))
    for key, title, shares in (*groups, ("level", "Chosen when shown", result.chosen_when_shown)):
        if isinstance(shares, dict) and shares:
            bars = [Bar(label, share) for label, share in shares.items()]
            chart = draw_bars(bars, f"{title}: {result.text}")
            yield _make_bars(f"{result.question_id}-{key}", title, chart, bars, "Item")


def _list_models(question: Question, result: QuestionResult, model: Mapping[str, Any]) -> Iterator[Figure]:
    key = result.question_id
    if "items" in model:
        ordered = sorted(model["items"], key=lambda one: -float(one["utility"]["value"]))
        shares = [_worth_bar(one["item"], one["share_of_preference"]) for one in ordered]
        title = "Share of preference"
        yield _make_bars(key, title, draw_bars(shares, f"{title}: {result.text}"), shares, "Item")
        points = [_worth_bar(one["item"], one["utility"]) for one in ordered]
        chart = draw_points(points, f"Utilities: {result.text}")
        yield _make_bars(f"{key}-utilities", "Utilities", chart, points, "Item", is_share=False)
        return
    bars = [_worth_bar(one["attribute"], one["importance"]) for one in model["attributes"]]
    chart = draw_bars(bars, f"Importance of attributes: {result.text}")
    yield _make_bars(key, "Importance", chart, bars, "Attribute")
    for at, one in enumerate(model["attributes"], 1):
        yield _draw_part_worths(f"{key}-worths{at}", one)
    if model["demand"] and isinstance(question, Conjoint):
        yield _draw_demand(f"{key}-demand", question, model["demand"])


def _draw_part_worths(key: str, attribute: Mapping[str, Any]) -> Figure:
    name, levels = attribute["attribute"], attribute["levels"]
    points = [_worth_bar(level["level"], level["part_worth"]) for level in levels]
    paid = [level for level in levels if level["willingness_to_pay"] is not None]
    facts = ""
    if len(paid) > 1:
        worths = ", ".join(
            f"{level['level']} {_write_amount(level['willingness_to_pay'])}" for level in paid[1:]
        )
        facts = f"Willingness to pay, compared with {levels[0]['level']}: {worths}."
    title = f"Part-worths: {name}"
    return _make_bars(key, title, draw_points(points, title), points, "Level", is_share=False, facts=facts)


def _draw_demand(key: str, question: Conjoint, demand: Sequence[Mapping[str, Any]]) -> Figure:
    prices = next(one.prices for one in question.attributes if one.name == question.price)
    bars = [_worth_bar(one["price"], one["share"]) for one in demand]
    curve = sorted(zip(prices, bars, strict=True), key=lambda pair: pair[0])
    against = "choosing none" if question.none else "the same product at the mean price"
    title = f"An average product against {against}, by price"
    return _make_bars(key, title, draw_curve(curve, title), [bar for _, bar in curve], "Price")


def _make_bars(
    key: str,
    title: str,
    chart: Chart,
    bars: Sequence[Bar],
    what: str,
    *,
    is_share: bool = True,
    ends: tuple[str, str] | None = None,
    facts: str = "",
) -> Figure:
    """Return a figure whose table has the value of each bar, and any interval and baseline."""
    write = _write_share if is_share else _write_number
    has_intervals = any(bar.interval for bar in bars)
    has_baseline = any(bar.baseline is not None for bar in bars)
    head = [what, "Share" if is_share else "Value"]
    head += ["With other personas"] if has_intervals else []
    head += ["Without personas"] if has_baseline else []
    rows = []
    for bar in bars:
        row = [bar.label, write(bar.value)]
        if has_intervals:
            row.append(write_range(bar.interval, is_share=is_share))
        if has_baseline:
            row.append(NOTHING if bar.baseline is None else write(bar.baseline))
        rows.append(tuple(row))
    return Figure(key, title, chart, tuple(head), tuple(rows), has_intervals, has_baseline, ends, facts)


def write_range(span: Range | None, *, is_share: bool) -> str:
    """Return an interval in words, or a dash if there is none."""
    write = _write_share if is_share else _write_number
    return NOTHING if span is None else f"{write(span[0])} to {write(span[1])}"


def _list_bars(result: QuestionResult, member: str) -> list[Bar]:
    shares = getattr(result, member)
    if not isinstance(shares, dict):
        return []
    spans = result.intervals if isinstance(result.intervals, dict) else {}
    figures = result.baseline.no_persona if result.baseline else None
    found = getattr(figures, member, None) if figures is not None else None
    baseline = found if isinstance(found, dict) else {}
    return [Bar(label, share, spans.get(label), baseline.get(label)) for label, share in shares.items()]


def _find_base_mean(row: PartResult) -> float | None:
    figures = row.baseline.no_persona if row.baseline else None
    return figures.mean if figures is not None and isinstance(figures.mean, float) else None


def _worth_bar(label: str, worth: Mapping[str, Any]) -> Bar:
    span = worth["simulation_interval"]
    return Bar(label, float(worth["value"]), None if span is None else (span[0], span[1]))


def _shares_of(figures: Figures) -> dict[str, float]:
    return figures.distribution if isinstance(figures.distribution, dict) else {}


def _number(value: object) -> float:
    return value if isinstance(value, float) else 0.0


def _write_share(share: float) -> str:
    return f"{share:.0%}"


def _write_number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _write_amount(estimate: Mapping[str, Any]) -> str:
    """Return an amount of money with its interval. From 100 on, it has no decimals."""
    low, high = estimate["simulation_interval"] or (estimate["value"],) * 2
    form = "{:+,.0f}" if max(abs(low), abs(high)) >= 100 else "{:+.2f}"
    between = f" ({form.format(low)} to {form.format(high)})" if low < high else ""
    return f"{form.format(estimate['value'])}{between}".replace("-", "−")
