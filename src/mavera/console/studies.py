"""
Studies: the list, one study with its results, its files, its charts, its links, and two waves side by side.

    w/{id}/studies                     newest first, page by page
    w/{id}/studies/{study}             progress, results, warnings and method; ?persona= and ?cell= filter
    w/{id}/studies/{study}/answers/…   every verbatim of a question, page by page
    w/{id}/studies/{study}/respondents the drawn rows, page by page
    w/{id}/studies/compare             two waves, question by question

`study_forms.py` makes studies, `study_progress.py` follows one that runs, `shared.py` is the page of a link.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.plans import Scope
from mavera.console.forms import read_form
from mavera.console.home import address_of
from mavera.console.study_results import Filter, name_people, read_question, read_study, share_of, write_chart
from mavera.console.visit import Page, Visit
from mavera.errors import APIError, InvalidRequest, NotFound
from mavera.focus_groups.canvas import write_inline
from mavera.focus_groups.charts import Stack, draw_heat_map
from mavera.focus_groups.repository import Progress, StudyRow
from mavera.focus_groups.schemas import Verbatim
from mavera.focus_groups.shares import DAYS_DEFAULT, path_of
from mavera.focus_groups.shown_texts import show_question, show_text

SCOPE: Scope = "focus_groups"
PAGE_LENGTH = 25
ROWS_A_PAGE = 50
FORMATS = {
    "html": "Report (HTML)",
    "xlsx": "Excel tables",
    "csv": "CSV with codebook",
    "sav": "SPSS with syntax",
    "triples": "Triple-S 2.0",
    "json": "Results as JSON",
    "cells": "Raw cells, JSON lines",
}
_PATH = "/console/w/{workspace_id}/studies"
_MOST_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class ListedStudy:
    row: StudyRow
    progress: Progress
    share: int


@dataclass(frozen=True, slots=True)
class ComparedView:
    """A question of two studies: its answers as a chart, and every figure in a table."""

    text: str
    chart: Markup | None
    lines: Sequence[Any]
    row_id: str | None


async def show_studies(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    service = visit.services.focus_groups.service
    cursor = visit.request.query_params.get("before", "")[:64] or None
    rows, following = await service.list_page(visit.principal, PAGE_LENGTH, cursor)
    counts = await service.count_progress_of(rows)
    studies = [ListedStudy(row, counts[row.id], share_of(counts[row.id])) for row in rows]
    return visit.render("studies/list.html", studies=studies, next_before=following)


async def show_study(visit: Visit) -> Response:
    row = await find_study(visit)
    shares, _ = await visit.services.focus_groups.shares.list_of(row, 50)
    return await _render_study(visit, row, shares=shares)


async def show_verbatims(visit: Visit) -> Response:
    """Show every verbatim of a question, filtered by persona and cell, page by page."""
    row = await find_study(visit)
    chosen = Filter.of(visit.request)
    question_id = visit.request.path_params["question_id"]
    question, result = await read_question(visit.services, row, chosen, question_id)
    verbatims: list[Verbatim] = result.verbatims if isinstance(result.verbatims, list) else []
    start = read_place(visit.request)
    return visit.render(
        "studies/verbatims.html",
        row=row,
        question=show_question(row.study, question),
        names=name_people(visit.services, row),
        chosen=chosen,
        cells=[arm.id for arm in row.study.cells],
        verbatims=verbatims[start : start + ROWS_A_PAGE],
        start=start,
        total=len(verbatims),
        following=start + ROWS_A_PAGE if len(verbatims) > start + ROWS_A_PAGE else None,
    )


async def show_respondents(visit: Visit) -> Response:
    """Show the drawn rows of a study, page by page."""
    row = await find_study(visit)
    desk = visit.services.focus_groups
    progress = await desk.service.count_progress(row)
    if not progress.answered:
        raise NotFound("This study has no answers yet.")
    start = read_place(visit.request)
    rows, total = await desk.results.page_respondents(
        row, progress, screened=False, start=start, limit=ROWS_A_PAGE
    )
    return visit.render(
        "studies/respondents.html",
        row=row,
        texts={one.id: show_text(row.study, one.text) for one in row.study.questions},
        names=name_people(visit.services, row),
        rows=rows,
        start=start,
        total=total,
        following=start + ROWS_A_PAGE if total > start + ROWS_A_PAGE else None,
    )


async def export_study(visit: Visit) -> Response:
    row = await find_study(visit)
    kind = visit.request.query_params.get("format", "")
    if kind not in FORMATS:
        raise NotFound("There is no such kind of file.")
    desk = visit.services.focus_groups
    progress = await desk.service.count_progress(row)
    if not progress.answered:
        raise InvalidRequest("This study has no answers yet. Wait for its first cells.")
    file = await desk.results.export(row, progress, kind)
    headers = {"content-disposition": f'attachment; filename="{file.name}"'}
    return Response(file.content, media_type=file.media_type, headers=headers)


async def show_chart(visit: Visit) -> Response:
    """Return the file of one chart, with title, base and note, in light colours."""
    row = await find_study(visit)
    key = visit.request.path_params["key"]
    return to_svg_file(
        await write_chart(visit.services, row, Filter.of(visit.request), key), f"{row.id}-{key}"
    )


def to_svg_file(drawing: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}.svg"'}
    return Response(drawing, media_type="image/svg+xml", headers=headers)


async def cancel_study(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    study_id = visit.request.path_params["study_id"]
    await visit.services.focus_groups.service.cancel(visit.principal, study_id)
    return visit.redirect("studies", study_id)


async def retry_study(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    study_id = visit.request.path_params["study_id"]
    await visit.services.focus_groups.service.retry(visit.principal, study_id)
    return visit.redirect("studies", study_id)


async def delete_study(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    await visit.services.focus_groups.service.delete(visit.principal, visit.request.path_params["study_id"])
    return visit.redirect("studies")


async def share_study(visit: Visit) -> Response:
    """Make a link, and answer with the page that shows it once."""
    row = await find_study(visit)
    form = await read_form(visit.request)
    shares = visit.services.focus_groups.shares
    error, url = None, None
    try:
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.redirect("studies", row.id)
        days = form.whole_number("days", "The number of days") or DAYS_DEFAULT
        made = await shares.create(visit.principal, row.id, days=days)
        url = address_of(visit) + path_of(made.secret)
    except APIError as refusal:
        error = refusal
    return await _render_study(
        visit, row, shares=(await shares.list_of(row, 50))[0], url=url, error=error, status=_status_of(error)
    )


async def revoke_share(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    study_id, share_id = (visit.request.path_params[name] for name in ("study_id", "share_id"))
    await visit.services.focus_groups.shares.revoke(visit.principal, study_id, share_id)
    return visit.redirect("studies", study_id)


async def compare_studies(visit: Visit) -> Response:
    """Put two waves side by side. Without two names, ask which ones."""
    visit.principal.require(SCOPE)
    desk, query = visit.services.focus_groups, visit.request.query_params
    chosen = [query.get(name, "")[:64] for name in ("first", "second")]
    if not all(chosen) or chosen[0] == chosen[1]:
        rows, _ = await desk.service.list_page(visit.principal, 100, None)
        same = bool(all(chosen) and chosen[0] == chosen[1])
        return visit.render("studies/choose.html", rows=rows, chosen=chosen, same=same)
    rows = [await desk.service.get(visit.principal, one) for one in chosen]
    found = await desk.results.compare(rows)
    return visit.render(
        "studies/compare.html",
        studies=found.studies,
        test=found.test,
        notices=found.notices,
        not_compared=found.not_compared,
        questions=[_view_comparison(one, found.studies) for one in found.questions],
    )


def _view_comparison(question: Any, studies: Sequence[Any]) -> ComparedView:
    answers = [line for line in question.lines if line.kind in ("answer", "missing")]
    chart = None
    if 1 < len(answers) <= _MOST_COLUMNS:
        stacks = [
            Stack(f"{one.letter} · {one.name}", tuple(line.values[at] or 0.0 for line in answers))
            for at, one in enumerate(studies)
        ]
        drawn = draw_heat_map(stacks, [line.label for line in answers], question.text)
        chart = Markup(write_inline(drawn))  # noqa: S704 - the canvas escapes every text
    return ComparedView(question.text, chart, question.lines, question.row_id)


async def find_study(visit: Visit) -> StudyRow:
    """Return the study of the address. Raises Forbidden and NotFound."""
    visit.principal.require(SCOPE)
    row: StudyRow = await visit.services.focus_groups.service.get(
        visit.principal, visit.request.path_params["study_id"]
    )
    return row


def read_place(request: Request) -> int:
    """Return the row at which a page starts."""
    text = request.query_params.get("after", "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


async def _render_study(
    visit: Visit,
    row: StudyRow,
    *,
    shares: Sequence[Any],
    url: str | None = None,
    error: APIError | None = None,
    status: int = 200,
) -> Response:
    view = await read_study(visit.services, row, Filter.of(visit.request))
    return visit.render(
        "studies/study.html",
        view=view,
        share=share_of(view.progress),
        formats=FORMATS,
        shares=shares,
        url=url,
        error=error,
        form_id=secrets.token_urlsafe(12),
        days=DAYS_DEFAULT,
        status=status,
        headers={"cache-control": "no-store"} if url else None,
    )


def _status_of(error: APIError | None) -> int:
    return 201 if error is None else error.status


ROUTES = (
    Page("GET", _PATH, show_studies),
    Page("GET", f"{_PATH}/compare", compare_studies),
    Page("GET", f"{_PATH}/{{study_id}}", show_study),
    Page("GET", f"{_PATH}/{{study_id}}/answers/{{question_id}}", show_verbatims),
    Page("GET", f"{_PATH}/{{study_id}}/respondents", show_respondents),
    Page("GET", f"{_PATH}/{{study_id}}/export", export_study),
    Page("GET", f"{_PATH}/{{study_id}}/charts/{{key}}", show_chart),
    Page("POST", f"{_PATH}/{{study_id}}/cancel", cancel_study),
    Page("POST", f"{_PATH}/{{study_id}}/retry", retry_study),
    Page("POST", f"{_PATH}/{{study_id}}/delete", delete_study),
    Page("POST", f"{_PATH}/{{study_id}}/shares", share_study),
    Page("POST", f"{_PATH}/{{study_id}}/shares/{{share_id}}/revoke", revoke_share),
)
