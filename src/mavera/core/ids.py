"""
Identifiers: CUIDs for stored things, and prefixed ids for the parts of a response.

    stored      clx1abc2d0001abcdef123456     25 characters, sortable by time to the second
    transient   resp_…  msg_…  fc_…  call_…  chatcmpl_…  req_…

No id is a secret, so all ids come from one generator, which the system's randomness seeds once. A system
call for each id would release the interpreter to another thread.
"""

import os
import random
import re
import time
from collections.abc import Callable
from functools import lru_cache

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CUID_LENGTH = 25
# Any library may seed the generator of the module `random`, so this one is separate.
_random = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)
_OWNED = re.compile(r"[a-z]{1,16}_(?:[0-9a-f]{16})?([0-9a-f]{24})")
# Two digits at a time need half the divisions.
_PAIRS = {digits: [a + b for a in digits for b in digits] for digits in (_BASE36, _ALPHABET)}


def new_id(prefix: str) -> str:
    """Return `prefix`, an underscore and 24 random characters (96 bits)."""
    return f"{prefix}_{_random.getrandbits(96):024x}"


def new_timed_id(prefix: str) -> str:
    """Return an id like those of `new_id` that begins with the time in milliseconds."""
    return f"{prefix}_{int(time.time() * 1000):012x}{_random.getrandbits(48):012x}"


def time_of(identifier: str) -> int | None:
    """Return the second in which `new_timed_id` made an id, or None if it is no such id."""
    digits = owner_of(identifier)
    return None if digits is None else int(digits[:12], 16) // 1000


def id_beside(prefix: str, owner: str) -> str:
    """Return an id of another kind with the digits of `owner`, as a response has those of its request."""
    return f"{prefix}_{owner.rpartition('_')[2]}"


def ids_within(owner: str) -> Callable[[str], str]:
    """
    Return a maker of ids that end in the digits of `owner`, an id that `new_id` made.

    The items of a response have such ids: whoever has one can find the response.
    """
    digits = owner.rpartition("_")[2]
    return lambda prefix: f"{prefix}_{_random.getrandbits(64):016x}{digits}"


def owner_of(identifier: str) -> str | None:
    """Return the digits that an id of `new_id`, and those made within it, have in common."""
    found = _OWNED.fullmatch(identifier)
    return found and found[1]


def new_cuid() -> str:
    """Return a CUID: `c`, the time in milliseconds as eight base-36 digits, and 64 random bits in hex."""
    early, late = divmod(int(time.time() * 1000), len(_PAIRS[_BASE36]))
    return f"c{_encode_early_digits(early)}{_PAIRS[_BASE36][late]}{_random.getrandbits(64):016x}"


@lru_cache(maxsize=1)
def _encode_early_digits(number: int) -> str:
    """Return the digits of a time that stay the same for more than a second."""
    return to_base36(number, 6)


def is_cuid(text: str) -> bool:
    return len(text) == CUID_LENGTH and text[0] == "c" and all(c in _BASE36 for c in text)


def to_base36(number: int, width: int) -> str:
    return _to_digits(number, _BASE36, width)


def to_base62(number: int, width: int) -> str:
    return _to_digits(number, _ALPHABET, width)


def _to_digits(number: int, alphabet: str, width: int) -> str:
    pairs, odd = _PAIRS[alphabet], width % 2
    digits = []
    for _ in range(width // 2):
        number, pair = divmod(number, len(pairs))
        digits.append(pairs[pair])
    if odd:
        digits.append(alphabet[number % len(alphabet)])
    return "".join(reversed(digits))
