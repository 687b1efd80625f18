"""
The results of a study as its page shows them: a chart and a table for each figure, with base and warnings.

    StudyRow  →  read_study  →  StudyView(questions: QuestionView(figures, segments, quotes, flags …))

The page of a link that shares a study is made from the same view. Filters by persona and cell give the same
view of a part of the audience.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup
from starlette.requests import Request

from mavera.core.text import format_count
from mavera.errors import NotFound
from mavera.focus_groups import repository
from mavera.focus_groups.canvas import write_inline, write_standalone
from mavera.focus_groups.explanations import TYPE_NAMES, describe_base, explain_flag
from mavera.focus_groups.figures import Figure, list_figures, list_segments
from mavera.focus_groups.headlines import Headline, describe_result
from mavera.focus_groups.repository import Progress, StudyRow
from mavera.focus_groups.schemas import MethodResult, QuestionResult, SampleResult, Verbatim
from mavera.focus_groups.study import Question, Study
from mavera.services import Services

MOST_QUOTES = 4
_LEGEND = "Bars: estimate. Lines: interval with other personas. Diamonds: without personas."


@dataclass(frozen=True, slots=True)
class Filter:
    """The part of the audience that a page shows. Empty texts mean everybody."""

    persona: str = ""
    cell: str = ""

    @classmethod
    def of(cls, request: Request) -> "Filter":
        query = request.query_params
        return cls(query.get("persona", "")[:64], query.get("cell", "")[:64])

    @property
    def is_set(self) -> bool:
        return bool(self.persona or self.cell)

    @property
    def query(self) -> str:
        """The query of the same page with this filter, beginning with `?`, or ""."""
        given = {name: value for name, value in (("persona", self.persona), ("cell", self.cell)) if value}
        return f"?{urlencode(given)}" if given else ""


@dataclass(frozen=True, slots=True)
class FigureView:
    """A figure with its drawing."""

    figure: Figure
    drawing: Markup


@dataclass(frozen=True, slots=True)
class QuestionView:
    number: int
    kind: str
    question: Question
    result: QuestionResult
    headline: Headline
    figures: tuple[FigureView, ...]
    segments: tuple[FigureView, ...]
    base: str
    flags: tuple[str, ...]
    quotes: tuple[Verbatim, ...]
    distinct: int
    """The number of verbatims that differ."""


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study with its results so far. Without answers, `questions` is empty and `method` is None."""

    row: StudyRow
    progress: Progress
    names: Mapping[str, str]
    filter: Filter
    questions: tuple[QuestionView, ...]
    sample: SampleResult | None
    method: MethodResult | None
    notices: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(arm.id for arm in self.row.study.cells)


async def read_study(services: Services, row: StudyRow, chosen: Filter) -> StudyView:
    """Return the view of a study. Raises InvalidRequest if the filter names nobody of the study."""
    desk = services.focus_groups
    progress = await desk.service.count_progress(row)
    names = name_people(services, row)
    if not progress.answered:
        return StudyView(row, progress, names, chosen, (), None, None, row.notices)
    results = await desk.results.compute(row, progress)
    found: Sequence[Any] = results["results"]
    if chosen.is_set:
        found = await desk.results.compute_group(
            row, progress, _one_or_none(chosen.persona), _one_or_none(chosen.cell)
        )
    questions = await desk.results.keep(
        row, progress, ("view", chosen), lambda: _view_questions(row.study, found, names)
    )
    return StudyView(
        row=row,
        progress=progress,
        names=names,
        filter=chosen,
        questions=questions,
        sample=msgspec.convert(results["sample"], SampleResult),
        method=msgspec.convert(results["method"], MethodResult),
        notices=tuple(results["notices"]),
    )


async def read_question(
    services: Services, row: StudyRow, chosen: Filter, question_id: str
) -> tuple[Question, QuestionResult]:
    """Return one question with its result. Raises NotFound if the study lacks it or has no answers."""
    desk = services.focus_groups
    progress = await desk.service.count_progress(row)
    place = next((n for n, one in enumerate(row.study.questions) if one.id == question_id), None)
    if place is None or not progress.answered:
        raise NotFound("This study has no such question, or no answers yet.")
    if chosen.is_set:
        found = await desk.results.compute_group(
            row, progress, _one_or_none(chosen.persona), _one_or_none(chosen.cell)
        )
    else:
        found = (await desk.results.compute(row, progress))["results"]
    return row.study.questions[place], msgspec.convert(found[place], QuestionResult)


async def write_chart(services: Services, row: StudyRow, chosen: Filter, key: str) -> str:
    """Return the file of one chart, for a slide. Raises NotFound if there is no such chart."""
    names = name_people(services, row)
    for question in row.study.questions:
        if key != question.id and not key.startswith(f"{question.id}-"):
            continue
        question, result = await read_question(services, row, chosen, question.id)
        for figure in (*list_figures(question, result), *list_segments(question, result, names)):
            if figure.key == key:
                return write_standalone(
                    figure.chart,
                    base=_describe_part(row, result, chosen, names),
                    note=_write_note(row, figure),
                )
    raise NotFound("This study has no such chart.")


def name_people(services: Services, row: StudyRow) -> dict[str, str]:
    """Return the names of a study's personas by id, as they were when the study was made."""
    custom = {one.id: one.name for one in repository.restore(row.panel)}
    library = services.personas.library
    return {
        one: custom.get(one) or (library.get(one).name if library.has(one) else one) for one in row.panel.ids
    }


def _view_questions(
    study: Study, results: Sequence[Any], names: Mapping[str, str]
) -> tuple[QuestionView, ...]:
    """Return all questions with their charts. It takes some milliseconds for each question."""
    return tuple(
        _view_question(number, question, msgspec.convert(one, QuestionResult), names)
        for number, (question, one) in enumerate(zip(study.questions, results, strict=True), 1)
    )


def _view_question(
    number: int, question: Question, result: QuestionResult, names: Mapping[str, str]
) -> QuestionView:
    verbatims = result.verbatims if isinstance(result.verbatims, list) else []
    distinct = list({one.text: one for one in verbatims}.values())
    return QuestionView(
        number=number,
        kind=TYPE_NAMES.get(result.type, result.type),
        question=question,
        result=result,
        headline=describe_result(result, question.missing),
        figures=_draw(list_figures(question, result)),
        segments=_draw(list_segments(question, result, names)),
        base=describe_base(result),
        flags=tuple(explain_flag(flag) for flag in result.flags),
        quotes=_pick_quotes(distinct),
        distinct=len(distinct),
    )


def _draw(figures: Sequence[Figure]) -> tuple[FigureView, ...]:
    # The canvas escapes every text, so its SVG is safe as it is.
    return tuple(FigureView(one, Markup(write_inline(one.chart))) for one in figures)  # noqa: S704


def _pick_quotes(verbatims: Sequence[Verbatim]) -> tuple[Verbatim, ...]:
    """Return a few verbatims, of one persona each before a second one of anybody."""
    seen: dict[str, int] = {}
    ranked = []
    for one in verbatims:
        name = one.persona_id or ""
        seen[name] = seen.get(name, 0) + 1
        ranked.append((seen[name], one))
    return tuple(one for _, one in sorted(ranked, key=lambda pair: pair[0])[:MOST_QUOTES])


def _one_or_none(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _describe_part(row: StudyRow, result: QuestionResult, chosen: Filter, names: Mapping[str, str]) -> str:
    parts = [row.name, format_count(len(row.panel.ids), "persona"), f"rows in the file: {result.base:,}"]
    if chosen.persona:
        parts.append(f"only {names.get(chosen.persona, chosen.persona)}")
    if chosen.cell:
        parts.append(f"only cell {chosen.cell}")
    return " · ".join(parts)


def _write_note(row: StudyRow, figure: Figure) -> str:
    legend = f"{_LEGEND} " if figure.has_intervals or figure.has_baseline else ""
    facts = f"{figure.facts} " if figure.facts else ""
    method = f"{row.method.record}, {row.method.elicitation}, seed {row.study.sample.seed}"
    return f"{facts}{legend}Simulated answers, not a sample of people. {method}."


def share_of(progress: Progress) -> int:
    """Return how much of a study is done, in whole per cent."""
    return 100 * progress.done // max(progress.total, 1)
