"""
/focus-groups: make studies, follow them, read them, and take their files.

    POST /focus-groups → checked, priced, credits held → 202 PENDING; a worker runs it
    GET  /focus-groups/{id} → progress, and results so far

Results are computed from the stored readings when they are asked for, in a thread, one study at a time.
"""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.plans import Scope
from mavera.accounts.principal import Principal
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_body
from mavera.api.http.idempotency import KEY_PARAMETER, keep_made
from mavera.api.http.json import json_bytes, json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.api.routes.focus_group_schemas import (
    AddHumanAnswers,
    ComparisonObject,
    CopyFocusGroup,
    CreateFocusGroup,
    DeletedFocusGroup,
    FocusGroupList,
    FocusGroupObject,
    ImportedStudy,
    ImportStudy,
    ProgressObject,
    QuoteObject,
    RawList,
    StudyMembers,
)
from mavera.errors import (
    APIError,
    BudgetExceeded,
    CreditsExhausted,
    Forbidden,
    InvalidRequest,
    NotFound,
    PersonaNotFound,
    RequestTooLarge,
    ServiceUnavailable,
    StillRunning,
    ValidationFailed,
)
from mavera.focus_groups.desk import load_study_module
from mavera.focus_groups.repository import Progress, StudyRow
from mavera.focus_groups.study import Study
from mavera.focus_groups.study_changes import change_members
from mavera.focus_groups.webhooks import make_secret

SCOPE: Scope = "focus_groups"
MAX_BODY_BYTES = 8 * 1024 * 1024
# The short members of a body, by the field of a study that they set.
_SHORT_NAMES = {
    "personas": "persona_ids",
    "sample.size": "sample_size",
    "sample.seed": "seed",
    "sample.weights": "weights",
}
_SECONDS_OF_ETA = 24 * 3600

_ID = Parameter("focus_group_id", "path", "The id of the study.", {"type": "string", "maxLength": 64})
_SCREENED = Parameter(
    "include", "query", "The value `screened` adds the rows of respondents whom a screener ended.",
    {"type": "string", "enum": ["screened"]},
)  # fmt: skip
_FORMAT = Parameter(
    "format",
    "query",
    "The file is of this kind.",
    {"type": "string", "enum": ["csv", "xlsx", "sav", "triples", "json", "cells", "html"]},
)
_IDS = Parameter(
    "ids",
    "query",
    "The studies have these 2 to 5 ids, separated by commas.",
    {"type": "string", "maxLength": 400},
)
_READ_ERRORS: tuple[type[APIError], ...] = (Forbidden, NotFound, ServiceUnavailable)
_MAKE_ERRORS: tuple[type[APIError], ...] = (
    Forbidden,
    InvalidRequest,
    RequestTooLarge,
    ValidationFailed,
    PersonaNotFound,
    CreditsExhausted,
    BudgetExceeded,
    StillRunning,
    ServiceUnavailable,
)


async def create_focus_group(request: Request) -> Response:
    """Make a study and start it, or say what it would cost."""
    principal = await authenticate(request, SCOPE)
    raw = await read_body(request, max_bytes=MAX_BODY_BYTES)
    body = await decode(raw, CreateFocusGroup)
    members = _members_of(body)
    with _naming_fields_of(body):
        study = await asyncio.to_thread(_check, members)
    return await _make(request, principal, raw, body, study, None)


async def copy_focus_group(request: Request) -> Response:
    """Make a study from another one with changes; cells that did not change are not asked again."""
    principal = await authenticate(request, SCOPE)
    raw = await read_body(request, max_bytes=MAX_BODY_BYTES)
    source = await _find(request, principal)
    body = await decode(raw, CopyFocusGroup)
    members = change_members(_to_members(source.study), _members_of(body))
    with _naming_fields_of(body):
        study = await asyncio.to_thread(_check, members)
    return await _make(request, principal, raw, body, study, source)


async def get_focus_group(request: Request) -> Response:
    """Return a study with its progress, and the results of the cells that have answers."""
    principal = await authenticate(request, SCOPE)
    row = await _find(request, principal)
    service = services_of(request).focus_groups.service
    progress = await service.count_progress(row)
    made = _to_object(row, progress)
    made.study = _to_members(row.study)
    if progress.answered:
        results = await services_of(request).focus_groups.results.compute(row, progress)
        for name in ("sample", "method", "results", "tables", "usage"):
            setattr(made, name, results[name])
        made.notices = list(results["notices"])
        if "human" in results:
            made.human = results["human"]
    return json_response(made)


async def list_focus_groups(request: Request) -> Response:
    """List the workspace's studies, newest first."""
    principal = await authenticate(request, SCOPE)
    check_query(request, LIST_PARAMETERS)
    service = services_of(request).focus_groups.service
    rows, cursor = await service.list_page(principal, limit_of(request), request.query_params.get("cursor"))
    counts = await service.count_progress_of(rows)
    data = [_to_object(row, counts[row.id]) for row in rows]
    return json_response(list_body(data, cursor))


async def list_responses(request: Request) -> Response:
    """List the drawn respondents of a study, a row for each."""
    principal = await authenticate(request, SCOPE)
    row = await _find(request, principal)
    check_query(request, (*LIST_PARAMETERS, _SCREENED))
    screened = _read_choice(request, _SCREENED) == "screened"
    progress = await services_of(request).focus_groups.service.count_progress(row)
    start, limit = _read_place(request), limit_of(request)
    rows, total = await services_of(request).focus_groups.results.page_respondents(
        row, progress, screened=screened, start=start, limit=limit
    )
    end = start + limit
    return json_response(list_body(rows, str(end) if end < total else None))


async def list_cells(request: Request) -> Response:
    """List the raw record of each cell: what was asked, in which orders, and what the model said."""
    principal = await authenticate(request, SCOPE)
    row = await _find(request, principal)
    check_query(request, LIST_PARAMETERS)
    start, limit = _read_place(request), limit_of(request)
    cells = await services_of(request).focus_groups.results.list_cells(row)
    end = start + limit
    return json_response(list_body(cells[start:end], str(end) if end < len(cells) else None))


async def export_focus_group(request: Request) -> Response:
    """Return a file of the study."""
    principal = await authenticate(request, SCOPE)
    row = await _find(request, principal)
    check_query(request, (_FORMAT,))
    kind = _read_choice(request, _FORMAT)
    if kind is None:
        raise InvalidRequest("Name the kind of file: ?format=xlsx, for instance.", param="format")
    progress = await services_of(request).focus_groups.service.count_progress(row)
    if not progress.answered:
        raise InvalidRequest("This focus group has no answers yet. Wait for its first cells.")
    file = await services_of(request).focus_groups.results.export(row, progress, kind)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"'}
    return Response(file.content, media_type=file.media_type, headers=headers)


async def compare_focus_groups(request: Request) -> Response:
    """Put studies side by side, question by question."""
    principal = await authenticate(request, SCOPE)
    check_query(request, (_IDS,))
    ids = [one for one in request.query_params.get("ids", "").split(",") if one]
    if not 2 <= len(set(ids)) <= 5 or len(set(ids)) != len(ids):
        raise InvalidRequest("Name 2 to 5 focus groups, each once: ?ids=fg_a,fg_b", param="ids")
    desk = services_of(request).focus_groups
    rows = [await desk.service.get(principal, one) for one in ids]
    return json_response(await desk.results.compare(rows))


async def cancel_focus_group(request: Request) -> Response:
    """Stop a study. It keeps the answers that it has, and gives back the credits of the others."""
    principal = await authenticate(request, SCOPE)
    service = services_of(request).focus_groups.service
    row = await service.cancel(principal, request.path_params["focus_group_id"])
    return json_response(_to_object(row, await service.count_progress(row)))


async def retry_focus_group(request: Request) -> Response:
    """Ask the failed cells of an ended study again, and those that were never asked."""
    principal = await authenticate(request, SCOPE)
    service = services_of(request).focus_groups.service
    row = await service.retry(principal, request.path_params["focus_group_id"])
    return json_response(_to_object(row, await service.count_progress(row)), status=202)


async def add_human_answers(request: Request) -> Response:
    """Keep answers of real people beside the simulation, and combine the two."""
    principal = await authenticate(request, SCOPE)
    row = await _find(request, principal)
    body = await decode(await read_body(request, max_bytes=MAX_BODY_BYTES), AddHumanAnswers)
    desk = services_of(request).focus_groups
    human = await desk.results.check_human(row, body.csv)
    row = await desk.service.add_human(principal, row.id, human)
    return json_response(_to_object(row, await desk.service.count_progress(row)))


async def import_study(request: Request) -> Response:
    """Turn a questionnaire of another program into a study, with a report of what was not carried over."""
    await authenticate(request, SCOPE)
    body = await decode(await read_body(request, max_bytes=MAX_BODY_BYTES), ImportStudy)
    module = load_study_module("imports")
    kind = module.detect_format(body.content) if body.format == "auto" else body.format
    try:
        imported = await asyncio.to_thread(module.import_study, body.content, kind)
    except module.ImportRefused as error:
        raise InvalidRequest(str(error), param="content") from error
    report = [str(note) for note in imported.report]
    return json_response(ImportedStudy(format=kind, study=imported.study, report=report))


async def delete_focus_group(request: Request) -> Response:
    """Remove a study and its answers. One that runs is stopped."""
    principal = await authenticate(request, SCOPE)
    study_id = request.path_params["focus_group_id"]
    await services_of(request).focus_groups.service.delete(principal, study_id)
    return json_response(DeletedFocusGroup(id=study_id))


async def _make(
    request: Request,
    principal: Principal,
    raw: bytes,
    body: StudyMembers,
    study: Study,
    source: StudyRow | None,
) -> Response:
    desk = services_of(request).focus_groups
    if body.webhook is not None:
        await desk.fetch.check(body.webhook, param="webhook")
    if body.dry_run:
        with _naming_fields_of(body):
            quote = await desk.service.quote(principal, study, source)
        return json_response(msgspec.convert(quote, QuoteObject, from_attributes=True))

    async def make() -> bytes:
        with _naming_fields_of(body):
            row = await desk.service.create(principal, study, webhook=body.webhook, source=source)
        made = _to_object(row, Progress(row.cells_total, row.cells_reused, 0))
        if row.webhook is not None:
            made.webhook_secret = make_secret(desk.secrets, row)
        return json_bytes(made)

    return await keep_made(request, principal, raw, make, status=202)


async def _find(request: Request, principal: Principal) -> StudyRow:
    service = services_of(request).focus_groups.service
    return await service.get(principal, request.path_params["focus_group_id"])


@contextmanager
def _naming_fields_of(body: StudyMembers) -> Iterator[None]:
    """Change the `param` of errors from a field of the study to the field of the body that set it."""
    try:
        yield
    except APIError as error:
        if error.param is not None:
            error.param = _name_field(body, error.param)
        raise


def _name_field(body: StudyMembers, path: str) -> str:
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    if body.study is not None and name in body.study:
        return f"study.{path}"
    short = next(
        (one for one in _SHORT_NAMES if path == one or path.startswith((f"{one}.", f"{one}["))), None
    )
    return path if short is None else _SHORT_NAMES[short] + path.removeprefix(short)


def _check(members: dict[str, Any]) -> Study:
    """Return the checked study. Raises ValidationFailed, whose message lists every fault."""
    module = load_study_module("study_file")
    faults = load_study_module("faults")
    try:
        study: Study = module.check_members(members).study
    except faults.StudyError as error:
        raise ValidationFailed(str(error), param=error.faults[0].path or None) from error
    return study


def _members_of(body: StudyMembers) -> dict[str, Any]:
    """Return the members of a study that a body names. Raises InvalidRequest if it names one twice."""
    short: dict[str, Any] = {}
    for name in ("name", "language", "model", "questions", "stimulus", "cells", "banner"):
        if getattr(body, name) is not None:
            short[name] = getattr(body, name)
    if body.persona_ids is not None:
        short["personas"] = list(body.persona_ids)
    sample = {"size": body.sample_size, "seed": body.seed, "weights": body.weights}
    sample = {name: value for name, value in sample.items() if value is not None}
    if sample:
        short["sample"] = sample
    if body.study is None:
        return short
    twice = sorted(short.keys() & body.study.keys())
    if twice:
        raise InvalidRequest(f"'{twice[0]}' stands in 'study' and beside it.", param=twice[0])
    return {**body.study, **short}


def _to_members(study: Study) -> dict[str, Any]:
    """Return a study as the members that describe it."""
    members: dict[str, Any] = msgspec.to_builtins(study)
    return members


def _to_object(row: StudyRow, progress: Progress) -> FocusGroupObject:
    return FocusGroupObject(
        id=row.id,
        name=row.name,
        status=row.status,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        progress=ProgressObject(
            done=progress.done,
            total=progress.total,
            failed=progress.failed,
            eta_seconds=_estimate_seconds(row, progress),
        ),
        error=row.error,
        limit_reached=row.limit_reached,
        source_id=row.source_id,
        usage={"credits_used": row.credits_charged + row.credits_due},
        notices=["Simulated answers. Not a sample of people.", *row.notices],
        study=UNSET,
    )


def _estimate_seconds(row: StudyRow, progress: Progress) -> int | None:
    """Return the seconds until the last cell, by the pace so far."""
    own = progress.done - row.cells_reused
    if row.status != "PROCESSING" or row.started_at is None or own <= 0:
        return None
    seconds = (time.time() - row.started_at) / own * (progress.total - progress.done)
    return min(_SECONDS_OF_ETA, round(seconds))


def _read_choice(request: Request, parameter: Parameter) -> str | None:
    value = request.query_params.get(parameter.name)
    allowed = parameter.schema["enum"]
    if value is not None and value not in allowed:
        raise ValidationFailed(
            f"'{parameter.name}' has to be one of {', '.join(allowed)}.", param=parameter.name
        )
    return value


def _read_place(request: Request) -> int:
    """Return the row at which a page starts. Raises ValidationFailed for a cursor that no page gave."""
    text = request.query_params.get("cursor", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValidationFailed("'cursor' is the next_cursor of the page before.", param="cursor")
    return int(text)


_TAG = "Focus groups"
OPERATIONS = (
    Operation(
        "POST",
        "/focus-groups",
        create_focus_group,
        "Run a study",
        _TAG,
        request=CreateFocusGroup,
        parameters=(KEY_PARAMETER,),
        example={
            "name": "Oat drink",
            "persona_ids": ["cmwqagwqp44qoe5wkq8j5u15r"],
            "questions": [{"id": "q1", "type": "yes_no", "text": "Do you drink oat milk?"}],
            "sample_size": 50,
        },
        response=FocusGroupObject,
        other_responses=(QuoteObject,),
        status=202,
        other_statuses={200: "The quote of a `dry_run`."},
        errors=_MAKE_ERRORS,
    ),
    Operation(
        "GET",
        "/focus-groups",
        list_focus_groups,
        "List studies",
        _TAG,
        response=FocusGroupList,
        parameters=LIST_PARAMETERS,
        errors=(Forbidden, InvalidRequest, NotFound, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "GET",
        "/focus-groups/compare",
        compare_focus_groups,
        "Compare studies",
        _TAG,
        response=ComparisonObject,
        parameters=(_IDS,),
        errors=(*_READ_ERRORS, InvalidRequest, ValidationFailed),
    ),
    Operation(
        "POST",
        "/focus-groups/import",
        import_study,
        "Import a questionnaire",
        _TAG,
        request=ImportStudy,
        example={"content": "type,text\nyes_no,Do you drink oat milk?\n", "format": "csv"},
        response=ImportedStudy,
        errors=(Forbidden, InvalidRequest, RequestTooLarge, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "GET",
        "/focus-groups/{focus_group_id}",
        get_focus_group,
        "Get a study",
        _TAG,
        response=FocusGroupObject,
        parameters=(_ID,),
        errors=_READ_ERRORS,
    ),
    Operation(
        "GET",
        "/focus-groups/{focus_group_id}/responses",
        list_responses,
        "List respondents",
        _TAG,
        response=RawList,
        parameters=(_ID, *LIST_PARAMETERS, _SCREENED),
        errors=(*_READ_ERRORS, InvalidRequest, ValidationFailed),
    ),
    Operation(
        "GET",
        "/focus-groups/{focus_group_id}/cells",
        list_cells,
        "List raw cells",
        _TAG,
        response=RawList,
        parameters=(_ID, *LIST_PARAMETERS),
        errors=(*_READ_ERRORS, InvalidRequest, ValidationFailed),
    ),
    Operation(
        "GET",
        "/focus-groups/{focus_group_id}/export",
        export_focus_group,
        "Export a study",
        _TAG,
        parameters=(_ID, _FORMAT),
        errors=(*_READ_ERRORS, InvalidRequest, ValidationFailed),
    ),
    Operation(
        "POST",
        "/focus-groups/{focus_group_id}/copy",
        copy_focus_group,
        "Copy a study with changes",
        _TAG,
        request=CopyFocusGroup,
        example={"sample_size": 200},
        parameters=(_ID, KEY_PARAMETER),
        response=FocusGroupObject,
        other_responses=(QuoteObject,),
        status=202,
        other_statuses={200: "The quote of a `dry_run`."},
        errors=(*_MAKE_ERRORS, NotFound),
    ),
    Operation(
        "POST",
        "/focus-groups/{focus_group_id}/cancel",
        cancel_focus_group,
        "Cancel a study",
        _TAG,
        response=FocusGroupObject,
        parameters=(_ID,),
        errors=_READ_ERRORS,
    ),
    Operation(
        "POST",
        "/focus-groups/{focus_group_id}/retry",
        retry_focus_group,
        "Retry failed cells",
        _TAG,
        response=FocusGroupObject,
        parameters=(_ID,),
        status=202,
        errors=(*_READ_ERRORS, InvalidRequest, StillRunning, CreditsExhausted, BudgetExceeded),
    ),
    Operation(
        "POST",
        "/focus-groups/{focus_group_id}/human",
        add_human_answers,
        "Add answers of real people",
        _TAG,
        request=AddHumanAnswers,
        example={"csv": "q1\nYes\nNo\nYes\nYes\nNo\nYes\nNo\nYes\n"},
        response=FocusGroupObject,
        parameters=(_ID,),
        errors=(*_READ_ERRORS, InvalidRequest, RequestTooLarge, ValidationFailed),
    ),
    Operation(
        "DELETE",
        "/focus-groups/{focus_group_id}",
        delete_focus_group,
        "Delete a study",
        _TAG,
        response=DeletedFocusGroup,
        parameters=(_ID,),
        errors=_READ_ERRORS,
    ),
)
