"""SQL for sessions, for the links that make one, and for the console identity of a workspace."""

from dataclasses import dataclass

from mavera.accounts.keys.text import Mode
from mavera.accounts.plans import SCOPES, Overrides, limits_of
from mavera.accounts.principal import Principal
from mavera.accounts.sessions.session import (
    CONSOLE_NAME,
    OPERATOR_SCOPES,
    GivenRole,
    Invitation,
    ListedSession,
    Method,
    Role,
    Session,
    console_key_id,
    scopes_of,
)
from mavera.core.ids import new_cuid
from mavera.storage.database import Queries, Row

_CONSOLE_SCOPES = " ".join(scope for scope in SCOPES if scope not in OPERATOR_SCOPES)


@dataclass(frozen=True, slots=True)
class NewSession:
    """The row of a new session. `ends_at` is the absolute end."""

    digest: str
    workspace_id: str
    role: Role
    method: Method
    subject: str
    key_id: str | None
    agent: str
    created_at: int
    ends_at: int


@dataclass(frozen=True, slots=True)
class NewLink:
    """The row of a link that makes a session when it is redeemed: a one-time link, or an invitation."""

    digest: str
    method: Method
    workspace_id: str
    role: GivenRole
    subject: str
    invited_by: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class RedeemedLink:
    method: Method
    workspace_id: str
    role: GivenRole
    subject: str


async def insert_session(db: Queries, new: NewSession) -> str:
    """Store a session and return its id."""
    session_id = new_cuid()
    await db.execute(
        """
        INSERT INTO sessions (id, digest, workspace_id, role, method, subject, key_id, agent, created_at,
                              used_at, ends_at)
        VALUES (:id, :digest, :workspace_id, :role, :method, :subject, :key_id, :agent, :created_at,
                :created_at, :ends_at)
        """,
        id=session_id,
        digest=new.digest,
        workspace_id=new.workspace_id,
        role=new.role,
        method=new.method,
        subject=new.subject,
        key_id=new.key_id,
        agent=new.agent,
        created_at=new.created_at,
        ends_at=new.ends_at,
    )
    return session_id


async def find_session(
    db: Queries, digest: str, *, wanted_workspace: str, idle_since: int, now: int
) -> Session | None:
    """
    Return the living session with this digest, or None.

    A session of a key ends with the key. `wanted_workspace` is the workspace of the address, or "". Only an
    operator's session is at home in workspaces other than its own; every other session is in its own.
    """
    row = await db.fetch_one(
        """
        SELECT s.id, s.role, s.method, s.subject, s.key_id, s.created_at, s.used_at, s.ends_at,
               w.id AS workspace_id, w.name AS workspace_name, w.plan, w.requests_per_minute,
               w.requests_per_day, w.concurrent_runs,
               k.id AS spender, k.name AS key_name, k.mode, k.scopes, k.expires_at
          FROM sessions s
          JOIN workspaces w
            ON w.id = CASE WHEN s.role = 'operator'
                           THEN COALESCE((SELECT id FROM workspaces WHERE id = :wanted), s.workspace_id)
                           ELSE s.workspace_id END
          LEFT JOIN api_keys k ON k.id = COALESCE(s.key_id, :prefix || w.id)
         WHERE s.digest = :digest AND s.revoked_at IS NULL AND s.ends_at > :now AND s.used_at > :idle_since
           AND (s.key_id IS NULL
                OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :now)))
        """,
        digest=digest,
        wanted=wanted_workspace,
        prefix=console_key_id(""),
        idle_since=idle_since,
        now=now,
    )
    if row is None or (row["spender"] is None and row["key_id"] is not None):
        return None
    if row["spender"] is None:
        await ensure_console_key(db, row["workspace_id"], now=now)
    return _to_session(row)


def _to_session(row: Row) -> Session:
    overrides = Overrides(row["requests_per_minute"], row["requests_per_day"], row["concurrent_runs"])
    key_id: str | None = row["key_id"]
    mode: Mode = row["mode"] if key_id is not None else "live"
    scopes = frozenset(row["scopes"].split()) if key_id is not None else scopes_of(row["role"])
    principal = Principal(
        key_id or console_key_id(row["workspace_id"]),
        row["workspace_id"],
        mode,
        row["plan"],
        row["expires_at"] if key_id is not None else None,
        scopes,
        limits_of(row["plan"], overrides),
        person=row["subject"] or ("" if key_id is not None else row["role"]),
    )
    return Session(
        id=row["id"],
        workspace_id=row["workspace_id"],
        workspace_name=row["workspace_name"],
        role=row["role"],
        method=row["method"],
        subject=row["subject"],
        key_id=key_id,
        key_name=(row["key_name"] or "") if key_id is not None else "",
        created_at=row["created_at"],
        used_at=row["used_at"],
        ends_at=row["ends_at"],
        principal=principal,
    )


async def has_workspace(db: Queries, workspace_id: str) -> bool:
    return await db.fetch_one("SELECT id FROM workspaces WHERE id = :id", id=workspace_id) is not None


async def ensure_console_key(db: Queries, workspace_id: str, *, now: int) -> None:
    """Make the console identity of a workspace, unless it has one. Its digest is the digest of no text."""
    await db.execute(
        """
        INSERT INTO api_keys (id, workspace_id, name, digest, mode, last_four, created_at, scopes)
        VALUES (:id, :workspace_id, :name, :id, 'live', '', :now, :scopes)
        ON CONFLICT (id) DO NOTHING
        """,
        id=console_key_id(workspace_id),
        workspace_id=workspace_id,
        name=CONSOLE_NAME,
        now=now,
        scopes=_CONSOLE_SCOPES,
    )


async def note_use(db: Queries, session_id: str, *, now: int) -> None:
    await db.execute(
        "UPDATE sessions SET used_at = :now WHERE id = :id AND used_at < :now", id=session_id, now=now
    )


async def revoke_session(db: Queries, workspace_id: str, session_id: str, *, now: int) -> bool:
    """End a session. Return False if the workspace has no such living session."""
    changed = await db.execute(
        """
        UPDATE sessions SET revoked_at = :now
         WHERE id = :id AND workspace_id = :workspace_id AND revoked_at IS NULL
        """,
        id=session_id,
        workspace_id=workspace_id,
        now=now,
    )
    return bool(changed)


async def revoke_own(db: Queries, session_id: str, *, now: int) -> None:
    await db.execute(
        "UPDATE sessions SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL", id=session_id, now=now
    )


async def list_sessions(
    db: Queries, workspace_id: str, *, only: str, before: str, limit: int, idle_since: int, now: int
) -> list[ListedSession]:
    """Return the living sessions of a workspace, newest first, from before the id `before`."""
    rows = await db.fetch_all(
        """
        SELECT s.id, s.role, s.method, s.subject, COALESCE(k.name, '') AS key_name, s.agent, s.created_at,
               s.used_at, s.ends_at
          FROM sessions s
          LEFT JOIN api_keys k ON k.id = s.key_id
         WHERE s.workspace_id = :workspace_id AND s.id < :before AND (:only = '' OR s.id = :only)
           AND s.revoked_at IS NULL
           AND s.ends_at > :now AND s.used_at > :idle_since
           AND (s.key_id IS NULL
                OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :now)))
         ORDER BY s.id DESC
         LIMIT :limit
        """,
        workspace_id=workspace_id,
        only=only,
        before=before,
        limit=limit,
        idle_since=idle_since,
        now=now,
    )
    return [ListedSession(**row) for row in rows]


async def insert_link(db: Queries, new: NewLink) -> str:
    link_id = new_cuid()
    await db.execute(
        """
        INSERT INTO sign_in_links (id, digest, method, workspace_id, role, subject, invited_by, created_at,
                                   expires_at)
        VALUES (:id, :digest, :method, :workspace_id, :role, :subject, :invited_by, :created_at,
                :expires_at)
        """,
        id=link_id,
        digest=new.digest,
        method=new.method,
        workspace_id=new.workspace_id,
        role=new.role,
        subject=new.subject,
        invited_by=new.invited_by,
        created_at=new.created_at,
        expires_at=new.expires_at,
    )
    return link_id


async def redeem_link(db: Queries, digest: str, *, now: int) -> RedeemedLink | None:
    """Use a link up. The check and the write are one statement, so it works once over all processes."""
    row = await db.fetch_one(
        """
        UPDATE sign_in_links SET redeemed_at = :now
         WHERE digest = :digest AND redeemed_at IS NULL AND expires_at > :now
        RETURNING method, workspace_id, role, subject
        """,
        digest=digest,
        now=now,
    )
    return RedeemedLink(**row) if row else None


async def delete_invitation(db: Queries, workspace_id: str, link_id: str) -> bool:
    """Withdraw an invitation. Return False if the workspace has no such open invitation."""
    changed = await db.execute(
        """
        DELETE FROM sign_in_links
         WHERE id = :id AND workspace_id = :workspace_id AND method = 'invitation' AND redeemed_at IS NULL
        """,
        id=link_id,
        workspace_id=workspace_id,
    )
    return bool(changed)


async def list_invitations(
    db: Queries, workspace_id: str, *, before: str, limit: int, now: int
) -> list[Invitation]:
    """Return the open invitations of a workspace, newest first, from before the id `before`."""
    rows = await db.fetch_all(
        """
        SELECT id, role, subject, invited_by, created_at, expires_at, redeemed_at
          FROM sign_in_links
         WHERE workspace_id = :workspace_id AND id < :before AND method = 'invitation'
           AND redeemed_at IS NULL AND expires_at > :now
         ORDER BY id DESC
         LIMIT :limit
        """,
        workspace_id=workspace_id,
        before=before,
        limit=limit,
        now=now,
    )
    return [Invitation(**row) for row in rows]


async def claim_form(db: Queries, form_id: str, *, now: int) -> bool:
    """Return True to the first sender of a form, and False to every later one."""
    row = await db.fetch_one(
        "INSERT INTO sent_forms (id, sent_at) VALUES (:id, :now) ON CONFLICT (id) DO NOTHING RETURNING id",
        id=form_id,
        now=now,
    )
    return row is not None


async def delete_old(db: Queries, *, ended_before: int) -> None:
    """Delete the sessions and links that ended, and the ids of forms that were sent, before a time."""
    await db.execute("DELETE FROM sessions WHERE ends_at < :before", before=ended_before)
    await db.execute("DELETE FROM sign_in_links WHERE expires_at < :before", before=ended_before)
    await db.execute("DELETE FROM sent_forms WHERE sent_at < :before", before=ended_before)


async def read_instance(db: Queries, candidate: str) -> str:
    """Return the name of this database among others. The first caller's `candidate` becomes the name."""
    await db.execute(
        "INSERT INTO facts (name, value) VALUES ('instance', :value) ON CONFLICT (name) DO NOTHING",
        value=candidate,
    )
    row = await db.fetch_one("SELECT value FROM facts WHERE name = 'instance'")
    return str(row["value"]) if row else candidate
