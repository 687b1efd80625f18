"""
Decode a request body into its Struct, or raise an error that names its exact fault.

    400 invalid_request      not JSON, not an object, a missing, unknown or repeated field, too many levels,
                             a number of too many characters
    413 request_too_large    more text or more values than `api/http/body_scan.py` allows
    422 validation_error     a field of the wrong type, out of range, or too long

`param` names the field as a client would write it: `messages[3].role`.

msgspec decodes and validates in one call, which holds the event loop, and it silently keeps the last of two
fields with the same name. So a small body is decoded a second time and encoded again, to see whether a member
is missing. That takes 0.6 µs for the usual request. A large body is scanned first, in slices between which
the event loop runs. The scan refuses bodies that would take long to decode, and it counts the members, so
that a repeated name shows as a missing member.
"""

import asyncio
import difflib
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request

from mavera.api.http.auth import services_of
from mavera.api.http.body_scan import refuse_depth, scan, too_deep
from mavera.api.http.expected_values import list_expected_values
from mavera.api.http.headers import header
from mavera.api.http.json import json_bytes
from mavera.core.text import clean_json, clean_json_pieces
from mavera.errors import APIError, InvalidRequest, RequestTooLarge, UnsupportedMediaType, ValidationFailed

T = TypeVar("T")

_MISSING = "Object missing required field `"
_UNKNOWN = "Object contains unknown field `"
_NO_VALUE = ("Invalid enum value ", "Invalid value ")
_MOST_VALUES = 24
_MAX_SHOWN = 100
_MAX_REASON = 200
_NEAR_ENOUGH = 0.7
_MOST_ESCAPES = 20_000
_CLEANED_AT_ONCE = 16 * 1024

# The limit for personas, keys and workspaces, whose texts are cleaned and checked at once.
MAX_SHORT_BODY_BYTES = 256 * 1024
# A body of at most this size is decoded at once, which takes at most 15 ms.
SMALL_BODY_BYTES = 64 * 1024


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """
    Return the body of a JSON request.

    Raises UnsupportedMediaType for another content type or a compressed body. Raises RequestTooLarge if the
    body has more than `max_bytes`, without reading further.
    """
    content_type = header(request, b"content-type") or "application/json"
    content_type = content_type.partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"The body has to be JSON, sent with 'Content-Type: application/json', not '{content_type[:60]}'."
        )
    encoding = (header(request, b"content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(
            f"The body has to be sent as it is, without 'Content-Encoding: {encoding[:60]}'."
        )
    declared = header(request, b"content-length") or ""
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large(max_bytes)
    pieces: list[bytes] = []
    unread = max_bytes
    more = True
    while more:  # these lines do the work of Starlette's stream, without its generator
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The request ended before its body did.")
        pieces.append(piece := message.get("body", b""))
        unread -= len(piece)
        if unread < 0:
            raise too_large(max_bytes)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_short_body(request: Request) -> bytes:
    """Return the body of a JSON request without a conversation. Raises the errors of `read_body`."""
    most = services_of(request).settings.max_body_bytes
    return await read_body(request, max_bytes=min(most, MAX_SHORT_BODY_BYTES))


def too_large(max_bytes: int) -> APIError:
    return RequestTooLarge(f"The body is larger than {max_bytes:,} bytes, the most this server takes.")


async def decode(body: bytes, kind: type[T]) -> T:
    """
    Return `body` as a `kind` with cleaned texts.

    Raises InvalidRequest, ValidationFailed, or RequestTooLarge if it would take long to decode.
    """
    if len(body) <= SMALL_BODY_BYTES:
        return decode_at_once(body, kind)
    scanned = await scan(body)
    if scanned.has_escapes:
        body = await _clean(body)
    decoded = _decode(body, kind)
    await asyncio.sleep(0)  # so that the two calls do not hold the loop together
    if _count_members(_decode(body, cast("type[Any]", Any))) != scanned.members:
        raise InvalidRequest("A name occurs twice in the same object.", param=_find_repeated(body))
    return decoded


async def clean_body(body: bytes) -> bytes:
    """
    Return `body` with cleaned texts.

    Raises the errors of `decode` if decoding would hold the event loop.
    """
    if len(body) <= SMALL_BODY_BYTES:
        return clean_json(body)
    return await _clean(body) if (await scan(body)).has_escapes else body


async def _clean(body: bytes) -> bytes:
    pieces = []
    for piece in clean_json_pieces(body, _CLEANED_AT_ONCE):
        pieces.append(piece)
        await asyncio.sleep(0)
    return b"".join(pieces)


def decode_at_once(body: bytes, kind: type[T]) -> T:
    """Return a `body` of any size as a `kind`, without giving way to the event loop. Raises as `decode`."""
    body = clean_json(body)
    decoded = _decode(body, kind)
    refuse_depth(body)
    _refuse_repeats(body)
    return decoded


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        decoder: msgspec.json.Decoder[T] = _get_decoder(_build_key(kind))
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _to_refusal(str(error), kind) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not valid JSON: it is not UTF-8.") from error
    except RecursionError as error:
        raise too_deep() from error


def convert(value: Any, kind: Any, at: str) -> Any:
    """Convert a decoded `value` to a `kind`. `at` is its place in the body. Raises the errors of `decode`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _to_refusal(str(error), kind, at) from error


def _count_members(value: Any) -> int:
    """Count the members of all objects in `value`."""
    count, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += len(value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return count


def _find_repeated(body: bytes) -> str | None:
    """Return the repeated name, or None if it would take long to find it."""
    if body.count(b"\\") > _MOST_ESCAPES:  # the standard library's parser takes 100 ns for each member
        return None
    try:
        _parse_strictly(body.decode())
    except InvalidRequest as error:
        return error.param
    return None


def _refuse_repeats(body: bytes) -> None:
    """
    Raise InvalidRequest if a name occurs twice in the same object of `body`, which is valid JSON.

    msgspec keeps the last of two members with one name. So the decoded value, encoded again, has fewer colons
    than `body`. Only escapes in `body` can hide a colon.
    """
    if b"\\u" not in body:
        written = json_bytes(_decode(body, cast("type[Any]", Any)))
        if written.count(b":") == body.count(b":"):
            return
    _parse_strictly(body.decode())


def _refuse_repeated(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) == len(members):
        return
    repeated = Counter([name for name, _ in members]).most_common(1)[0][0][:_MAX_SHOWN]
    raise InvalidRequest(f"'{repeated}' occurs twice in the same object.", param=repeated)


_parse_strictly = json.JSONDecoder(object_pairs_hook=_refuse_repeated).decode


def _build_key(kind: Any) -> Hashable:
    """Return `kind` as a key for `cache`, because mypy does not know that classes are hashable."""
    return cast("Hashable", kind)


@cache
def _get_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _to_refusal(text: str, kind: Any, at: str = "") -> APIError:
    """Return the error for msgspec's sentence, which ends in ``- at `$.messages[3].role` ``."""
    reason, path = _split_path(text)
    param = (at + path.removeprefix("$")).lstrip(".")
    if missing := _find_quoted_name(reason, _MISSING):
        name = _join(param, missing)
        return InvalidRequest(f"'{name}' is missing.", param=name)
    if (unknown := _find_quoted_name(reason, _UNKNOWN)) is not None:
        shown = unknown[:_MAX_SHOWN]
        name = _join(param, shown)
        hint = _suggest(shown, _list_field_names(_build_key(kind)))
        if not param and (instead := getattr(kind, "instead_of", {}).get(unknown)):
            hint = f" Send {instead}."
        return InvalidRequest(f"'{name}' is not a parameter of this endpoint.{hint}", param=name)
    if not param:
        return InvalidRequest(f"The body has to be a JSON object: {_shorten(reason).lower()}.")
    sentence = f"'{param}' does not fit: {_shorten(reason[0].lower() + reason[1:])}."
    if reason.startswith(_NO_VALUE) and (values := list_expected_values(_build_key(kind), path)):
        sentence += f" It has to be {_join_values(values)}."
        if written := _find_quoted_value(reason):
            sentence += _suggest(written, values)
    return ValidationFailed(sentence, param=param)


def _suggest(name: str, known: Iterable[str]) -> str:
    """Return a question with the names that are near to `name`, or an empty text."""
    near = difflib.get_close_matches(name, [one for one in known if one != name], n=1, cutoff=_NEAR_ENOUGH)
    return f" Did you mean '{near[0]}'?" if near else ""


def _join_values(values: Sequence[str]) -> str:
    *others, last = [f"'{value}'" for value in values[:_MOST_VALUES]]
    more = f" or one of {len(values) - _MOST_VALUES} others" if len(values) > _MOST_VALUES else ""
    if more:
        return ", ".join([*others, last]) + more
    return f"{', '.join(others)} or {last}" if others else last


def _find_quoted_value(reason: str) -> str:
    """Return the quoted value at the end of `reason`, if it is short."""
    value = reason.partition("'")[2].removesuffix("'")
    return value if len(value) <= _MAX_SHOWN else ""


def _shorten(reason: str) -> str:
    return reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}…'"


def _split_path(text: str) -> tuple[str, str]:
    """Split msgspec's sentence into reason and path. A name in the reason may have megabytes."""
    for separator in (" - at `key` in `", " - at `"):
        reason, found, path = text.rpartition(separator)
        if found and path.endswith("`") and "`" not in path[:-1]:
            return reason, path[:-1]
    return text, ""


def _find_quoted_name(reason: str, beginning: str) -> str | None:
    """Return the name in backticks after `beginning`, or None if `reason` does not begin with it."""
    return reason[len(beginning) : -1] if reason.startswith(beginning) and reason.endswith("`") else None


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


@cache
def _list_field_names(kind: Any) -> tuple[str, ...]:
    """List the field names of a Struct and of the Structs inside it, the outermost first."""
    schemas = msgspec.json.schema_components([kind])[1]
    ordered = [schemas.get(getattr(kind, "__name__", ""), {}), *schemas.values()]
    return tuple(dict.fromkeys(name for schema in ordered for name in schema.get("properties", {})))
