"""
Run the SQL for custom personas: one row each in `personas`, one row per version in `persona_versions`.

Every statement names the workspace and the mode of the key. Therefore an id of another workspace finds
nothing, and test keys see only the personas that test keys made.
"""

from collections.abc import Callable

import msgspec

from mavera.accounts.principal import Principal
from mavera.core.ids import new_cuid
from mavera.errors import InvalidRequest, VersionConflict
from mavera.personas.builtin import Gone
from mavera.personas.custom import CustomPersona, Sheet
from mavera.storage.database import Database, Queries, Row

GONE_SECONDS = 86_400

_SELECT = """
    SELECT p.id, p.version, p.credits_charged, p.created_at, p.updated_at, v.sheet
      FROM personas p
      JOIN persona_versions v ON v.persona_id = p.id AND v.version = p.version
     WHERE p.workspace_id = :workspace_id AND p.mode = :mode AND p.deleted_at IS NULL
"""


class PersonaLimits(msgspec.Struct, frozen=True):
    """The most personas of a workspace for each mode of key, and the most versions of a persona."""

    personas: int = 1000
    versions: int = 1000


def _place(principal: Principal) -> dict[str, str]:
    """Return the columns that identify the owner."""
    return {"workspace_id": principal.workspace_id, "mode": principal.mode}


async def insert(
    database: Database,
    principal: Principal,
    sheet: Sheet,
    *,
    limits: PersonaLimits,
    now: int,
    credits: int = 0,
) -> CustomPersona:
    """Store a new persona. Raises InvalidRequest if the workspace has as many as `limits` allow."""
    persona = _to_persona(
        sheet, id=new_cuid(), version=1, created_at=now, updated_at=now, credits_charged=credits
    )
    async with database.transaction() as transaction:
        # This locks the workspace, so that two processes cannot both take the last place.
        await transaction.execute(
            "UPDATE workspaces SET name = name WHERE id = :id", id=principal.workspace_id
        )
        await check_room(transaction, principal, limits)
        await transaction.execute(
            """
            INSERT INTO personas (id, workspace_id, mode, version, name, category, credits_charged,
                                  created_at, updated_at)
            VALUES (:id, :workspace_id, :mode, 1, :name, :category, :credits, :now, :now)
            """,
            **_place(principal),
            id=persona.id,
            name=sheet.name,
            category=sheet.category,
            credits=credits,
            now=now,
        )
        await _insert_version(transaction, persona)
    return persona


async def check_room(db: Queries, principal: Principal, limits: PersonaLimits) -> None:
    """Raise InvalidRequest if the workspace has as many personas as `limits` allow."""
    row = await db.fetch_one(
        """
        SELECT COUNT(*) AS number FROM personas
         WHERE workspace_id = :workspace_id AND mode = :mode AND deleted_at IS NULL
        """,
        **_place(principal),
    )
    if row is not None and int(row["number"]) >= limits.personas:
        raise InvalidRequest(f"This workspace has {limits.personas:,} custom personas, which is the limit.")


async def find(db: Queries, principal: Principal, persona_id: str) -> CustomPersona | None:
    row = await db.fetch_one(f"{_SELECT} AND p.id = :id", **_place(principal), id=persona_id)
    return _from_row(row) if row else None


async def list_versions(db: Queries, principal: Principal) -> frozenset[tuple[str, int]]:
    """Return the id and version of each persona. A recently deleted persona has version 0."""
    rows = await db.fetch_all(
        """
        SELECT id, CASE WHEN deleted_at IS NULL THEN version ELSE 0 END AS version
          FROM personas
         WHERE workspace_id = :workspace_id AND mode = :mode
        """,
        **_place(principal),
    )
    return frozenset((row["id"], row["version"]) for row in rows)


async def list_all(db: Queries, principal: Principal) -> tuple[list[CustomPersona], list[Gone]]:
    """Return the workspace's personas, and those that were deleted recently."""
    rows = await db.fetch_all(_SELECT, **_place(principal))
    gone = await db.fetch_all(
        """
        SELECT id, name, category FROM personas
         WHERE workspace_id = :workspace_id AND mode = :mode AND deleted_at IS NOT NULL
        """,
        **_place(principal),
    )
    return [_from_row(row) for row in rows], [Gone(**row) for row in gone]


async def update(
    database: Database,
    principal: Principal,
    persona_id: str,
    change: Callable[[Sheet], Sheet],
    *,
    limits: PersonaLimits,
    now: int,
    version: int | None = None,
) -> CustomPersona | None:
    """
    Apply `change` to the persona, and store the result as its next version. None if there is no such persona.

    A change without effect makes no version. Concurrent changes are applied one after the other. Raises
    InvalidRequest if the persona has as many versions as `limits` allow, and VersionConflict if `version` is
    given and no longer the latest.
    """
    async with database.transaction() as transaction:
        # The write comes first, because on Postgres it locks the row.
        await transaction.execute(
            """
            UPDATE personas SET updated_at = updated_at
             WHERE id = :id AND workspace_id = :workspace_id AND mode = :mode AND deleted_at IS NULL
            """,
            **_place(principal),
            id=persona_id,
        )
        found = await find(transaction, principal, persona_id)
        if found is None:
            return None
        _check_version(found, version)
        before = to_sheet(found)
        sheet = change(before)
        if sheet == before:
            return found
        if found.version >= limits.versions:
            raise InvalidRequest(
                f"This persona has {limits.versions:,} versions, which is the limit. Create a new persona."
            )
        persona = _to_persona(
            sheet,
            id=found.id,
            version=found.version + 1,
            created_at=found.created_at,
            updated_at=now,
            credits_charged=found.credits_charged,
        )
        await transaction.execute(
            """
            UPDATE personas SET version = :version, name = :name, category = :category, updated_at = :now
             WHERE id = :id
            """,
            id=persona.id,
            version=persona.version,
            name=sheet.name,
            category=sheet.category,
            now=now,
        )
        await _insert_version(transaction, persona)
    return persona


def _check_version(found: CustomPersona, version: int | None) -> None:
    """Raise VersionConflict if somebody has changed the persona since `version` was read."""
    if version is not None and found.version != version:
        raise VersionConflict(
            f"This persona is at version {found.version}, and you changed version {version}. Nothing was "
            "stored. Look at the newer version, and change that one.",
            param="version",
        )


async def list_history(
    db: Queries, principal: Principal, persona_id: str, *, limit: int, before: int | None = None
) -> list[CustomPersona]:
    """Return up to `limit` versions of a persona, the newest first, from the one before `before`."""
    rows = await db.fetch_all(
        """
        SELECT p.id, v.version, p.credits_charged, p.created_at, v.created_at AS updated_at, v.sheet
          FROM personas p
          JOIN persona_versions v ON v.persona_id = p.id
         WHERE p.id = :id AND p.workspace_id = :workspace_id AND p.mode = :mode AND p.deleted_at IS NULL
           AND v.version < :before
         ORDER BY v.version DESC LIMIT :limit
        """,
        **_place(principal),
        id=persona_id,
        before=before if before is not None else 1 << 31,
        limit=limit,
    )
    return [_from_row(row) for row in rows]


async def delete(database: Database, principal: Principal, persona_id: str, *, now: int) -> bool:
    """Delete a persona and all its versions. Returns False if there was none."""
    async with database.transaction() as transaction:
        deleted = await transaction.execute(
            """
            UPDATE personas SET deleted_at = :now
             WHERE id = :id AND workspace_id = :workspace_id AND mode = :mode AND deleted_at IS NULL
            """,
            **_place(principal),
            id=persona_id,
            now=now,
        )
        if deleted:
            await transaction.execute("DELETE FROM persona_versions WHERE persona_id = :id", id=persona_id)
        await transaction.execute("DELETE FROM personas WHERE deleted_at < :then", then=now - GONE_SECONDS)
    return bool(deleted)


async def _insert_version(db: Queries, persona: CustomPersona) -> None:
    await db.execute(
        """
        INSERT INTO persona_versions (persona_id, version, sheet, created_at)
        VALUES (:id, :version, :sheet, :now)
        """,
        id=persona.id,
        version=persona.version,
        sheet=msgspec.json.encode(to_sheet(persona)).decode(),
        now=persona.updated_at,
    )


def _to_persona(sheet: Sheet, **members: object) -> CustomPersona:
    values = {name: getattr(sheet, name) for name in Sheet.__struct_fields__}
    return CustomPersona(**{**values, **members})


def to_sheet(persona: Sheet) -> Sheet:
    """Return the content of a stored persona, without its id and version."""
    return Sheet(**{name: getattr(persona, name) for name in Sheet.__struct_fields__})


def _from_row(row: Row) -> CustomPersona:
    sheet = msgspec.json.decode(row["sheet"], type=Sheet)
    names = ("id", "version", "created_at", "updated_at", "credits_charged")
    return _to_persona(sheet, **{name: row[name] for name in names})
