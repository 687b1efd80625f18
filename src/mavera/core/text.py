"""
Make text that every part of the server can store, compare and send on.

    clean_text("a\\0b")             "a\\ufffdb"
    clean_json(b'"a\\\\u0000b"')     b'"a\\\\ufffdb"'

JSON may contain two characters that other programs do not accept as text. Postgres refuses NUL, and C
programs end a text there. UTF-8 cannot encode half of a surrogate pair. Both occur in honest requests,
because tools print binary output and JavaScript cuts an emoji in two. Each becomes U+FFFD, as in CommonMark
and the HTML standard. Removing it would join the text before and after it.
"""

import re
from collections.abc import Iterator

REPLACEMENT = "\ufffd"

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_BAD = re.compile("[\0\ud800-\udfff]")
# An escape begins at an odd backslash. The pattern matches whole pairs so that they stay unchanged.
_ESCAPES = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


# This pattern matches text that ends with a whole character or escape.
_WHOLE_ESCAPES = re.compile(rb"(?:[^\\]++|\\u.{4}|\\[^u])*+", re.DOTALL)
_PAIR = re.compile(rb"\\u[dD][89abAB].{2}\\u[dD][c-fC-F]", re.DOTALL)
_ESCAPE_BYTES = 6


def clean_text(text: str) -> str:
    """Return `text` with U+FFFD for each NUL and each half of a surrogate pair."""
    return _BAD.sub(REPLACEMENT, text)


def clean_json(body: bytes) -> bytes:
    """Return JSON whose texts are clean. Bytes that are not JSON stay invalid."""
    if b"\\u" in body and (b"\\u0000" in body or b"\\ud" in body or b"\\uD" in body):
        return _ESCAPES.sub(_replace, body)
    return body


def clean_json_pieces(body: bytes, size: int) -> Iterator[bytes]:
    """Yield the result of `clean_json` in pieces of about `size` bytes. A caller can pause between them."""
    start = 0
    while start < len(body):
        match = _WHOLE_ESCAPES.match(body, start, start + size)
        end = match.end() if match else start
        if _PAIR.match(body, end - _ESCAPE_BYTES):
            end += _ESCAPE_BYTES
        end = end if end > start else len(body)  # an escape at the end is not valid JSON
        yield clean_json(body[start:end])
        start = end


def _replace(match: re.Match[bytes]) -> bytes:
    return match[0] if match[2] else match[1] + rb"\ufffd"


def escape_formula(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: one that begins like it gets an apostrophe."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def format_count(number: int, noun: str, nouns: str | None = None) -> str:
    """Return the number with its noun: "1 credit", "1,200 credits". `nouns` is an irregular plural."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
