"""
Text that every part of this house can store, compare and send on.

    clean_text("a\\0b")             "a\\ufffdb"
    clean_json(b'"a\\\\u0000b"')     b'"a\\\\ufffdb"'

JSON may name two things that are no text to others: NUL, which Postgres refuses and C programs take
for the end, and half of a surrogate pair, which UTF-8 cannot write. Both occur in honest requests:
tools print binary output, and JavaScript cuts an emoji in two. Each becomes U+FFFD, as CommonMark and
the HTML standard have it. To leave it out would join what it kept apart.
"""

import re
from collections.abc import Iterator

REPLACEMENT = "\ufffd"

_BAD = re.compile("[\0\ud800-\udfff]")
# An escape begins at the odd one of several backslashes. A whole pair is matched to be left alone.
_ESCAPES = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


# As much as ends with a whole character or escape.
_WHOLE_ESCAPES = re.compile(rb"(?:[^\\]++|\\u.{4}|\\[^u])*+", re.DOTALL)
_PAIR = re.compile(rb"\\u[dD][89abAB].{2}\\u[dD][c-fC-F]", re.DOTALL)
_ESCAPE_BYTES = 6


def clean_text(text: str) -> str:
    """Return `text` with U+FFFD for each NUL and each half of a surrogate pair."""
    return _BAD.sub(REPLACEMENT, text)


def clean_json(body: bytes) -> bytes:
    """Return JSON whose texts are clean. Bytes that are no JSON stay as wrong as they are."""
    if b"\\u" in body and (b"\\u0000" in body or b"\\ud" in body or b"\\uD" in body):
        return _ESCAPES.sub(_replace, body)
    return body


def clean_json_pieces(body: bytes, size: int) -> Iterator[bytes]:
    """Yield what `clean_json` returns in pieces of about `size` bytes, between which a caller can pause."""
    start = 0
    while start < len(body):
        match = _WHOLE_ESCAPES.match(body, start, start + size)
        end = match.end() if match else start
        if _PAIR.match(body, end - _ESCAPE_BYTES):
            end += _ESCAPE_BYTES
        end = end if end > start else len(body)  # an escape that nothing follows: no JSON
        yield clean_json(body[start:end])
        start = end


def _replace(match: re.Match[bytes]) -> bytes:
    return match[0] if match[2] else match[1] + rb"\ufffd"
