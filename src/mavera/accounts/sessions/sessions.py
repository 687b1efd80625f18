"""
Sign people in to the console, find their sessions, and end them.

    key, link, invitation, …  →  a random token for a cookie  →  its digest in the database
    cookie                    →  one query  →  Session, or None if it has ended

Each request looks its session up in the database, so a session that any process ended is over everywhere at
once. A session of a key is over as soon as the key is revoked or expires.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mavera.accounts import audit
from mavera.accounts.audit import Actor, Entry
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.principal import Principal
from mavera.accounts.sessions import repository
from mavera.accounts.sessions.repository import NewLink, NewSession
from mavera.accounts.sessions.session import (
    GIVEN_ROLES,
    GivenRole,
    Invitation,
    ListedSession,
    Method,
    Role,
    Session,
)
from mavera.core.text import clean_text
from mavera.errors import Forbidden, InvalidRequest, NotFound
from mavera.storage.database import Database, Queries

LINK_SECONDS = 600
INVITATION_SECONDS = (3_600, 30 * 86_400)
SUBJECT_MAX = 200
AGENT_MAX = 200
# A page that is read for an hour need not write sixty times.
NOTE_USE_SECONDS = 60
_KEEP_ENDED_SECONDS = 30 * 86_400
_LAST_ID = "~"  # sorts after every id


@dataclass(frozen=True, slots=True)
class NewToken:
    """The secret of a new session or link. It is stored nowhere."""

    text: str = field(repr=False)
    expires_at: int


class Sessions:
    """`idle_seconds` end a session that nobody uses, and `life_seconds` end every session."""

    def __init__(
        self,
        database: Database,
        *,
        idle_seconds: float,
        life_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._idle_seconds = idle_seconds
        self._life_seconds = life_seconds
        self._clock = clock
        self._instance: str | None = None

    async def name_instance(self) -> str:
        """
        Return a short name of this database.

        Browsers share cookies between the ports and the prefixes of a host, so two servers on one host need
        different names of cookies.
        """
        if self._instance is None:
            self._instance = await repository.read_instance(self._database, secrets.token_hex(4))
        return self._instance

    async def find(self, token: str, *, workspace_id: str = "") -> Session | None:
        """Return the living session of a cookie, seen from `workspace_id`, or None."""
        now = int(self._clock())
        session = await repository.find_session(
            self._database,
            _digest(token),
            wanted_workspace=workspace_id,
            idle_since=self._idle_since(now),
            now=now,
        )
        if session is not None and session.used_at <= now - NOTE_USE_SECONDS:
            await repository.note_use(self._database, session.id, now=now)
        return session

    async def begin_with_key(self, principal: Principal, *, subject: str = "", agent: str = "") -> NewToken:
        """Begin a session that has the rights of a key, and ends with it."""
        return await self._begin(
            self._database,
            principal.workspace_id,
            "key",
            "key",
            subject,
            key_id=principal.key_id,
            agent=agent,
        )

    async def begin(
        self, workspace_id: str, role: GivenRole, method: Method, subject: str, *, agent: str = ""
    ) -> NewToken:
        """Begin a session without a key, for somebody whom another party has vouched for."""
        return await self._begin(self._database, workspace_id, role, method, subject, agent=agent)

    async def has_workspace(self, workspace_id: str) -> bool:
        return await repository.has_workspace(self._database, workspace_id)

    async def redeem(self, token: str, *, agent: str = "") -> NewToken:
        """Begin the session of a one-time link or an invitation. Raises Forbidden if it is used up."""
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            link = await repository.redeem_link(transaction, _digest(token), now=now)
            if link is None:
                raise Forbidden(
                    "This link has been used already, or it has expired. 'mavera console' makes a new one,"
                    " and an admin of your workspace can invite you again."
                )
            return await self._begin(
                transaction, link.workspace_id, link.role, link.method, link.subject, agent=agent
            )

    async def make_link(self, workspace_id: str | None = None) -> NewToken:
        """
        Make a one-time link for the operator, of the first workspace unless another one is named.

        Raises NotFound if there is no such workspace, or none yet.
        """
        found = workspace_id or await find_first_workspace_id(self._database)
        if found is None:
            raise NotFound("There is no workspace yet. Start the server once: mavera serve")
        if not await self.has_workspace(found):
            raise NotFound(f"There is no workspace {found[:60]}.")
        return await self._make_link("link", found, "operator", "operator", "", LINK_SECONDS)

    async def invite(self, inviter: Session, role: str, subject: str, *, seconds: int) -> NewToken:
        """
        Make an invitation to the session's workspace.

        Raises Forbidden unless the inviter may give the role, or InvalidRequest.
        """
        inviter.principal.require("admin")
        chosen = next((known for known in GIVEN_ROLES if known == role), None)
        if chosen is None:
            raise InvalidRequest(f"A role is one of {', '.join(GIVEN_ROLES)}.", param="role")
        if chosen == "operator" and not inviter.is_operator:
            raise Forbidden("Only an operator can invite an operator.")
        if inviter.role == "key" and chosen == "admin":
            raise Forbidden(
                "A session of a key can only invite members. Ask an admin who signed in otherwise."
            )
        shortest, longest = INVITATION_SECONDS
        if not shortest <= seconds <= longest:
            raise InvalidRequest("An invitation expires in an hour to 30 days.", param="expires")
        if not subject.strip() or len(subject) > SUBJECT_MAX:
            raise InvalidRequest(f"A name has 1 to {SUBJECT_MAX} characters.", param="subject")
        await self._record(inviter.principal, "member.invited", subject.strip(), {"role": chosen})
        return await self._make_link(
            "invitation", inviter.workspace_id, chosen, clean_text(subject.strip()), inviter.subject, seconds
        )

    async def list_invitations(
        self, workspace_id: str, *, before: str = "", limit: int = 50
    ) -> list[Invitation]:
        now = int(self._clock())
        return await repository.list_invitations(
            self._database, workspace_id, before=before or _LAST_ID, limit=limit, now=now
        )

    async def withdraw(self, admin: Session, invitation_id: str) -> None:
        """Withdraw an invitation to the workspace of `admin`. Raises NotFound if it is not open."""
        if not await repository.delete_invitation(self._database, admin.workspace_id, invitation_id):
            raise NotFound("This invitation is not open any more.")
        await self._record(admin.principal, "invitation.withdrawn", invitation_id, {})

    async def list(
        self, workspace_id: str, *, only: str = "", before: str = "", limit: int = 50
    ) -> list[ListedSession]:
        """
        Return living sessions of a workspace, newest first: all, or `only` the one with this id.

        `before` is the last id of the page before.
        """
        now = int(self._clock())
        return await repository.list_sessions(
            self._database,
            workspace_id,
            only=only,
            before=before or _LAST_ID,
            limit=limit,
            idle_since=self._idle_since(now),
            now=now,
        )

    async def end(self, admin: Session, session_id: str) -> None:
        """End a session of the workspace of `admin`. Raises NotFound if there is no such living session."""
        now = int(self._clock())
        if not await repository.revoke_session(self._database, admin.workspace_id, session_id, now=now):
            raise NotFound("This session has ended already.")
        await self._record(admin.principal, "session.ended", session_id, {})

    async def _record(
        self, principal: Principal, action: str, subject: str, details: Mapping[str, str]
    ) -> None:
        entry = Entry(principal.workspace_id, action, "", clean_text(subject), details)
        await audit.record(self._database, Actor.of(principal), entry, now=int(self._clock()))

    async def end_own(self, session: Session) -> None:
        """End the session of the caller. A session that has ended already is no error."""
        await repository.revoke_own(self._database, session.id, now=int(self._clock()))

    async def claim_form(self, session: Session, form_id: str) -> bool:
        """Return whether this is the first time that `session` sends the form with this id."""
        name = f"{session.id} {form_id[:64]}"
        return await repository.claim_form(self._database, name, now=int(self._clock()))

    def _idle_since(self, now: int) -> int:
        return now - int(self._idle_seconds)

    async def _begin(
        self,
        db: Queries,
        workspace_id: str,
        role: Role,
        method: Method,
        subject: str,
        *,
        key_id: str | None = None,
        agent: str = "",
    ) -> NewToken:
        now = int(self._clock())
        token = secrets.token_urlsafe(32)
        ends_at = now + int(self._life_seconds)
        if key_id is None:
            await repository.ensure_console_key(db, workspace_id, now=now)
        await repository.delete_old(db, ended_before=now - _KEEP_ENDED_SECONDS)
        new = NewSession(
            _digest(token),
            workspace_id,
            role,
            method,
            clean_text(subject)[:SUBJECT_MAX],
            key_id,
            clean_text(agent)[:AGENT_MAX],
            now,
            ends_at,
        )
        await repository.insert_session(db, new)
        return NewToken(token, ends_at)

    async def _make_link(
        self,
        method: Method,
        workspace_id: str,
        role: GivenRole,
        subject: str,
        invited_by: str,
        seconds: int,
    ) -> NewToken:
        now = int(self._clock())
        token = secrets.token_urlsafe(32)
        new = NewLink(_digest(token), method, workspace_id, role, subject, invited_by, now, now + seconds)
        await repository.insert_link(self._database, new)
        return NewToken(token, now + seconds)


def _digest(token: str) -> str:
    """Return the digest that is stored in place of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
