"""
Let a session make, change, rotate and revoke keys.

A session of a key has the key's rights over other keys, as in the API. A session without a key gives no scope
that its role lacks.
"""

from mavera.accounts.keys.changes import Changes
from mavera.accounts.keys.delegation import KeyTerms, Wish
from mavera.accounts.keys.keyring import NewKey
from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.plans import check_scopes
from mavera.console.visit import Visit
from mavera.errors import Forbidden


async def make_key(visit: Visit, wish: Wish) -> NewKey:
    """Make a key. Raises the errors of the keyring."""
    keyring = visit.services.keyring
    if visit.session.key_id is not None:
        return await keyring.delegate(visit.principal, wish)
    scopes = check_scopes(wish.scopes or ())
    _check_given(visit, scopes)
    terms = KeyTerms(wish.name, wish.mode or "live", wish.expires_at, scopes, wish.budget)
    return await keyring.make(visit.workspace_id, terms, by=visit.actor)


async def edit_key(visit: Visit, key: ApiKey, changes: Changes, *, version: int) -> ApiKey:
    """Change a key. Raises VersionConflict if somebody else has changed it since it was read."""
    keyring = visit.services.keyring
    if visit.session.key_id is not None:
        return await keyring.edit_as(visit.principal, key.id, changes, version=version)
    if isinstance(changes.scopes, tuple):
        _check_given(visit, tuple(scope for scope in changes.scopes if scope not in key.scopes))
    return await keyring.edit(visit.workspace_id, key.id, changes, version=version, by=visit.actor)


async def rotate_key(visit: Visit, key: ApiKey, *, overlap_seconds: int) -> NewKey:
    """Give a key a new secret. A session only gets the secret of a key that has no right that it lacks."""
    keyring = visit.services.keyring
    if visit.session.key_id is not None:
        return await keyring.rotate_as(visit.principal, key.id, overlap_seconds=overlap_seconds)
    _check_given(visit, key.scopes)
    return await keyring.rotate(visit.workspace_id, key.id, overlap_seconds=overlap_seconds, by=visit.actor)


async def revoke_key(visit: Visit, key_id: str, *, with_children: bool) -> ApiKey:
    keyring = visit.services.keyring
    if visit.session.key_id is not None:
        return await keyring.revoke_as(visit.principal, key_id, with_children=with_children)
    return await keyring.revoke(visit.workspace_id, key_id, with_children=with_children, by=visit.actor)


def _check_given(visit: Visit, scopes: tuple[str, ...]) -> None:
    missing = [scope for scope in scopes if scope not in visit.principal.scopes]
    if missing:
        raise Forbidden(f"This session lacks the scope '{missing[0]}', so it cannot give it.", param="scopes")
