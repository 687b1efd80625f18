"""
What one API key may do to another: make it, revoke it, and change what their workspace may spend.

A key hands out at most what it has. What a request leaves out, the new key gets from its maker:

    mode         the maker's                     a live key makes test keys too
    scopes       the usual ones that it has      never one that it lacks
    expires_at   the maker's                     never later
    budget       the maker's                     never more, and what the new key spends is also
                                                 spent by its maker, its maker's maker, and so on

The last rule is the ledger's: however many keys a key makes, together they spend no more than it
may. These rules bind keys. The operator, on the command line, is bound by none of them.
"""

from dataclasses import dataclass

from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.keys.text import Mode
from mavera.accounts.plans import DEFAULT_SCOPES
from mavera.errors import Forbidden

# Each level is a further row that a charge writes.
MAX_LEVELS = 8
MAX_LIVING_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What a key is asked to make. None takes what the maker has to give."""

    name: str = ""
    mode: Mode | None = None
    expires_at: int | None = None
    scopes: tuple[str, ...] | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key is made with. `budget` is in credits a month, `expires_at` in Unix seconds."""

    name: str = ""
    mode: Mode = "live"
    expires_at: int | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    budget: int | None = None
    ancestors: tuple[str, ...] = ()
    """The keys above it, by id: the operator's own first, its maker last."""


def delegate(maker: ApiKey, wish: Wish) -> KeyTerms:
    """Return the terms that `maker` gives a new key. Raises Forbidden, naming what it lacks."""
    if len(maker.ancestors) >= MAX_LEVELS:
        raise Forbidden(f"This API key is {MAX_LEVELS} levels below the operator's own, and makes no keys.")
    return KeyTerms(
        wish.name,
        _mode(maker, wish.mode),
        _expiry(maker, wish.expires_at),
        _scopes(maker, wish.scopes),
        _budget(maker, wish.budget),
        (*maker.ancestors, maker.id),
    )


def check_revocation(maker: ApiKey, key: ApiKey) -> None:
    """Raise Forbidden unless `key` is `maker`, stands below it, or is one that it could have made."""
    if maker.id in (key.id, *key.ancestors):
        return
    try:
        delegate(maker, Wish(mode=key.mode, expires_at=key.expires_at, scopes=key.scopes, budget=key.budget))
    except Forbidden:
        covered = False
    else:
        endless = maker.expires_at is not None and key.expires_at is None
        unlimited = maker.budget is not None and key.budget is None
        covered = not endless and not unlimited
    if not covered:
        raise Forbidden(
            "This API key revokes itself, the keys below it, and keys that may do no more than it may."
            " Use an API key with at least the rights of the one to revoke, or 'mavera keys revoke'."
        )


def check_usage_limit(maker: ApiKey, before: int | None, after: int | None) -> None:
    """Raise Forbidden where `maker` may not change its workspace's budget; None is no budget."""
    raises = before is not None and (after is None or after > before)
    if maker.mode == "test":
        raise Forbidden("This is a test key: it does not say what live keys may spend.", param="usage_limit")
    if maker.budget is not None and raises:
        raise Forbidden(
            f"This API key has a budget of {maker.budget:,} credits a month: it may lower its workspace's"
            " 'usage_limit', and neither raise it nor take it away.",
            param="usage_limit",
        )


def _mode(maker: ApiKey, mode: Mode | None) -> Mode:
    if mode == "live" and maker.mode == "test":
        raise Forbidden("This is a test key: it makes test keys only.", param="mode")
    return mode or maker.mode


def _expiry(maker: ApiKey, expires_at: int | None) -> int | None:
    if expires_at is None or maker.expires_at is None:
        return expires_at if maker.expires_at is None else maker.expires_at
    if expires_at > maker.expires_at:
        raise Forbidden(
            f"This API key expires at {maker.expires_at}, and so does each key that it makes, at the latest.",
            param="expires_at",
        )
    return expires_at


def _scopes(maker: ApiKey, scopes: tuple[str, ...] | None) -> tuple[str, ...]:
    if scopes is None:
        scopes = tuple(scope for scope in DEFAULT_SCOPES if scope in maker.scopes)
    if not scopes or not set(scopes) <= set(maker.scopes):
        raise Forbidden(
            f"This API key hands out the scopes that it has: {', '.join(maker.scopes)}.", param="scopes"
        )
    return scopes


def _budget(maker: ApiKey, budget: int | None) -> int | None:
    if maker.budget is not None and budget is not None and budget > maker.budget:
        raise Forbidden(
            f"This API key has a budget of {maker.budget:,} credits a month, the most that it hands out.",
            param="budget",
        )
    return maker.budget if budget is None else budget
