"""
Make a study: from a form or from YAML, with an estimate before it starts.

    do=estimate  →  the price and the time, and nothing is started      do=start  →  the study's page
    do=add, remove:2, fields  →  the same form with other questions     do=yaml   →  the form's study as YAML

Faults name the line of the text, or the field of the form. A form that is sent twice starts one study.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from mavera.console.forms import Form, read_form
from mavera.console.studies import SCOPE
from mavera.console.study_fields import TYPES, change_questions, list_questions, read_members, to_form
from mavera.console.visit import Page, Visit
from mavera.core.text import format_count
from mavera.errors import APIError
from mavera.focus_groups.desk import load_study_module
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.study import PERSONAS_MAX, QUESTIONS_MAX, Study
from mavera.focus_groups.study_text import EXAMPLE, write_study

MOST_PEOPLE = 250
_PATH = "/console/w/{workspace_id}/studies/new"


@dataclass(frozen=True, slots=True)
class ShownFault:
    """A mistake in a study. `excerpt` is the line of the text, and `question` the number of the question."""

    line: int | None
    path: str
    message: str
    excerpt: str
    question: int | None


async def show_new_study(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    query = visit.request.query_params
    if query.get("copy"):
        source = await visit.services.focus_groups.service.get(visit.principal, query["copy"][:64])
        form = Form((("yaml", write_study(source.study)), ("source", source.id)))
        return await _render(visit, form, "yaml")
    if query.get("example"):
        members = await asyncio.to_thread(msgspec.yaml.decode, EXAMPLE)
        form = await _name_people(visit, to_form(members))
        return await _render(visit, Form((*form.fields, ("yaml", EXAMPLE))), _mode_of(query.get("as", "")))
    return await _render(visit, Form(()), _mode_of(query.get("as", "")))


async def make_study(visit: Visit) -> Response:
    visit.principal.require(SCOPE)
    form = await read_form(visit.request)
    mode, action = _mode_of(form.text("mode")), form.text("do")
    if action in ("add", "fields") or action.startswith("remove:"):
        return await _render(visit, change_questions(form, action), mode)
    faults = load_study_module("faults")
    try:
        study = await asyncio.to_thread(_read_study, form, mode)
    except faults.StudyError as error:
        shown = _show_faults(error.faults, form.raw("yaml") if mode == "yaml" else "")
        return await _render(visit, form, mode, faults=shown, status=422)
    if action == "yaml":
        return await _render(visit, Form((("yaml", write_study(study)),)), "yaml")
    try:
        source = await _find_source(visit, form)
        if action != "start":
            quote = await visit.services.focus_groups.service.quote(visit.principal, study, source)
            return await _render(visit, form, mode, quote=quote, study=study)
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.redirect("studies")
        row = await visit.services.focus_groups.service.create(visit.principal, study, source=source)
    except APIError as error:
        return await _render(visit, form, mode, error=error, status=error.status)
    return visit.redirect("studies", row.id)


def _read_study(form: Form, mode: str) -> Study:
    """Return the checked study. Raises StudyError with every fault."""
    module = load_study_module("study_file")
    if mode == "yaml":
        study: Study = module.read_study_file(form.raw("yaml")).study
        return study
    members: Study = module.check_members(read_members(form)).study
    return members


async def _find_source(visit: Visit, form: Form) -> StudyRow | None:
    """Return the study whose unchanged cells are kept, or None."""
    if not form.text("source"):
        return None
    row: StudyRow = await visit.services.focus_groups.service.get(visit.principal, form.text("source"))
    return row


def _show_faults(faults: Sequence[Any], text: str) -> list[ShownFault]:
    lines = text.splitlines()
    return [
        ShownFault(
            fault.line,
            fault.path,
            fault.message,
            lines[fault.line - 1].strip()[:160] if fault.line and fault.line <= len(lines) else "",
            _number_question(fault.path),
        )
        for fault in faults
    ]


def _number_question(path: str) -> int | None:
    head, _, rest = path.partition("[")
    number = rest.partition("]")[0]
    return int(number) + 1 if head == "questions" and number.isdecimal() else None


async def _name_people(visit: Visit, form: Form) -> Form:
    """Return the form with ids in place of the slugs of personas, as its boxes have them."""
    personas = visit.services.personas
    fields = []
    for name, value in form.fields:
        if name == "personas":
            value = (await personas.find(value, visit.principal)).id
        fields.append((name, value))
    return Form(tuple(fields))


async def _render(
    visit: Visit,
    form: Form,
    mode: str,
    *,
    faults: Sequence[ShownFault] = (),
    error: APIError | None = None,
    quote: Any = None,
    study: Study | None = None,
    status: int = 200,
) -> Response:
    roll = await visit.services.personas.roll(visit.principal)
    chosen = set(form.texts("personas"))
    people = list(roll)
    shown = [one for one in people if one.id in chosen] + [one for one in people if one.id not in chosen]
    return visit.render(
        "studies/new.html",
        form=form,
        mode=mode,
        faults=faults,
        error=error,
        quote=quote,
        seconds=[format_duration(one) for one in quote.seconds] if quote else [],
        study=study,
        questions=list_questions(form),
        types=TYPES,
        people=shown[:MOST_PEOPLE],
        hidden_people=max(len(people) - MOST_PEOPLE, 0),
        chosen=chosen,
        models=list(visit.services.named_models),
        most_personas=PERSONAS_MAX,
        most_questions=QUESTIONS_MAX,
        form_id=secrets.token_urlsafe(12),
        status=status,
    )


def format_duration(seconds: float) -> str:
    """Return a time in the unit that a person would use: 7 seconds, 12 minutes, 1.5 hours."""
    if seconds < 90:
        return format_count(round(seconds), "second")
    return format_count(round(seconds / 60), "minute") if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _mode_of(text: str) -> str:
    return "yaml" if text == "yaml" else "form"


ROUTES = (Page("GET", _PATH, show_new_study), Page("POST", _PATH, make_study))
