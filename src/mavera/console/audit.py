"""The audit log of a workspace, and the operator's log of the server."""

import json
from urllib.parse import urlencode

from starlette.responses import Response

from mavera.accounts.audit import OPERATORS_LOG, AuditEntry, Search, list_entries
from mavera.console.visit import Page, Visit

PAGE_LENGTH = 50
SUBJECTS = {
    "api_key": "API keys",
    "budget": "Budgets",
    "plan": "Plans",
    "credits": "Credits",
    "workspace": "Workspaces",
    "tools": "Server tools",
    "persona": "Personas",
    "study": "Studies",
    "share": "Shared studies",
    "member": "People",
    "session": "Sessions",
    "retention": "Retention",
    "data": "Data",
}


async def show_audit_log(visit: Visit) -> Response:
    visit.principal.require("admin")
    return await _render(visit, visit.workspace_id)


async def show_operators_log(visit: Visit) -> Response:
    visit.principal.require("operator")
    return await _render(visit, OPERATORS_LOG)


async def _render(visit: Visit, log: str) -> Response:
    query = visit.request.query_params
    given = query.get("action", "")
    action = given if given in SUBJECTS else ""
    text = query.get("before", "")
    before = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
    entries, more = await list_entries(
        visit.services.database, Search(log, before=before, action=action, limit=PAGE_LENGTH)
    )
    filters = {"action": action} if action else {}
    return visit.render(
        "audit/list.html",
        entries=[(entry, describe_details(entry)) for entry in entries],
        subjects=SUBJECTS,
        action=action,
        older=urlencode({**filters, "before": str(more)}) if more is not None else None,
        is_operators=log == OPERATORS_LOG,
    )


def describe_details(entry: AuditEntry) -> list[tuple[str, str]]:
    """Return the names of what changed, and the values before and after as text."""
    lines = []
    for name, value in entry.details.items():
        if isinstance(value, dict) and value.keys() == {"before", "after"}:
            lines.append((name, f"{_format(value['before'])} → {_format(value['after'])}"))
        else:
            lines.append((name, _format(value)))
    return lines


def _format(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)


ROUTES = (
    Page("GET", "/console/w/{workspace_id}/audit", show_audit_log),
    Page("GET", "/console/operator/log", show_operators_log),
)
