"""
The rights of one API key over others: make a key, revoke one, and change their workspace's budget.

A key gives at most its own rights. If a request omits a member, the new key gets a default from its maker:

    member       default                         limit
    mode         the maker's                     a live key can also make test keys
    scopes       the default scopes it has       none that the maker lacks
    expires_at   the maker's                     not later
    budget       the maker's                     not more; the new key's spending also counts for its
                                                 maker, its maker's maker, and so on

The ledger enforces the last rule: however many keys a key makes, together they spend no more than its own
budget. These rules bind keys only. The operator, on the command line, is not bound by them.

No key gives the scope `operator`, not even one that has it. The operator's own session in the console does.
"""

from collections.abc import Collection
from dataclasses import dataclass

from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.keys.text import Mode
from mavera.accounts.plans import DEFAULT_SCOPES, OPERATOR
from mavera.core.text import format_count
from mavera.errors import Forbidden

# A charge writes one more row for each level.
MAX_LEVELS = 8
MAX_LIVING_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class Wish:
    """The requested members of a new key. None takes the default from the maker."""

    name: str = ""
    mode: Mode | None = None
    expires_at: int | None = None
    scopes: tuple[str, ...] | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """The members of a new key. `budget` is in credits a month, `expires_at` in Unix seconds."""

    name: str = ""
    mode: Mode = "live"
    expires_at: int | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    budget: int | None = None
    ancestors: tuple[str, ...] = ()
    """The ids of the keys above it: the operator's own first, its maker last."""


def delegate(maker: ApiKey, wish: Wish) -> KeyTerms:
    """Return the terms that `maker` gives a new key. Raises Forbidden, naming the right that it lacks."""
    if len(maker.ancestors) >= MAX_LEVELS:
        raise Forbidden(
            f"This API key is {MAX_LEVELS} levels below the operator's own, so it cannot make keys."
        )
    return KeyTerms(
        wish.name,
        _choose_mode(maker, wish.mode),
        _choose_expiry(maker, wish.expires_at),
        _choose_scopes(maker, wish.scopes),
        _choose_budget(maker, wish.budget),
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
            "This API key can revoke itself, the keys below it, and keys that it could have made."
            " Use an API key with at least the rights of the one to revoke, or 'mavera keys revoke'."
        )


def check_usage_limit(maker: ApiKey, before: int | None, after: int | None) -> None:
    """Raise Forbidden if `maker` may not change its workspace's budget. None means no budget."""
    raises = before is not None and (after is None or after > before)
    if maker.mode == "test":
        raise Forbidden("A test key cannot set a budget for live keys.", param="usage_limit")
    if maker.budget is not None and raises:
        raise Forbidden(
            f"This API key has a budget of {format_count(maker.budget, 'credit')} a month. "
            "It may lower its workspace's 'usage_limit', but it may neither raise nor remove it.",
            param="usage_limit",
        )


def _choose_mode(maker: ApiKey, mode: Mode | None) -> Mode:
    if mode == "live" and maker.mode == "test":
        raise Forbidden("A test key makes only test keys.", param="mode")
    return mode or maker.mode


def _choose_expiry(maker: ApiKey, expires_at: int | None) -> int | None:
    if expires_at is None or maker.expires_at is None:
        return expires_at if maker.expires_at is None else maker.expires_at
    if expires_at > maker.expires_at:
        raise Forbidden(
            f"This API key expires at {maker.expires_at}, so a key that it makes cannot expire later.",
            param="expires_at",
        )
    return expires_at


def _choose_scopes(maker: ApiKey, scopes: tuple[str, ...] | None) -> tuple[str, ...]:
    if scopes is None:
        scopes = tuple(scope for scope in DEFAULT_SCOPES if scope in maker.scopes)
    if not scopes:
        raise refuse_scopes(maker)
    check_given_scopes(maker, scopes)
    return scopes


def check_given_scopes(maker: ApiKey, scopes: Collection[str]) -> None:
    """Raise Forbidden if `maker` may not give one of `scopes`."""
    if not set(scopes) <= set(maker.giveable_scopes):
        raise refuse_scopes(maker, asks_operator=OPERATOR in scopes)


def refuse_scopes(maker: ApiKey, *, asks_operator: bool = False) -> Forbidden:
    if asks_operator:
        return Forbidden(
            "Only the operator's session in the console, or 'mavera keys', gives the scope 'operator'.",
            param="scopes",
        )
    return Forbidden(
        f"This API key can only give the scopes that it has: {', '.join(maker.giveable_scopes)}.",
        param="scopes",
    )


def _choose_budget(maker: ApiKey, budget: int | None) -> int | None:
    if maker.budget is not None and budget is not None and budget > maker.budget:
        raise Forbidden(
            f"This API key has a budget of {format_count(maker.budget, 'credit')} a month. "
            "A key that it makes cannot have more.",
            param="budget",
        )
    return maker.budget if budget is None else budget
