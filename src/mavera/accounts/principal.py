"""The principal: the value that stands for the caller of a request, from its arrival to the charge."""

from typing import Self

import msgspec

from mavera.accounts.keys.text import Mode
from mavera.accounts.plans import DEFAULT_SCOPES, PLANS, Limits, Scope
from mavera.errors import Forbidden


class Principal(msgspec.Struct, frozen=True):
    """
    The key, the workspace that pays, and its rights.

    `mode` decides which model answers, which tools run, and which custom personas the caller sees: those of
    the workspace's live keys, or those of its test keys. `person` names whoever acts in the console, for the
    audit log.
    """

    key_id: str
    workspace_id: str
    mode: Mode
    plan: str
    expires_at: int | None = None
    scopes: frozenset[str] = frozenset(DEFAULT_SCOPES)
    limits: Limits = PLANS["enterprise"].limits
    person: str = ""

    @classmethod
    def local(cls, workspace_id: str = "") -> Self:
        """Return the operator at a terminal, who needs no key and is not charged."""
        return cls("", workspace_id, "live", "enterprise")

    def require(self, scope: Scope) -> None:
        """Raise Forbidden, naming `scope`, unless the key has it."""
        if scope not in self.scopes:
            raise Forbidden(f"This API key lacks the scope '{scope}'. Use a key that has it.")
