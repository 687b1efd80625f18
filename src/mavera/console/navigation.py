"""
The links of the sidebar.

A link appears if its page exists and the session has the scope that the page needs.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mavera.accounts.sessions.session import Session

IN_WORKSPACE = "/console/w/{workspace_id}"


@dataclass(frozen=True, slots=True)
class Item:
    """`path` is the template of the page's address, and `scope` the scope that it needs."""

    label: str
    path: str
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    label: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    path: str
    is_current: bool


SECTIONS = (
    Section(
        "",
        (
            Item("Home", f"{IN_WORKSPACE}/home"),
            Item("Playground", f"{IN_WORKSPACE}/playground", "responses"),
            Item("Personas", f"{IN_WORKSPACE}/personas", "personas:read"),
            Item("Studies", f"{IN_WORKSPACE}/studies", "focus_groups"),
        ),
    ),
    Section(
        "Account",
        (
            Item("Usage & credits", f"{IN_WORKSPACE}/usage", "usage:read"),
            Item("Request log", f"{IN_WORKSPACE}/requests", "usage:read"),
            Item("Data", f"{IN_WORKSPACE}/data", "admin"),
            Item("Audit log", f"{IN_WORKSPACE}/audit", "admin"),
        ),
    ),
    Section(
        "Settings → Developer",
        (
            Item("API Keys", f"{IN_WORKSPACE}/settings/keys", "admin"),
            Item("People", f"{IN_WORKSPACE}/settings/people", "admin"),
            Item("Sessions", f"{IN_WORKSPACE}/settings/sessions"),
        ),
    ),
    Section(
        "Operator",
        (
            Item("Workspaces", "/console/operator/workspaces", "operator"),
            Item("Server tools", "/console/operator/tools", "operator"),
            Item("Model and health", "/console/operator/health", "operator"),
            Item("Operator's log", "/console/operator/log", "operator"),
        ),
    ),
)


def list_links(session: Session, existing: Collection[str], current: str) -> Iterable[tuple[str, list[Link]]]:
    """Yield the label and the links of each section with a link. `current` is the address of the page."""
    for section in SECTIONS:
        links = [
            Link(item.label, path, current == path or current.startswith(f"{path}/"))
            for item in section.items
            if item.path in existing and _may_see(session, item)
            for path in [item.path.replace("{workspace_id}", session.workspace_id)]
        ]
        if links:
            yield section.label, links


def _may_see(session: Session, item: Item) -> bool:
    return item.scope is None or item.scope in session.principal.scopes
