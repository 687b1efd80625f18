"""
Share one study read-only by a link, which needs no key and leads to nothing else.

    create      a link with an expiry; its secret is returned once, and only its digest is stored
    list_page   the links of a study that still work
    revoke      end one of them at once
    find_study  the study behind the secret of a link, for whoever has it

Links end by themselves, when they are revoked, and with their study.
"""

import hashlib
import secrets
from dataclasses import dataclass

import msgspec

from mavera.accounts import audit
from mavera.accounts.audit import Actor, Entry
from mavera.accounts.principal import Principal
from mavera.core.ids import new_cuid
from mavera.errors import InvalidRequest, NotFound
from mavera.focus_groups import repository
from mavera.focus_groups.repository import StudyRow
from mavera.storage.database import Database
from mavera.storage.moment import Moment, moment_of

DAYS_DEFAULT = 30
DAYS_MAX = 365
# The links of one study that work at the same time.
MOST_SHARES = 50
# The pages of links are below this path. The secret follows, so logs leave the rest of the path out.
SHARED_PREFIX = "/console/shared/"
_SECRET_BYTES = 24
_DAY = 86_400


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A link to a study. Times are Unix seconds."""

    id: str
    study_id: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class NewShare:
    """A link that was just made, and its secret. The repr leaves the secret out."""

    share: Share
    secret: str

    def __repr__(self) -> str:
        return f"NewShare({self.share!r})"


def path_of(secret: str) -> str:
    """Return the path of the page that a link leads to."""
    return SHARED_PREFIX + secret


class Shares:
    """The links to the studies of all workspaces."""

    def __init__(self, database: Database, *, moment: Moment | None = None) -> None:
        self._database = database
        self._moment = moment or moment_of(database, None)

    async def create(self, principal: Principal, study_id: str, *, days: int = DAYS_DEFAULT) -> NewShare:
        """
        Make a link that works for `days`.

        Raises NotFound if the workspace has no such study, and InvalidRequest if `days` is out of range or
        the study has 50 links.
        """
        if not 1 <= days <= DAYS_MAX:
            raise InvalidRequest(f"A link works for 1 to {DAYS_MAX} days.", param="expires_in_days")
        row = await repository.get(self._database, principal, study_id)
        now = self._moment.now
        share = Share(id=new_cuid(), study_id=row.id, created_at=now, expires_at=now + days * _DAY)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        async with self._database.transaction() as transaction:
            # The write comes first, because on Postgres it locks the row.
            await transaction.execute("UPDATE focus_groups SET name = name WHERE id = :id", id=row.id)
            await transaction.execute(
                "DELETE FROM focus_group_shares WHERE study_id = :id AND expires_at <= :now",
                id=row.id,
                now=now,
            )
            counted = await transaction.fetch_one(
                "SELECT COUNT(*) AS number FROM focus_group_shares WHERE study_id = :id", id=row.id
            )
            if counted is not None and int(counted["number"]) >= MOST_SHARES:
                raise InvalidRequest(f"This focus group has {MOST_SHARES} links. Revoke one of them first.")
            await transaction.execute(
                """
                INSERT INTO focus_group_shares (id, study_id, digest, created_at, expires_at)
                VALUES (:id, :study_id, :digest, :created_at, :expires_at)
                """,
                **msgspec.structs.asdict(share),
                digest=_digest(secret),
            )
        await self._record(principal, "share.created", row, days=days)
        return NewShare(share, secret)

    async def list_page(
        self, principal: Principal, study_id: str, limit: int, cursor: str | None = None
    ) -> tuple[list[Share], str | None]:
        """Return a page of the links that work, newest first, and the cursor of the next. Raises NotFound."""
        return await self.list_of(await repository.get(self._database, principal, study_id), limit, cursor)

    async def list_of(
        self, row: StudyRow, limit: int, cursor: str | None = None
    ) -> tuple[list[Share], str | None]:
        """Return a page of the links of a study that the caller may see, and the cursor of the next."""
        rows = await self._database.fetch_all(
            """
            SELECT id, study_id, created_at, expires_at FROM focus_group_shares
             WHERE study_id = :study_id AND expires_at > :now AND id < :before
             ORDER BY id DESC LIMIT :limit
            """,
            study_id=row.id,
            now=self._moment.now,
            before=cursor or "d",  # after every id, because ids begin with "c" and their time
            limit=limit + 1,
        )
        shares = [msgspec.convert(one, Share) for one in rows]
        return shares[:limit], shares[limit - 1].id if len(shares) > limit else None

    async def revoke(self, principal: Principal, study_id: str, share_id: str) -> None:
        """End a link at once. Raises NotFound if the study or the link does not exist."""
        row = await repository.get(self._database, principal, study_id)
        changed = await self._database.execute(
            "DELETE FROM focus_group_shares WHERE id = :id AND study_id = :study_id",
            id=share_id,
            study_id=row.id,
        )
        if not changed:
            raise NotFound("This focus group has no such link.")
        await self._record(principal, "share.revoked", row)

    async def _record(self, principal: Principal, action: str, row: StudyRow, **details: int) -> None:
        entry = Entry(row.workspace_id, action, row.id, row.name, details)
        await audit.record(self._database, Actor.of(principal), entry, now=self._moment.now)

    async def find_study(self, secret: str) -> tuple[Share, StudyRow]:
        """Return the link with this secret and its study. Raises NotFound if it has ended or never was."""
        found = await self._database.fetch_one(
            """
            SELECT id, study_id, created_at, expires_at FROM focus_group_shares
             WHERE digest = :digest AND expires_at > :now
            """,
            digest=_digest(secret),
            now=self._moment.now,
        )
        row = await repository.find(self._database, found["study_id"]) if found is not None else None
        if found is None or row is None:
            raise NotFound("This link has expired or was revoked. Ask for a new one.")
        return msgspec.convert(found, Share), row


def _digest(secret: str) -> str:
    # 192 random bits cannot be guessed, so a fast digest is enough.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
