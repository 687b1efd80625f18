"""
Make, edit, try, import and delete the personas of a workspace.

    new      one of three pipelines; the model's draft stops if the browser leaves
    draft    a person from a description, in the form of the new persona, before it costs anything
    edit     refused if somebody else has stored another version since; then both versions are shown
    preview  the messages by which the page's script asks the unsaved persona over the public API
    import   TOML and CSV files, in the forms of the command line
"""

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace
from starlette.responses import Response

from mavera.api.http.dispatch import UntilDisconnect, wait_for_disconnect
from mavera.api.http.json import json_response
from mavera.console.forms import Form, UploadedFile, read_form
from mavera.console.persona_fields import PIPELINES, STANCES, list_groups, read_sheet, to_form
from mavera.console.personas import WRITE, find_persona
from mavera.console.visit import Page, Visit
from mavera.core.items import Message
from mavera.errors import APIError, ConfigurationError, Forbidden, InvalidRequest, VersionConflict
from mavera.personas.custom import CustomPersona, Sheet, build_custom_prefix
from mavera.personas.differences import Difference, list_differences
from mavera.personas.files import from_csv, from_toml
from mavera.personas.persona import CATEGORIES
from mavera.personas.repository import to_sheet
from mavera.personas.typos import fold
from mavera.runs.persona_draft import Drafted

MOST_IMPORTED = 50
_PATH = "/console/w/{workspace_id}/personas"


@dataclass(frozen=True, slots=True)
class Clash:
    """An edit that came second: what the other one changed, and what this one would change in it."""

    theirs: tuple[Difference, ...]
    mine: tuple[Difference, ...]
    version: int


async def show_new_persona(visit: Visit) -> Response:
    visit.principal.require(WRITE)
    pipeline = visit.request.query_params.get("pipeline", "north_star")
    return _render_new(visit, Form((("pipeline", pipeline if pipeline in PIPELINES else "north_star"),)))


async def make_persona(visit: Visit) -> Response:
    visit.principal.require(WRITE)
    form = await read_form(visit.request)
    try:
        sheet = await asyncio.to_thread(read_sheet, form)
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.redirect("personas")
        watch = partial(UntilDisconnect, partial(wait_for_disconnect, visit.request.receive))
        persona = await visit.services.persona_maker.make(visit.principal, sheet, watch)
    except APIError as error:
        return _render_new(visit, form, error)
    return visit.redirect("personas", persona.id)


async def draft_persona(visit: Visit) -> Response:
    """Show the form of a new persona, filled with a person that the model drafts. Nothing is stored."""
    visit.principal.require(WRITE)
    form = await read_form(visit.request)
    try:
        sheet = replace(await asyncio.to_thread(read_sheet, form), profile=None)
        watch = partial(UntilDisconnect, partial(wait_for_disconnect, visit.request.receive))
        drafted = await visit.services.persona_maker.preview(visit.principal, sheet, watch)
    except APIError as error:
        return _render_new(visit, form, error)
    return _render_new(visit, to_form(replace(sheet, profile=drafted.profile)), drafted=drafted)


async def show_edit(visit: Visit) -> Response:
    persona = await _find_own(visit)
    return _render_edit(visit, persona, to_form(to_sheet(persona)), persona.version)


async def edit_persona(visit: Visit) -> Response:
    """Store a new version. The second of two edits is refused, and its page shows both."""
    persona = await _find_own(visit)
    form = await read_form(visit.request)
    version = form.whole_number("version", "The version") or 0
    try:
        sheet = await asyncio.to_thread(read_sheet, form)
        await visit.services.personas.update(visit.principal, persona.id, lambda _: sheet, version=version)
    except VersionConflict as error:
        latest = await _find_own(visit)
        clash = await _describe_clash(visit, latest, version, sheet)
        return _render_edit(visit, latest, form, latest.version, error=error, clash=clash)
    except APIError as error:
        return _render_edit(visit, persona, form, version, error=error)
    return visit.redirect("personas", persona.id)


async def preview_persona(visit: Visit) -> Response:
    """Return the messages that go before a question to the unsaved persona, or why it is not valid."""
    visit.principal.require(WRITE)
    form = await read_form(visit.request)
    try:
        sheet = await asyncio.to_thread(read_sheet, form)
    except APIError as error:
        return json_response({"error": {"message": error.message, "param": error.param}}, status=error.status)
    messages = [
        {"role": one.role, "content": one.text}
        for one in build_custom_prefix(sheet)
        if isinstance(one, Message)
    ]
    return json_response({"input": messages}, headers={"cache-control": "no-store"})


async def show_import(visit: Visit) -> Response:
    visit.principal.require(WRITE)
    return _render_import(visit)


async def import_personas(visit: Visit) -> Response:
    """Make a persona for each TOML file or row of a CSV file. Names that exist are left out."""
    visit.principal.require(WRITE)
    form = await read_form(visit.request)
    try:
        files = [file for name, file in form.files if name == "files" and file.name]
        sheets = await asyncio.to_thread(_read_files, files)
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return visit.redirect("personas")
    except ConfigurationError as error:
        return _render_import(visit, error=InvalidRequest(str(error)))
    except APIError as error:
        return _render_import(visit, error=error)
    roll = await visit.services.personas.roll(visit.principal)
    known = {fold(one.name) for one in roll.list(custom=True)}
    made, skipped = [], []
    failure: APIError | None = None
    for sheet in sheets:
        if fold(sheet.name) in known:
            skipped.append(sheet.name)
            continue
        try:
            watch = partial(UntilDisconnect, partial(wait_for_disconnect, visit.request.receive))
            made.append(await visit.services.persona_maker.make(visit.principal, sheet, watch))
        except APIError as error:
            failure = error
            break
        known.add(fold(sheet.name))
    return _render_import(visit, error=failure, made=made, skipped=skipped, done=True)


async def delete_persona(visit: Visit) -> Response:
    visit.principal.require(WRITE)
    await visit.services.personas.delete(visit.principal, visit.request.path_params["persona_id"])
    return visit.redirect("personas")


async def _find_own(visit: Visit) -> CustomPersona:
    visit.principal.require(WRITE)
    persona = await find_persona(visit)
    if not isinstance(persona, CustomPersona):
        raise Forbidden("This persona belongs to the library and cannot be changed. Make one of your own.")
    return persona


async def _describe_clash(visit: Visit, latest: CustomPersona, version: int, mine: Sheet) -> Clash:
    found, _ = await visit.services.personas.page_versions(visit.principal, latest.id, 1, version + 1)
    before = to_sheet(found[0].persona) if found else to_sheet(latest)
    theirs = to_sheet(latest)
    return Clash(list_differences(before, theirs), list_differences(theirs, mine), latest.version)


def _read_files(files: list[UploadedFile]) -> list[Sheet]:
    """Return the sheets of all files. Raises ConfigurationError for a fault, or InvalidRequest."""
    sheets: list[Sheet] = []
    for file in files:
        ending = file.name.rpartition(".")[2].lower()
        if ending == "csv":
            sheets += from_csv(file.body, file.name)
        elif ending == "toml":
            sheets.append(from_toml(file.body, file.name))
        else:
            raise ConfigurationError(f"{file.name} is neither .toml nor .csv.")
    if not sheets:
        raise InvalidRequest("Choose a TOML or CSV file.")
    if len(sheets) > MOST_IMPORTED:
        raise InvalidRequest(f"The files have {len(sheets)} personas. Import {MOST_IMPORTED} at a time.")
    # A file describes its person, so nothing is drafted.
    return [
        replace(one, pipeline_type="advanced") if one.pipeline_type == "north_star" else one for one in sheets
    ]


def _render_new(
    visit: Visit, form: Form, error: APIError | None = None, *, drafted: Drafted | None = None
) -> Response:
    pipeline = form.text("pipeline")
    has_profile = form.has("has_profile")
    groups = list_groups(form, has_profile=has_profile) if has_profile or pipeline != "north_star" else []
    return visit.render(
        "personas/new.html",
        form=form,
        pipeline=pipeline,
        pipelines=PIPELINES,
        # A drafted person comes first, because the profile is what the user has to check.
        groups=[*groups[2:], *groups[:2]] if has_profile else groups,
        has_profile=has_profile,
        drafted=drafted,
        stances=STANCES,
        categories=CATEGORIES,
        credits=visit.services.persona_maker.price(visit.principal),
        form_id=secrets.token_urlsafe(12),
        error=error,
        status=error.status if error else 200,
    )


def _render_edit(
    visit: Visit,
    persona: CustomPersona,
    form: Form,
    version: int,
    *,
    error: APIError | None = None,
    clash: Clash | None = None,
) -> Response:
    return visit.render(
        "personas/edit.html",
        persona=persona,
        form=form,
        version=version,
        groups=list_groups(form, has_profile=form.has("has_profile")),
        stances=STANCES,
        categories=CATEGORIES,
        may_ask="responses" in visit.principal.scopes,
        error=error,
        clash=clash,
        status=error.status if error else 200,
    )


def _render_import(
    visit: Visit,
    *,
    error: APIError | None = None,
    made: list[CustomPersona] | None = None,
    skipped: list[str] | None = None,
    done: bool = False,
) -> Response:
    return visit.render(
        "personas/import.html",
        error=error,
        made=made or [],
        skipped=skipped or [],
        done=done,
        credits=visit.services.persona_maker.price(visit.principal),
        most=MOST_IMPORTED,
        form_id=secrets.token_urlsafe(12),
        status=error.status if error else 200,
    )


ROUTES = (
    Page("GET", f"{_PATH}/new", show_new_persona),
    Page("POST", f"{_PATH}/new", make_persona),
    Page("POST", f"{_PATH}/draft", draft_persona),
    Page("GET", f"{_PATH}/import", show_import),
    Page("POST", f"{_PATH}/import", import_personas),
    Page("POST", f"{_PATH}/preview", preview_persona),
    Page("GET", f"{_PATH}/{{persona_id}}/edit", show_edit),
    Page("POST", f"{_PATH}/{{persona_id}}/edit", edit_persona),
    Page("POST", f"{_PATH}/{{persona_id}}/delete", delete_persona),
)
