"""
Scan a large JSON body before it is decoded, in slices between which the event loop runs.

    body → strings cut out → brackets, commas, colons and numbers are left → counted

Decoding is one call that nothing interrupts. These limits keep that call, on a body of any
size, to some tens of milliseconds; what takes long is not bytes but values, escapes and long numbers.
A data URL is the exception: base64 is decoded at the speed of copying, so its bytes do not count.
The scan is exact as far as the body is valid JSON, and decoding stops where it is not.
"""

import asyncio
import re
from dataclasses import dataclass
from itertools import accumulate

from mavera.errors import APIError, InvalidRequest, RequestTooLarge

# What comes in goes out again, to a model and to the client, through encoders that recurse.
MAX_DEPTH = 128
# Elements and members of all arrays and objects together. Each costs the decoder some 100 ns, and
# the run of a turn, which looks at items and schemas, some microseconds.
MAX_VALUES = 50_000
# Outside of data URLs. Escapes cost 5 ns a byte, the rest less.
MAX_TEXT_BYTES = 8 * 1024 * 1024
# A float of 700 digits takes 40 µs.
MAX_NUMBER_CHARACTERS = 100

# A slice takes 2 ms at the worst, which is a slice of empty strings.
_SLICE = 8 * 1024
_SLICES_AT_ONCE = 4

# A string as far as it goes, with its beginning and its closing quote. A pattern that demanded the quote
# would try again from each escaped quote of a string that ends in a later slice.
_STRING = re.compile(rb'("[^"\\]{0,5}+)[^"\\]*+(?:\\.[^"\\]*+)*+("?+)', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[-+.0-9Ee]{%d}" % (MAX_NUMBER_CHARACTERS + 1))
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DATA_URL = b'"data:'
_DATA_SLICE = 1024 * 1024
# Some libraries write each slash of base64, one character in 64, as an escape.
_CHARACTERS_AN_ESCAPE = 16


@dataclass(frozen=True, slots=True)
class Scanned:
    """`members` of all objects, repeated ones counted each time; whether there may be escapes with u."""

    members: int
    has_escapes: bool


async def scan(body: bytes) -> Scanned:
    """
    Return what decoding `body` needs to know beforehand.

    Raises InvalidRequest or RequestTooLarge where decoding `body` would hold the event loop.
    """
    found, start, opening, slices = _Found(), 0, b"", 0
    while start < len(body):
        end = start + _SLICE
        opening = found.take(opening + body[start:end], size=min(end, len(body)) - start)
        start = end
        if opening[:6].lower() == _DATA_URL:
            start = await _end_of_data_url(body, end)
            opening = b'"' + (opening[6:] if start == end else b"")
        slices += 1
        if slices % _SLICES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return Scanned(found.members, found.has_escapes)


@dataclass(slots=True)
class _Found:
    """The counts so far."""

    text_bytes: int = 0
    values: int = 0
    members: int = 0
    depth: int = 0
    has_escapes: bool = False

    def take(self, piece: bytes, *, size: int) -> bytes:
        """
        Count the next piece, of which `size` bytes are new.

        Return what has to stand before the following one, so that it reads on within the same string.
        """
        # Outside of strings, a string's beginning, its closing quote, and so on
        parts = _STRING.split(piece)
        outside = b"".join(parts[::3])
        self.has_escapes = self.has_escapes or b"\\u" in piece or piece.endswith(b"\\")
        self.text_bytes += size
        self.values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        self.members += outside.count(b":")
        if self.text_bytes > MAX_TEXT_BYTES:
            raise RequestTooLarge(
                f"The body has more than {MAX_TEXT_BYTES:,} bytes outside of images in data URLs."
            )
        if self.values > MAX_VALUES:
            raise RequestTooLarge(f"The arrays and objects of the body have more than {MAX_VALUES:,} values.")
        if _LONG_NUMBER.search(outside):
            raise InvalidRequest(f"The body has a number of more than {MAX_NUMBER_CHARACTERS} characters.")
        self._descend(outside)
        return b"" if len(parts) == 1 or parts[-2] else _reopen(parts[-3], parts[-1])

    def _descend(self, outside: bytes) -> None:
        depths = _find_depths(outside, self.depth)
        if max(depths) > MAX_DEPTH:
            raise too_deep()
        self.depth = depths[-1]


def _reopen(beginning: bytes, escape: bytes) -> bytes:
    """Return the beginning of a string, once that has been found to be no data URL, as a bare quote."""
    is_open = len(beginning) < len(_DATA_URL) or beginning.lower() == _DATA_URL
    return (beginning if is_open else b'"') + escape


async def _end_of_data_url(body: bytes, start: int) -> int:
    """Return where the data URL ends within which `start` lies; `start` itself, if it is none after all."""
    end = body.find(b'"', start)
    if body[end - 1 : end] == b"\\":  # an escaped quote, or a backslash that is one itself: no base64
        return start
    escapes = 0
    for at in range(start, end, _DATA_SLICE):
        piece = body[at : min(at + _DATA_SLICE, end)]
        escapes += piece.count(b"\\")
        if not piece.isascii() or escapes * _CHARACTERS_AN_ESCAPE > at + len(piece) - start:
            return start
        await asyncio.sleep(0)
    return max(end, start)


def refuse_depth(body: bytes) -> None:
    """Raise InvalidRequest if `body`, which is valid JSON, is nested deeper than `MAX_DEPTH`."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    if max(_find_depths(b"".join(_STRING.split(body)[::3]), 0)) > MAX_DEPTH:
        raise too_deep()


def _find_depths(outside: bytes, before: int) -> list[int]:
    brackets = outside.translate(None, delete=_NO_BRACKETS)
    return list(accumulate((1 if bracket in b"[{" else -1 for bracket in brackets), initial=before))


def too_deep() -> APIError:
    return InvalidRequest(f"The body is nested too deeply: {MAX_DEPTH} levels are the most.")
