"""
The text of an API key, from nothing but the text.

    mvra_live_ 7Kq…33 characters…Zp 0aB3xY
    └ mode ──┘ └ 196 random bits ─┘ └────┘ CRC-32 of all that stands before it

The checksum tells a slip of the hand from a key that is not known, without a look at
the store, and lets scanners of leaked secrets be sure of a find. It guards against
mistakes, not against people: what is secret is in the random part.
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
    """A well-formed key; its text is in no repr, so in no log either."""

    text: str = field(repr=False)
    mode: Mode

    @property
    def last_four(self) -> str:
        """What may be shown: of the checksum, so that it says next to nothing of the secret."""
        return self.text[-4:]


def new_key(mode: Mode) -> KeyText:
    number = secrets.randbelow(62**_RANDOM_LENGTH)
    unchecked = f"mvra_{mode}_{to_base62(number, _RANDOM_LENGTH)}"
    return KeyText(unchecked + _checksum(unchecked), mode)


def parse_key(text: str) -> KeyText:
    """Return the key, or raise Unauthorized with what is wrong; the message never quotes `text`."""
    mode = _PREFIXES.get(text[:_PREFIX_LENGTH])
    if mode is None:
        raise Unauthorized("This is not a mavera API key: keys start with mvra_live_ or mvra_test_.")
    if (
        not _REST.fullmatch(text, _PREFIX_LENGTH)
        or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]
    ):
        raise Unauthorized("The API key looks mistyped or cut short. Copy all of it again.")
    return KeyText(text, mode)


@dataclass(frozen=True, slots=True)
class Peppers:
    """
    The server's secrets that digests are made with: who copies the database still needs them.

    `previous` ones, and none at all, are still understood: a key made with them is
    found, and stored anew with `current` when it is next used.
    """

    current: str = field(default="", repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)

    def digest(self, text: str) -> str:
        """
        Return what is stored in place of a key, in hex: HMAC-SHA-256, or SHA-256 without a pepper.

        A slow hash is for passwords, which can be guessed; 196 random bits cannot.
        """
        return _digest(text, self.current)

    def digests(self, text: str) -> tuple[str, ...]:
        """Return every digest that the key may be stored under, the current one first."""
        return tuple(dict.fromkeys(_digest(text, pepper) for pepper in (self.current, *self.previous, "")))


def peppers_of(settings: Settings) -> Peppers:
    return Peppers(settings.key_pepper, settings.previous_peppers)


def _digest(text: str, pepper: str) -> str:
    encoded = text.encode(errors="replace")
    if not pepper:
        return hashlib.sha256(encoded).hexdigest()
    return hmac.digest(pepper.encode(), encoded, "sha256").hex()


def _checksum(text: str) -> str:
    return to_base62(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)
