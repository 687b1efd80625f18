"""SQL for API keys, and for the milestones in the life of a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mavera.accounts.keys.text import KeyText, Mode
from mavera.accounts.plans import DEFAULT_SCOPES, OPERATOR, Limits, Overrides, limits_of
from mavera.core.ids import new_cuid
from mavera.errors import NotFound
from mavera.storage.database import Queries, Row


@dataclass(frozen=True, slots=True)
class ApiKey:
    """
    The public part of a key. Times are Unix seconds.

    `version` grows with each edit. After a rotation, the previous secret works until `previous_until`.
    """

    id: str
    workspace_id: str
    name: str
    mode: Mode
    last_four: str
    created_at: int
    revoked_at: int | None = None
    expires_at: int | None = None
    last_used_at: int | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    budget: int | None = None
    ancestors: tuple[str, ...] = ()
    version: int = 1
    previous_last_four: str | None = None
    previous_until: int | None = None

    @property
    def giveable_scopes(self) -> tuple[str, ...]:
        """The scopes that this key may give to another one."""
        return tuple(scope for scope in self.scopes if scope != OPERATOR)

    @property
    def made_by(self) -> str | None:
        """The id of the key that made this one, or None if the operator made it."""
        return self.ancestors[-1] if self.ancestors else None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        lists = {name: tuple(row[name].split()) for name in ("scopes", "ancestors")}
        return cls(**{**row, **lists})


_COLUMNS = """id, workspace_id, name, mode, last_four, created_at, revoked_at, expires_at, last_used_at,
               scopes, budget, ancestors, version, previous_last_four, previous_until"""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """The row of a new key."""

    workspace_id: str
    name: str
    text: KeyText
    digest: str
    created_at: int
    expires_at: int | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    budget: int | None = None
    ancestors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredKey:
    """
    A stored key: the digests that authenticate a request, and the rights that it then has.

    `previous_digest` is that of the secret before the last rotation, which works until `previous_until`.
    """

    id: str
    workspace_id: str
    plan: str
    limits: Limits
    mode: Mode
    scopes: frozenset[str]
    digest: str
    previous_digest: str | None
    previous_until: int | None
    revoked_at: int | None
    expires_at: int | None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        overrides = Overrides(row["requests_per_minute"], row["requests_per_day"], row["concurrent_runs"])
        return cls(
            id=row["id"],
            workspace_id=row["workspace_id"],
            plan=row["plan"],
            limits=limits_of(row["plan"], overrides),
            mode=row["mode"],
            scopes=frozenset(row["scopes"].split()),
            digest=row["digest"],
            previous_digest=row["previous_digest"],
            previous_until=row["previous_until"],
            revoked_at=row["revoked_at"],
            expires_at=row["expires_at"],
        )


async def insert_key(db: Queries, key: NewApiKey) -> ApiKey:
    """Store `key`. Raises NotFound if its workspace does not exist."""
    row = await db.fetch_one(
        f"""
        INSERT INTO api_keys (id, workspace_id, name, digest, mode, last_four, created_at, expires_at,
                              scopes, budget, ancestors)
        SELECT :id, id, :name, :digest, :mode, :last_four,
               CAST(:created_at AS BIGINT), CAST(:expires_at AS BIGINT), :scopes, CAST(:budget AS BIGINT),
               :ancestors
          FROM workspaces
         WHERE id = :workspace_id
        RETURNING {_COLUMNS}
        """,  # noqa: S608
        id=new_cuid(),
        workspace_id=key.workspace_id,
        name=key.name,
        digest=key.digest,
        mode=key.text.mode,
        last_four=key.text.last_four,
        created_at=key.created_at,
        expires_at=key.expires_at,
        scopes=" ".join(key.scopes),
        budget=key.budget,
        ancestors=" ".join(key.ancestors),
    )
    if row is None:
        raise NotFound(f"There is no workspace {key.workspace_id}.")
    return ApiKey.from_row(row)


async def find_by_digest(db: Queries, digests: Sequence[str]) -> StoredKey | None:
    """Return the key stored under one of `digests`, even if that is of its previous secret."""
    names = [f"digest{number}" for number in range(len(digests))]
    digests_sql = ", ".join(f":{name}" for name in names)
    row = await db.fetch_one(
        f"""
        SELECT k.id, k.workspace_id, w.plan, w.requests_per_minute, w.requests_per_day, w.concurrent_runs,
               k.mode, k.scopes, k.digest, k.previous_digest, k.previous_until, k.revoked_at, k.expires_at
          FROM api_keys k
          JOIN workspaces w ON w.id = k.workspace_id
         WHERE k.digest IN ({digests_sql}) OR k.previous_digest IN ({digests_sql})
        """,  # noqa: S608
        **dict(zip(names, digests, strict=True)),
    )
    return StoredKey.from_row(row) if row else None


async def replace_digest(db: Queries, key_id: str, digest: str) -> None:
    await db.execute("UPDATE api_keys SET digest = :digest WHERE id = :key_id", digest=digest, key_id=key_id)


async def list_keys(db: Queries, workspace_id: str) -> list[ApiKey]:
    """Return the keys of a workspace, newest first, without its console identity, which has no text."""
    rows = await db.fetch_all(
        f"""
        SELECT {_COLUMNS}
          FROM api_keys
         WHERE workspace_id = :workspace_id AND last_four <> ''
         ORDER BY created_at DESC, id DESC
        """,  # noqa: S608
        workspace_id=workspace_id,
    )
    return [ApiKey.from_row(row) for row in rows]


async def find_named(db: Queries, workspace_id: str, named: str, digests: Sequence[str]) -> list[ApiKey]:
    """Return keys with the id or last four characters `named`, or one of `digests`, newest first."""
    names = [f"digest{number}" for number in range(len(digests))]
    rows = await db.fetch_all(
        f"""
        SELECT {_COLUMNS}
          FROM api_keys
         WHERE workspace_id = :workspace_id AND last_four <> ''
           AND (id = :named OR last_four = :named OR digest IN ({", ".join(f":{name}" for name in names)}))
         ORDER BY created_at DESC, id DESC
        """,  # noqa: S608
        workspace_id=workspace_id,
        named=named,
        **dict(zip(names, digests, strict=True)),
    )
    return [ApiKey.from_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class KeyEdit:
    """The new values of a key that may change."""

    name: str
    scopes: tuple[str, ...]
    budget: int | None
    expires_at: int | None
    previous_until: int | None


async def update_key(db: Queries, key: ApiKey, edit: KeyEdit) -> ApiKey:
    """Write `edit` over `key`, whose workspace is locked."""
    [row] = await db.fetch_all(
        f"""
        UPDATE api_keys
           SET name = :name, scopes = :scopes, budget = :budget, expires_at = :expires_at,
               previous_until = :previous_until, alerted_percent = :alerted * alerted_percent,
               version = version + 1
         WHERE id = :id
        RETURNING {_COLUMNS}
        """,  # noqa: S608
        id=key.id,
        name=edit.name,
        scopes=" ".join(edit.scopes),
        budget=edit.budget,
        expires_at=edit.expires_at,
        previous_until=edit.previous_until,
        alerted=int(edit.budget == key.budget),  # alerts begin anew with a new budget
    )
    return ApiKey.from_row(row)


async def rotate_key(
    db: Queries, key: ApiKey, text: KeyText, digest: str, *, previous_until: int | None
) -> ApiKey:
    """Give an existing key a new secret. The present one becomes its previous secret."""
    [row] = await db.fetch_all(
        f"""
        UPDATE api_keys
           SET previous_digest = digest, previous_last_four = last_four, previous_until = :until,
               digest = :digest, last_four = :last_four, version = version + 1
         WHERE id = :id
        RETURNING {_COLUMNS}
        """,  # noqa: S608
        id=key.id,
        until=previous_until,
        digest=digest,
        last_four=text.last_four,
    )
    return ApiKey.from_row(row)


async def list_digests(db: Queries, key_id: str) -> list[str]:
    """Return the digests under which a request may come with this key."""
    rows = await db.fetch_all(
        "SELECT digest, previous_digest FROM api_keys WHERE id = :key_id", key_id=key_id
    )
    return [digest for row in rows for digest in (row["digest"], row["previous_digest"]) if digest]


async def find_by_previous(db: Queries, workspace_id: str, digests: Sequence[str]) -> ApiKey | None:
    """Return the key whose previous secret has one of `digests`."""
    names = [f"digest{number}" for number in range(len(digests))]
    row = await db.fetch_one(
        f"""
        SELECT {_COLUMNS}
          FROM api_keys
         WHERE workspace_id = :workspace_id AND previous_digest IN ({", ".join(f":{name}" for name in names)})
        """,  # noqa: S608
        workspace_id=workspace_id,
        **dict(zip(names, digests, strict=True)),
    )
    return ApiKey.from_row(row) if row else None


async def revoke_key(db: Queries, key_id: str, *, now: int) -> str:
    """Revoke an existing key and return its digest. An earlier time of revocation stays."""
    [row] = await db.fetch_all(
        """
        UPDATE api_keys
           SET revoked_at = COALESCE(revoked_at, :now)
         WHERE id = :key_id
        RETURNING digest
        """,
        key_id=key_id,
        now=now,
    )
    return str(row["digest"])


async def find_key(db: Queries, workspace_id: str, key_id: str) -> ApiKey | None:
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM api_keys WHERE workspace_id = :workspace_id AND id = :key_id",  # noqa: S608
        workspace_id=workspace_id,
        key_id=key_id,
    )
    return ApiKey.from_row(row) if row else None


async def lock_workspace(db: Queries, workspace_id: str) -> None:
    """Let no other transaction make or revoke keys of the workspace before this one ends."""
    await db.execute("UPDATE workspaces SET name = name WHERE id = :id", id=workspace_id)


async def count_living(db: Queries, workspace_id: str, *, now: int) -> int:
    """Return the number of keys of the workspace that are neither revoked nor expired."""
    [row] = await db.fetch_all(
        """
        SELECT COUNT(*) AS living
          FROM api_keys
         WHERE workspace_id = :workspace_id AND revoked_at IS NULL AND last_four <> ''
           AND (expires_at IS NULL OR expires_at > :now)
        """,
        workspace_id=workspace_id,
        now=now,
    )
    return int(row["living"])


async def revoke_below(db: Queries, workspace_id: str, key_id: str, *, now: int) -> list[str]:
    """Revoke the keys that a key has made, and those that they have made. Return their digests."""
    rows = await db.fetch_all(
        """
        UPDATE api_keys
           SET revoked_at = COALESCE(revoked_at, :now)
         WHERE workspace_id = :workspace_id AND ' ' || ancestors || ' ' LIKE :below
        RETURNING digest
        """,
        workspace_id=workspace_id,
        below=f"% {key_id} %",
        now=now,
    )
    return [str(row["digest"]) for row in rows]


async def write_last_used(db: Queries, used: Mapping[str, int]) -> None:
    """Record the time when each key was last used. A later time that another process wrote stays."""
    # All processes write rows in the order of ids, so two of them cannot wait for each other.
    await db.execute_many(
        """
        UPDATE api_keys
           SET last_used_at = :used_at
         WHERE id = :key_id AND (last_used_at IS NULL OR last_used_at < :used_at)
        """,
        [{"key_id": key_id, "used_at": used_at} for key_id, used_at in sorted(used.items())],
    )


async def reach_milestone(db: Queries, name: str, *, now: int) -> bool:
    """Return True to the first caller in the life of the database, and False to every other."""
    row = await db.fetch_one(
        """
        INSERT INTO milestones (name, reached_at)
        VALUES (:name, :now)
        ON CONFLICT (name) DO NOTHING
        RETURNING name
        """,
        name=name,
        now=now,
    )
    return row is not None


async def find_first_workspace_id(db: Queries) -> str | None:
    """Return the workspace of the first start, or None if there has been no start."""
    row = await db.fetch_one(
        "SELECT id FROM workspaces WHERE deleted_at IS NULL ORDER BY created_at, id LIMIT 1"
    )
    return str(row["id"]) if row else None
