"""
The text of an API key: make it, check it, and digest it.

    mvra_live_ 7Kq…33 characters…Zp 0aB3xY
    └ mode ──┘ └ 196 random bits ─┘ └────┘ CRC-32 of the text before it

The checksum distinguishes a mistyped key from an unknown one without a look at the store, and lets scanners
recognise a leaked key. It guards against mistakes, not against attackers: the secret is the random part.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Literal

from mavera.core.ids import to_base62
from mavera.errors import Unauthorized
from mavera.settings import Settings

Mode = Literal["live", "test"]

_RANDOM_LENGTH = 33
_CHECKSUM_LENGTH = 6
_PREFIXES: dict[str, Mode] = {"mvra_live_": "live", "mvra_test_": "test"}
_PREFIX_LENGTH = len("mvra_live_")
_REST = re.compile(rf"[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A well-formed key. Its repr, and so a log, does not contain its text."""

    text: str = field(repr=False)
    mode: Mode

    @property
    def last_four(self) -> str:
        """The end of the key, which is safe to show: it is part of the checksum, not of the secret."""
        return self.text[-4:]


def make_key_text(mode: Mode) -> KeyText:
    number = secrets.randbelow(62**_RANDOM_LENGTH)
    unchecked = f"mvra_{mode}_{to_base62(number, _RANDOM_LENGTH)}"
    return KeyText(unchecked + _compute_checksum(unchecked), mode)


def parse_key(text: str) -> KeyText:
    """Return the key. Raises Unauthorized with the reason if it is malformed, without quoting `text`."""
    mode = _PREFIXES.get(text[:_PREFIX_LENGTH])
    if mode is None:
        raise Unauthorized("This is not a mavera API key: keys start with mvra_live_ or mvra_test_.")
    if (
        not _REST.fullmatch(text, _PREFIX_LENGTH)
        or _compute_checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]
    ):
        raise Unauthorized("The API key looks mistyped or cut short. Copy all of it again.")
    return KeyText(text, mode)


@dataclass(frozen=True, slots=True)
class Peppers:
    """
    The server's secrets for digests of keys. A copy of the database is useless without them.

    A key whose digest was made with a `previous` pepper, or with none, is still found. Its next use stores
    its digest with the `current` one.
    """

    current: str = field(default="", repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)

    def digest(self, text: str) -> str:
        """
        Return the digest that is stored in place of a key, in hex: HMAC-SHA-256, or SHA-256 without a pepper.

        Passwords need a slow hash because they can be guessed. 196 random bits cannot.
        """
        return _digest(text, self.current)

    def digests(self, text: str) -> tuple[str, ...]:
        """Return every digest under which the key may be stored, the current one first."""
        return tuple(dict.fromkeys(_digest(text, pepper) for pepper in (self.current, *self.previous, "")))


def peppers_of(settings: Settings) -> Peppers:
    return Peppers(settings.key_pepper, settings.previous_peppers)


def _digest(text: str, pepper: str) -> str:
    encoded = text.encode(errors="replace")
    if not pepper:
        return hashlib.sha256(encoded).hexdigest()
    return hmac.digest(pepper.encode(), encoded, "sha256").hex()


def _compute_checksum(text: str) -> str:
    return to_base62(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)
