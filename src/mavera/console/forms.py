"""
Read the fields of a posted form.

    application/x-www-form-urlencoded   what a form without files sends
    multipart/form-data                 what a form with files sends

The whole form is in memory, within MAVERA_MAX_BODY_BYTES, so it needs no writable disk.
"""

from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from starlette.requests import Request

from mavera.api.http.auth import services_of
from mavera.api.http.decoding import too_large
from mavera.api.http.headers import header
from mavera.core.text import clean_text
from mavera.errors import InvalidRequest, UnsupportedMediaType

MOST_FIELDS = 2_000
_URLENCODED, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    name: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. A name may occur several times, as those of boxes do."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, UploadedFile], ...] = ()

    def text(self, name: str) -> str:
        """Return the first value of a field without outer white space, or "" if the form lacks the field."""
        return next((value.strip() for given, value in self.fields if given == name), "")

    def raw(self, name: str) -> str:
        """Return the first value of a field as it was typed, or ""."""
        return next((value for given, value in self.fields if given == name), "")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return every value of a field, in the order of the form."""
        return tuple(value for given, value in self.fields if given == name)

    def has(self, name: str) -> bool:
        return any(given == name for given, _ in self.fields)

    def whole_number(self, name: str, what: str) -> int | None:
        """Return a field as a whole number, or None if it is empty. Raises InvalidRequest, saying `what`."""
        text = self.text(name).replace(",", "")
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= 18):
            raise InvalidRequest(f"{what} has to be a whole number, such as 100.", param=name)
        return int(text)

    def file(self, name: str) -> UploadedFile | None:
        """Return the first file of a field, or None if none was chosen."""
        return next((one for given, one in self.files if given == name and one.name), None)


async def read_form(request: Request, *, max_bytes: int | None = None) -> Form:
    """
    Return the fields of the request's form, with cleaned texts and `\\n` at the ends of lines.

    A form has at most `max_bytes`, or else as many bytes as the body of any request.

    Raises InvalidRequest, RequestTooLarge or UnsupportedMediaType.
    """
    kind = header(request, b"content-type") or _URLENCODED
    name = kind.partition(";")[0].strip().lower()
    if name not in (_URLENCODED, _MULTIPART):
        raise UnsupportedMediaType("This address takes a form.")
    body = await _read(request, max_bytes or services_of(request).settings.max_body_bytes)
    if name == _MULTIPART:
        return _parse_multipart(kind, body)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="replace")
    except ValueError as error:
        raise InvalidRequest("The form could not be read.") from error
    return Form(tuple((name, _clean(value)) for name, value in pairs))


async def _read(request: Request, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


def _parse_multipart(kind: str, body: bytes) -> Form:
    message = BytesParser(policy=HTTP).parsebytes(
        b"content-type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n" + body
    )
    if not message.is_multipart():
        raise InvalidRequest("The form could not be read.")
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, UploadedFile]] = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise InvalidRequest("The form could not be read.")
        file_name = part.get_filename()
        if file_name is None:
            fields.append((name, _clean(content.decode(errors="replace"))))
        else:
            files.append((name, UploadedFile(clean_text(file_name), content)))
        if len(fields) + len(files) > MOST_FIELDS:
            raise InvalidRequest("The form has too many fields.")
    return Form(tuple(fields), tuple(files))


def _clean(value: str) -> str:
    return clean_text(value.replace("\r\n", "\n").replace("\r", "\n"))
