"""
Change an API key, and say who may.

    edit     name, scopes, budget and expiry, or the end of an overlap; one more version
    rotate   a new secret for the same key, whose id, name, rights, budget and usage stay;
             the previous secret works until the overlap has ended

A key that changes another one gives it at most its own rights:

    the key to change    may be edited                    may be rotated, because the new secret is shown
    itself               yes, to no more than it has      yes
    a key below it       yes                              if it has no right that the caller lacks
    any other key        if the caller has no budget and could have made it

The operator, on the command line, is not bound by these rules.
"""

import msgspec
from msgspec import UNSET, UnsetType

from mavera.accounts.keys.delegation import Wish, check_given_scopes, delegate
from mavera.accounts.keys.repository import ApiKey, KeyEdit
from mavera.accounts.plans import check_scopes
from mavera.accounts.workspaces import NAME_MAX, check_budget
from mavera.core.text import clean_text
from mavera.errors import Forbidden, InvalidRequest, VersionConflict

LAST_EXPIRY = 253_402_300_799  # the end of the year 9999
DAY_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 90 * DAY_SECONDS


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The new values of a key. UNSET ones stay as they are, and None removes a budget or an expiry."""

    name: str | UnsetType = UNSET
    scopes: tuple[str, ...] | UnsetType = UNSET
    budget: int | UnsetType | None = UNSET
    expires_at: int | UnsetType | None = UNSET
    end_overlap: bool = False

    @property
    def is_empty(self) -> bool:
        return self == Changes()


def apply_changes(key: ApiKey, changes: Changes, *, version: int | None, now: int) -> KeyEdit:
    """
    Return the values of `key` after `changes`.

    Raises VersionConflict unless `version` is the key's or None, and InvalidRequest for an invalid value or
    a revoked key.
    """
    if version is not None and version != key.version:
        raise VersionConflict(
            f"This API key has changed: its version is {key.version}, and you read version {version}."
            " Read it again, and repeat your change.",
            param="version",
        )
    check_alive(key)
    overlapping = key.previous_until is not None and key.previous_until > now
    return KeyEdit(
        name=key.name if changes.name is UNSET else check_key_name(changes.name),
        scopes=key.scopes if changes.scopes is UNSET else check_scopes(changes.scopes),
        budget=key.budget if changes.budget is UNSET else check_budget(changes.budget),
        expires_at=(
            key.expires_at if changes.expires_at is UNSET else check_expiry(changes.expires_at, now=now)
        ),
        previous_until=now if overlapping and changes.end_overlap else key.previous_until,
    )


def check_alive(key: ApiKey) -> None:
    """Raise InvalidRequest if `key` is revoked."""
    if key.revoked_at is not None:
        raise InvalidRequest("This API key has been revoked, so it cannot be changed. Create a new one.")


def check_key_name(name: str) -> str:
    if len(name) > NAME_MAX:
        raise InvalidRequest(f"A key's name has at most {NAME_MAX} characters.", param="name")
    return clean_text(name)  # a terminal may pass bytes that are not text


def check_expiry(expires_at: int | None, *, now: int) -> int | None:
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("'expires_at' must lie in the future.", param="expires_at")
    if expires_at is not None and expires_at > LAST_EXPIRY:
        raise InvalidRequest("'expires_at' lies before the year 10000, in seconds.", param="expires_at")
    return expires_at


def end_of_overlap(key: ApiKey, overlap_seconds: int, *, now: int) -> int:
    """
    Return when the present secret of `key` stops working if it is rotated now.

    Raises VersionConflict while the secret before it still works, because a key has at most two.
    """
    if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        raise InvalidRequest(f"An overlap has 0 to {MAX_OVERLAP_SECONDS:,} seconds.", param="overlap_seconds")
    check_alive(key)
    if overlap_seconds and key.previous_until is not None and key.previous_until > now:
        raise VersionConflict(
            f"The secret of the last rotation (…{key.previous_last_four}) still works until"
            f" {key.previous_until}. End it first ('end_overlap'), or rotate with 'overlap_seconds' 0."
        )
    return min(now + overlap_seconds, key.expires_at or LAST_EXPIRY)


def check_edit(maker: ApiKey, key: ApiKey, changes: Changes) -> None:
    """Raise Forbidden, naming the member, if `maker` may not change `key` like that."""
    if maker.id not in (key.id, *key.ancestors):
        _check_stranger(maker, key)
    if changes.scopes is not UNSET:
        check_given_scopes(maker, set(changes.scopes) - set(key.scopes))
    for name in ("budget", "expires_at"):
        wanted, has, may = getattr(changes, name), getattr(key, name), getattr(maker, name)
        if wanted is not UNSET and _exceeds(wanted, has) and _exceeds(wanted, may):
            raise Forbidden(
                f"This API key has the '{name}' {may}, so it cannot give another one more.", param=name
            )


def check_rotation(maker: ApiKey, key: ApiKey) -> None:
    """Raise Forbidden if `maker` may not have the new secret of `key`."""
    if maker.id == key.id:
        return
    if maker.id not in key.ancestors:
        _check_stranger(maker, key)
    elif not _covers(maker, key):
        raise Forbidden("That API key has a right that this one lacks, so this one cannot have its secret.")


def _check_stranger(maker: ApiKey, key: ApiKey) -> None:
    # The spending of a stranger does not count for the maker, so a maker with a budget could spend it, too.
    if maker.budget is not None or not _covers(maker, key):
        raise Forbidden(
            "This API key can change itself, the keys below it and, if it has no budget, keys that it could"
            " have made. Use an API key with the rights of the one to change, or 'mavera keys'."
        )


def _covers(maker: ApiKey, key: ApiKey) -> bool:
    """Say whether `maker` could give away the rights of `key`, except for its budget."""
    if _exceeds(key.expires_at, maker.expires_at):
        return False
    try:
        delegate(maker, Wish(mode=key.mode, expires_at=key.expires_at, scopes=key.scopes))
    except Forbidden:
        return False
    return True


def _exceeds(value: int | None, bound: int | None) -> bool:
    """Compare two values of which None is the greatest."""
    return bound is not None and (value is None or value > bound)
