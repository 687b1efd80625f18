"""
Files that stand in a request, as OpenAI's `input_file` and `file` parts.

    a picture          read as any other picture of the request
    text of any kind   read as text, under its name
    anything else      refused in a message, and named to the model in the output of a function

Files that a request only points at are not fetched, and none are kept here.
"""

import base64
import binascii
from dataclasses import dataclass

from mavera.core.items import Image, Part, Text
from mavera.errors import InvalidRequest, ValidationFailed
from mavera.fetch.image_header import read_header

# Base64 is decoded in one go on the event loop, and no text that is longer fits a model.
MOST_TEXT_CHARACTERS = 6 * 1024 * 1024
_MOST_HEAD_CHARACTERS = 1024
_MOST_NAME_CHARACTERS = 200
# Pictures are told by their first bytes, of which these hold enough for a header without its size.
_HEADER_CHARACTERS = 400_000


@dataclass(frozen=True, slots=True)
class File:
    """`data` is in base64, with or without the head of a data URL. `at` is its place in the request."""

    data: str | None
    name: str | None
    url: str | None
    file_id: str | None
    at: str

    def to_part(self) -> Part:
        """Return what a model reads. Raises InvalidRequest or ValidationFailed if nothing can be read."""
        if self.data is None:
            pointer = "file_url" if self.url is not None else "file_id"
            raise InvalidRequest(
                f"'{self.at}' needs 'file_data': files are not kept here and not fetched, so '{pointer}' "
                "finds nothing.",
                param=f"{self.at}.file_data",
            )
        part = self._read()
        if part is None:
            raise ValidationFailed(
                f"'{self.at}.file_data' is neither text nor a PNG, JPEG, GIF or WebP image, in base64. This "
                "server reads no other files.",
                param=f"{self.at}.file_data",
            )
        return part

    def to_output_part(self) -> Part:
        """Return what a model reads of a function's output, which is a note if that is all that is known."""
        part = self._read() if self.data is not None else None
        if part is not None:
            return part
        known = (self._short_name, (self.url or self.file_id or "")[:_MOST_NAME_CHARACTERS])
        named = " ".join(one for one in known if one)
        return Text(f"[A file that cannot be read here: {named or 'without a name'}]\n")

    @property
    def _short_name(self) -> str:
        return " ".join((self.name or "").split())[:_MOST_NAME_CHARACTERS]

    def _read(self) -> Part | None:
        encoded = self._find_base64()
        picture = self._to_picture(encoded)
        if picture is not None or len(encoded) > MOST_TEXT_CHARACTERS:
            return picture
        text = _decode_text(_decode_base64(encoded))
        if text is None:
            return None
        return Text(f"[File {self._short_name}]\n{text}\n[End of the file]\n")

    def _find_base64(self) -> str:
        data = self.data or ""
        comma = data.find(",", 0, _MOST_HEAD_CHARACTERS)
        return data[comma + 1 :] if comma != -1 and data[:5].lower() == "data:" else data

    def _to_picture(self, encoded: str) -> Image | None:
        start = _decode_base64(encoded[:_HEADER_CHARACTERS])
        header = read_header(start) if start is not None else None
        if header is None:
            return None
        return Image(f"data:image/{header.format};base64,{encoded}", param=f"{self.at}.file_data")


def _decode_base64(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def _decode_text(data: bytes | None) -> str | None:
    """Return the text of a file, None if it is none."""
    if data is None or data.startswith(b"%PDF"):
        return None
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
