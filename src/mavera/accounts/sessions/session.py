"""
A session: a browser that somebody signed in, with the rights that it has.

    role       scopes
    key        those of the API key that was pasted
    operator   all
    admin      all except `operator`
    member     the default scopes: everything except making keys

A session without a key spends as the workspace's console identity. That is a row among the workspace's API
keys which has no text, so nobody can authenticate with it. Usage, budgets and limits treat it as a key.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from mavera.accounts.plans import DEFAULT_SCOPES, SCOPES, Scope
from mavera.accounts.principal import Principal

Role = Literal["key", "operator", "admin", "member"]
GivenRole = Literal["operator", "admin", "member"]
Method = Literal["key", "link", "invitation", "oidc", "proxy"]

GIVEN_ROLES: tuple[GivenRole, ...] = get_args(GivenRole)
# Only an operator's session and the command line give these scopes.
OPERATOR_SCOPES: frozenset[str] = frozenset({"operator"})
CONSOLE_PREFIX = "console_"
CONSOLE_NAME = "console"


def console_key_id(workspace_id: str) -> str:
    """Return the id of the console identity of a workspace, which its usage has as `key_id`."""
    return CONSOLE_PREFIX + workspace_id


def scopes_of(role: GivenRole) -> frozenset[Scope]:
    """Return the scopes of a session without a key."""
    match role:
        case "operator":
            return frozenset(SCOPES)
        case "admin":
            return frozenset(SCOPES) - OPERATOR_SCOPES
        case "member":
            return frozenset(DEFAULT_SCOPES)


@dataclass(frozen=True, slots=True)
class Session:
    """
    A living session, as one request sees it. Times are Unix seconds.

    `workspace_id` is the workspace that the request is about. For everybody except an operator, it is the
    one of the session. `key_id` is None unless somebody pasted a key, and `key_name` is its name.
    """

    id: str
    workspace_id: str
    workspace_name: str
    role: Role
    method: Method
    subject: str
    key_id: str | None
    key_name: str
    created_at: int
    used_at: int
    ends_at: int
    principal: Principal

    @property
    def is_operator(self) -> bool:
        return self.role == "operator"


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session in the list of a workspace."""

    id: str
    role: Role
    method: Method
    subject: str
    key_name: str
    agent: str
    created_at: int
    used_at: int
    ends_at: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open or redeemed invitation. Its text is stored nowhere."""

    id: str
    role: GivenRole
    subject: str
    invited_by: str
    created_at: int
    expires_at: int
    redeemed_at: int | None
