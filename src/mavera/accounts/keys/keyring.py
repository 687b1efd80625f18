"""
Authenticate requests by their API key, and make, list and revoke keys.

    Authorization: Bearer mvra_live_…  →  well-formed?  →  in the cache?  →  the store  →  Principal

The result of a lookup is cached for a second. So most requests do not need the store, and a key that another
process revoked stops working within that second. Simultaneous requests with the same key share one lookup.
The times of last use are written a few seconds later, for all keys together.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import structlog

from mavera.accounts import audit
from mavera.accounts.audit import Actor, Entry
from mavera.accounts.keys import repository
from mavera.accounts.keys.changes import (
    DAY_SECONDS,
    Changes,
    apply_changes,
    check_edit,
    check_expiry,
    check_key_name,
    check_rotation,
    end_of_overlap,
)
from mavera.accounts.keys.delegation import MAX_LIVING_KEYS, KeyTerms, Wish, check_revocation, delegate
from mavera.accounts.keys.repository import ApiKey, NewApiKey, StoredKey
from mavera.accounts.keys.text import Mode, Peppers, make_key_text, parse_key
from mavera.accounts.plans import check_scopes
from mavera.accounts.principal import Principal
from mavera.accounts.short_lived import ShortLived
from mavera.accounts.workspaces import check_budget
from mavera.core.background import stop
from mavera.errors import APIError, Forbidden, InvalidRequest, NotFound, Unauthorized
from mavera.storage.database import Database, Queries

CACHE_SECONDS = 1.0
CACHED_PRINCIPALS = 4096
CACHED_REFUSALS = 1024
WRITE_LAST_USED_SECONDS = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. `text` is stored nowhere, so show it now."""

    key: ApiKey
    text: str = field(repr=False)


class Keyring:
    def __init__(
        self,
        database: Database,
        *,
        peppers: Peppers = Peppers(),  # noqa: B008 - frozen
        write_last_used_seconds: float = WRITE_LAST_USED_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._database = database
        self._peppers = peppers
        self._clock = clock or database.clock
        # With two caches, guesses by strangers cannot displace the keys in use.
        self._principals = ShortLived[Principal](limit=CACHED_PRINCIPALS, life_seconds=CACHE_SECONDS)
        self._refusals = ShortLived[str](limit=CACHED_REFUSALS, life_seconds=CACHE_SECONDS)
        self._lookups: dict[str, asyncio.Task[Principal | str]] = {}
        self._write_last_used_seconds = write_last_used_seconds
        self._used: dict[str, int] = {}
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write the remaining times of last use. The database must still be open."""
        await stop(self._writer)
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)
        await self._write_last_used()

    async def authenticate(self, authorization_header: str | None) -> Principal:
        """Return the caller, or raise Unauthorized with a message that says what to change."""
        token = _read_bearer_token(authorization_header)
        digest = self._peppers.digest(token)
        principal = self._principals.get(digest) or await self._look_up_principal(digest, token)
        now = int(self._clock())
        if principal.expires_at is not None and principal.expires_at <= now:
            raise Unauthorized("This API key has expired. Create a new one.")
        self._note_use(principal.key_id, now)
        return principal

    async def _look_up_principal(self, digest: str, token: str) -> Principal:
        """Return the owner of a key that is not in the cache. Raises Unauthorized."""
        text = parse_key(token).text
        found = self._refusals.get(digest) or await self._look_up_once(digest, text)
        if isinstance(found, str):
            raise Unauthorized(found)
        return found

    async def create(self, workspace_id: str, name: str, mode: Mode, expires_at: int | None = None) -> NewKey:
        """Make a key with the usual scopes and no budget of its own."""
        return await self.make(workspace_id, KeyTerms(name, mode, expires_at))

    async def make(self, workspace_id: str, terms: KeyTerms, *, by: Actor | None = None) -> NewKey:
        """
        Make a key. `by` is whoever makes it, by default the user of the command line.

        Raises InvalidRequest for invalid terms, and NotFound if there is no such workspace.
        """
        async with self._database.transaction() as transaction:
            return await self._make(transaction, workspace_id, terms, by or Actor.of_command())

    async def _make(self, db: Queries, workspace_id: str, terms: KeyTerms, actor: Actor) -> NewKey:
        now = int(self._clock())
        check_expiry(terms.expires_at, now=now)
        name = check_key_name(terms.name)
        text = make_key_text(terms.mode)
        new = NewApiKey(
            workspace_id,
            name,
            text,
            self._peppers.digest(text.text),
            created_at=now,
            expires_at=terms.expires_at,
            scopes=check_scopes(terms.scopes),
            budget=check_budget(terms.budget),
            ancestors=terms.ancestors,
        )
        key = await repository.insert_key(db, new)
        await self._record(db, actor, "api_key.created", key, _describe_terms(key))
        self._refusals.forget(new.digest)
        return NewKey(key, text.text)

    async def delegate(self, maker: Principal, wish: Wish) -> NewKey:
        """
        Let a key make another one, with at most its own rights.

        Raises Forbidden, naming the right that it may not give, InvalidRequest for invalid terms, or
        Unauthorized if `maker` was revoked a moment ago.
        """
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            await repository.lock_workspace(transaction, maker.workspace_id)
            terms = delegate(await self._reload_key(transaction, maker), wish)
            if await repository.count_living(transaction, maker.workspace_id, now=now) >= MAX_LIVING_KEYS:
                raise Forbidden(f"This workspace has {MAX_LIVING_KEYS:,} API keys. Revoke some of them.")
            return await self._make(transaction, maker.workspace_id, terms, Actor.of(maker))

    async def edit(
        self,
        workspace_id: str,
        named: str,
        changes: Changes,
        *,
        version: int | None = None,
        by: Actor | None = None,
    ) -> ApiKey:
        """
        Change the key with this id, these last four characters, or this text. Servers follow within a second.

        Raises NotFound, InvalidRequest for an invalid value, or VersionConflict if `version` is not None
        and the key has another one.
        """
        async with self._database.transaction() as transaction:
            key = await self._lock_named(transaction, workspace_id, named)
            return await self._edit(transaction, key, changes, version, by or Actor.of_command())

    async def edit_as(
        self, maker: Principal, key_id: str, changes: Changes, *, version: int | None = None
    ) -> ApiKey:
        """Let a key change itself or another one. Raises as `edit` does, or Forbidden, naming the right."""
        async with self._database.transaction() as transaction:
            key = await self._lock_key(transaction, maker.workspace_id, key_id)
            check_edit(await self._reload_key(transaction, maker), key, changes)
            return await self._edit(transaction, key, changes, version, Actor.of(maker))

    async def _edit(
        self, transaction: Queries, key: ApiKey, changes: Changes, version: int | None, actor: Actor
    ) -> ApiKey:
        edit = apply_changes(key, changes, version=version, now=int(self._clock()))
        if changes.is_empty:
            return key
        edited = await repository.update_key(transaction, key, edit)
        await self._forget(transaction, key.id)
        changed = audit.describe_changes(_describe_terms(key), _describe_terms(edited))
        if changes.end_overlap:
            changed["previous_until"] = {"before": key.previous_until, "after": edited.previous_until}
        await self._record(transaction, actor, "api_key.updated", edited, changed)
        return edited

    async def rotate(
        self,
        workspace_id: str,
        named: str,
        *,
        overlap_seconds: int = DAY_SECONDS,
        by: Actor | None = None,
    ) -> NewKey:
        """
        Give a key a new secret. The present one works for `overlap_seconds` more.

        Raises NotFound, InvalidRequest, or VersionConflict if the secret before it still works.
        """
        async with self._database.transaction() as transaction:
            key = await self._lock_named(transaction, workspace_id, named)
            return await self._rotate(transaction, key, overlap_seconds, by or Actor.of_command())

    async def rotate_as(self, maker: Principal, key_id: str, *, overlap_seconds: int = DAY_SECONDS) -> NewKey:
        """Let a key rotate itself or another one. Raises as `rotate` does, or Forbidden."""
        async with self._database.transaction() as transaction:
            key = await self._lock_key(transaction, maker.workspace_id, key_id)
            check_rotation(await self._reload_key(transaction, maker), key)
            return await self._rotate(transaction, key, overlap_seconds, Actor.of(maker))

    async def _rotate(self, transaction: Queries, key: ApiKey, overlap_seconds: int, actor: Actor) -> NewKey:
        until = end_of_overlap(key, overlap_seconds, now=int(self._clock()))
        await self._forget(transaction, key.id)
        text = make_key_text(key.mode)
        digest = self._peppers.digest(text.text)
        rotated = await repository.rotate_key(transaction, key, text, digest, previous_until=until)
        details = {"last_four": rotated.last_four, "previous_until": until}
        await self._record(transaction, actor, "api_key.rotated", rotated, details)
        self._refusals.forget(digest)
        return NewKey(rotated, text.text)

    async def find(self, workspace_id: str, key_id: str) -> ApiKey:
        """Return the key. Raises NotFound if the workspace has no such key."""
        key = await repository.find_key(self._database, workspace_id, key_id)
        if key is None or not key.last_four:  # the console identity is no key
            raise NotFound("This workspace has no such API key. GET /api/v1/api-keys lists them.")
        return key

    async def _lock_key(self, transaction: Queries, workspace_id: str, key_id: str) -> ApiKey:
        """Return the key, which no other transaction changes before this one ends. Raises NotFound."""
        await repository.lock_workspace(transaction, workspace_id)
        key = await repository.find_key(transaction, workspace_id, key_id)
        if key is None or not key.last_four:
            raise NotFound("This workspace has no such API key. GET /api/v1/api-keys lists them.")
        return key

    async def _lock_named(self, transaction: Queries, workspace_id: str, named: str) -> ApiKey:
        """Return the key with this id, these last four characters, or this text, like `_lock_key`."""
        await repository.lock_workspace(transaction, workspace_id)
        digests = self._peppers.digests(named)
        found = await repository.find_named(transaction, workspace_id, named, digests)
        if not found and (key := await repository.find_by_previous(transaction, workspace_id, digests)):
            raise InvalidRequest(
                f"This is the previous secret of the API key {key.id}. Name the key by its id. To end only"
                f" this secret, type: mavera keys edit {key.id} --end-overlap"
            )
        return _pick_one(found)

    async def _forget(self, transaction: Queries, key_id: str) -> None:
        """Drop a key from the cache. Other processes read it again within a second."""
        for digest in await repository.list_digests(transaction, key_id):
            self._principals.forget(digest)

    async def revoke(
        self, workspace_id: str, named: str, *, with_children: bool = False, by: Actor | None = None
    ) -> ApiKey:
        """
        Revoke the key with this id, these last four characters, or this text.

        It stops working within a second in every process. `with_children` also revokes the keys that it
        made, and those that they made. Revoking a revoked key changes nothing.
        Raises NotFound, or InvalidRequest if two living keys end in the same four characters.
        """
        async with self._database.transaction() as transaction:
            key = await self._lock_named(transaction, workspace_id, named)
            return await self._revoke(transaction, key, by or Actor.of_command(), with_children=with_children)

    async def revoke_as(self, maker: Principal, key_id: str, *, with_children: bool = False) -> ApiKey:
        """Let a key revoke another one. Raises NotFound, or Forbidden if that has more rights."""
        async with self._database.transaction() as transaction:
            key = await self._lock_key(transaction, maker.workspace_id, key_id)
            check_revocation(await self._reload_key(transaction, maker), key)
            return await self._revoke(transaction, key, Actor.of(maker), with_children=with_children)

    async def _revoke(
        self, transaction: Queries, key: ApiKey, actor: Actor, *, with_children: bool
    ) -> ApiKey:
        now = int(self._clock())
        stopped = [await repository.revoke_key(transaction, key.id, now=now)]
        if with_children:
            stopped += await repository.revoke_below(transaction, key.workspace_id, key.id, now=now)
        for digest in stopped:
            self._principals.forget(digest)
        await self._forget(transaction, key.id)
        revoked = await repository.find_key(transaction, key.workspace_id, key.id)
        assert revoked is not None  # noqa: S101 - it was there a statement ago
        if key.revoked_at is None or with_children:
            await self._record(transaction, actor, "api_key.revoked", key, {"with_children": with_children})
        return revoked

    async def _record(
        self, db: Queries, actor: Actor, action: str, key: ApiKey, details: Mapping[str, Any]
    ) -> None:
        entry = Entry(key.workspace_id, action, key.id, key.name, details)
        await audit.record(db, actor, entry, now=int(self._clock()))

    async def _reload_key(self, transaction: Queries, maker: Principal) -> ApiKey:
        """Return the current state of a key. The cached state may be a second old."""
        key = await repository.find_key(transaction, maker.workspace_id, maker.key_id)
        if key is None or key.revoked_at is not None:
            raise Unauthorized("This API key has been revoked. Create a new one.")
        return key

    async def list(self, workspace_id: str) -> tuple[ApiKey, ...]:
        """Return the keys of a workspace, newest first, including revoked ones."""
        return tuple(await repository.list_keys(self._database, workspace_id))

    async def _look_up_once(self, digest: str, text: str) -> Principal | str:
        lookup = self._lookups.get(digest)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(digest, text))
            self._lookups[digest] = lookup
            lookup.add_done_callback(functools.partial(self._forget_lookup, digest))
        # A client that disconnects must not cancel the lookup of the others.
        return await asyncio.shield(lookup)

    def _forget_lookup(self, digest: str, lookup: asyncio.Task[Principal | str]) -> None:
        del self._lookups[digest]
        if not lookup.cancelled():
            lookup.exception()  # asyncio warns of an exception that nobody retrieves

    async def _look_up(self, digest: str, text: str) -> Principal | str:
        """Return the owner of a key, or the reason for its refusal. Cache either."""
        known_at = self._principals.now()
        stored = await repository.find_by_digest(self._database, self._peppers.digests(text))
        if stored is None:
            refusal = "This API key is not known here. It may belong to another server."
        elif stored.revoked_at is not None:
            refusal = "This API key has been revoked. Create a new one."
        else:
            principal = await self._admit(stored, digest, self._peppers.digests(text))
            if principal is not None:
                self._principals.put(digest, principal, known_at=known_at)
                return principal
            refusal = "This API key has been rotated, and its overlap has ended. Use the new one."
        self._refusals.put(digest, refusal, known_at=known_at)
        return refusal

    async def _admit(self, stored: StoredKey, digest: str, digests: Sequence[str]) -> Principal | None:
        """Return the owner of a living key, or None if the secret is a previous one that has ended."""
        if stored.digest in digests:
            if stored.digest != digest:  # the key was made before the pepper was set or rotated
                await repository.replace_digest(self._database, stored.id, digest)
            return _to_principal(stored, stored.expires_at)
        until = stored.previous_until
        if until is None or until <= self._clock():
            return None
        return _to_principal(stored, min(until, stored.expires_at or until))

    def _note_use(self, key_id: str, now: int) -> None:
        self._used[key_id] = now
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_while_used())

    async def _write_while_used(self) -> None:
        try:
            while self._used:
                await asyncio.sleep(self._write_last_used_seconds)
                await self._write_last_used()
        finally:
            self._writer = None

    async def _write_last_used(self) -> None:
        used, self._used = self._used, {}
        try:
            await repository.write_last_used(self._database, used)
        except (APIError, asyncio.CancelledError) as error:
            self._used = {**used, **self._used}
            if isinstance(error, asyncio.CancelledError):
                raise
            log.warning("last_used_not_written", keys=len(used), reason=error.message)


def _describe_terms(key: ApiKey) -> dict[str, Any]:
    """Return what the audit log says of a key."""
    members = asdict(key)
    return {name: members[name] for name in ("name", "mode", "scopes", "budget", "expires_at")}


def _read_bearer_token(header: str | None) -> str:
    # No message quotes the header, because a misplaced word may be the key.
    if header is None or not header.strip():
        raise Unauthorized("No API key was sent. Send the header 'Authorization: Bearer <your API key>'.")
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("The Authorization header must be the word Bearer, a space, and the API key.")
    if not token.strip():
        raise Unauthorized("The Authorization header has no API key after the word Bearer.")
    return token.strip()


def _to_principal(stored: StoredKey, expires_at: int | None) -> Principal:
    return Principal(
        stored.id,
        stored.workspace_id,
        stored.mode,
        stored.plan,
        expires_at,
        stored.scopes,
        stored.limits,
    )


def _pick_one(found: Sequence[ApiKey]) -> ApiKey:
    if not found:
        raise NotFound("This workspace has no such API key.")
    living = [key for key in found if key.revoked_at is None]
    if len(living) > 1:
        raise InvalidRequest("More than one API key ends in these four characters. Give the key's id.")
    return living[0] if living else found[0]
