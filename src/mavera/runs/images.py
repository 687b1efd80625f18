"""
Prepare the images of a turn before a model reads them.

    data: and http(s) URLs → bytes → PNG, JPEG, GIF or WebP? → the model sees:  a data URL
                                                             → it does not:   a description as text
                                                             → no reader:     422

All images of a turn are fetched at once. The first that is refused fails the turn, with an error that names
its field.
"""

import asyncio
import base64
import binascii
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Self

from msgspec.structs import replace

from mavera.core.items import FunctionOutput, Image, Item, Message, Part, Text
from mavera.core.text import format_count
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest, ValidationFailed
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.fetch.image_description import Unreadable, describe_image
from mavera.fetch.image_header import ImageHeader, read_header
from mavera.fetch.image_reader import ImageReader
from mavera.settings import Settings

# File stores send images with these types. The bytes decide in the end.
CONTENT_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp"}
    | {"application/octet-stream", "binary/octet-stream"}
)
MAX_TURN_BYTES = 50 * 1024 * 1024
# The limit of the text before the comma of a data URL.
MAX_HEAD_CHARACTERS = 1024
# One call for 20 MB takes 50 ms, and a thread would not help, because binascii holds the interpreter's lock.
# So the event loop runs between slices.
_BASE64_SLICE = 512 * 1024


@dataclass(frozen=True, slots=True)
class ImageLimits:
    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_count: int = 10

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.image_max_bytes, settings.image_max_pixels, settings.image_max_count)


@dataclass(frozen=True, slots=True)
class _File:
    """A checked image: its bytes and its header."""

    data: bytes
    header: ImageHeader
    image: Image


class ImageStep:
    """`reader` is None if this server cannot describe images for a model that does not see them."""

    def __init__(self, fetch: GuardedFetch, reader: ImageReader | None, limits: ImageLimits) -> None:
        self._fetch = fetch
        self._reader = reader
        self._limits = limits

    async def resolve(self, turn: Turn, *, seen: bool, workspace_id: str) -> Turn:
        """
        Return `turn` with its images as data URLs or, if they are not `seen`, as text.

        This uses the workspace's share of the fetches and readers. Raises InvalidRequest or ValidationFailed
        for the first image that is refused.
        """
        images = images_of(turn)
        if not images:
            return turn
        self._refuse_early(images, seen=seen)
        files = await _gather([self._read_file(image, workspace_id) for image in images])
        if sum(len(file.data) for file in files) > MAX_TURN_BYTES:
            raise ValidationFailed(
                f"The images of a request may have {MAX_TURN_BYTES:,} bytes together.", param=images[-1].param
            )
        if seen:
            parts: list[Part] = [await _as_data_url(file) for file in files]
        else:
            parts = [await self._as_text(file, number, workspace_id) for number, file in enumerate(files, 1)]
        return _with_parts(turn, parts)

    async def fetch(self, url: str, *, workspace_id: str) -> tuple[str, bytes]:
        """
        Return the kind (png, jpeg, gif or webp) and the bytes of the image at `url`.

        Raises InvalidRequest or ValidationFailed if it cannot be fetched, or if it is no image.
        """
        file = await self._read_file(Image(url), workspace_id)
        return file.header.format, file.data

    def _refuse_early(self, images: list[Image], *, seen: bool) -> None:
        if len(images) > self._limits.max_count:
            most = self._limits.max_count
            raise ValidationFailed(
                f"A request may hold {format_count(most, 'image')}.", param=images[most].param
            )
        if not seen and self._reader is None:
            raise ValidationFailed(
                "The model behind this server cannot see images, and nothing reads them for it. Send text, "
                "or ask the operator for MAVERA_VISION_BASE_URL, MAVERA_UPSTREAM_VISION or the extra 'ocr'.",
                param=images[0].param,
            )

    async def _read_file(self, image: Image, workspace_id: str) -> _File:
        if image.url[:5].lower() == "data:":
            data = await self._from_data_url(image)
        else:
            data = await self._fetch.get(
                image.url,
                caller=workspace_id,
                content_types=CONTENT_TYPES,
                max_bytes=self._limits.max_bytes,
                param=image.param,
            )
        header = read_header(data)
        if header is None:
            raise ValidationFailed("This is not a PNG, JPEG, GIF or WebP image.", param=image.param)
        if header.width * header.height > self._limits.max_pixels:
            raise ValidationFailed(
                f"This image has {header.width:,} x {header.height:,} pixels; "
                f"{self._limits.max_pixels:,} pixels are the most.",
                param=image.param,
            )
        return _File(data, header, image)

    async def _from_data_url(self, image: Image) -> bytes:
        comma = image.url.find(",", 0, MAX_HEAD_CHARACTERS)
        if comma == -1 or not image.url[:comma].lower().endswith(";base64"):
            raise InvalidRequest(
                "A data URL has to be in base64, as in data:image/png;base64,iVBORw0….", param=image.param
            )
        if (len(image.url) - comma - 1) * 3 // 4 > self._limits.max_bytes + 2:
            raise self._make_size_error(image)
        try:
            data = await _from_base64(image.url, comma + 1)
        except ValueError as error:  # binascii.Error, and letters that are not ASCII
            raise InvalidRequest("The base64 of this data URL is broken.", param=image.param) from error
        if len(data) > self._limits.max_bytes:
            raise self._make_size_error(image)
        return data

    def _make_size_error(self, image: Image) -> APIError:
        return ValidationFailed(
            f"This image is larger than {self._limits.max_bytes:,} bytes.", param=image.param
        )

    async def _as_text(self, file: _File, number: int, workspace_id: str) -> Text:
        assert self._reader is not None  # noqa: S101 - refused early otherwise
        reading = await self._reader.read(file.data, caller=workspace_id)
        if isinstance(reading, Unreadable):
            raise ValidationFailed(
                "This image takes more time or memory to read than this server allows for an image."
                if reading.too_heavy
                else "This image is broken: it cannot be decoded.",
                param=file.image.param,
            )
        return Text(f"\n\n{describe_image(reading, number=number, kind=file.header.format)}\n\n")


def images_of(turn: Turn) -> list[Image]:
    return [part for item in turn.items for part in _list_parts(item) if isinstance(part, Image)]


def _list_parts(item: Item) -> tuple[Part, ...]:
    match item:
        case Message(parts=parts) | FunctionOutput(output=parts):
            return parts
        case _:
            return ()


def _with_parts(turn: Turn, parts: list[Part]) -> Turn:
    """Return `turn` with its images replaced by `parts`, in their order."""
    rest = iter(parts)

    def replace_images(item: Item) -> Item:
        new = tuple(next(rest) if isinstance(part, Image) else part for part in _list_parts(item))
        match item:
            case Message():
                return replace(item, parts=new)
            case FunctionOutput():
                return replace(item, output=new)
            case _:
                return item

    return replace(turn, items=tuple(replace_images(item) for item in turn.items))


async def _from_base64(text: str, start: int) -> bytes:
    """Decode `text` from `start` on, in slices. Raises ValueError if it is not all base64."""
    pieces: list[bytes] = []
    for at in range(start, len(text), _BASE64_SLICE):
        piece = text[at : at + _BASE64_SLICE]
        if at + _BASE64_SLICE < len(text) and piece.endswith("="):
            raise ValueError("padding before the end")
        pieces.append(binascii.a2b_base64(piece, strict_mode=True))
        await asyncio.sleep(0)
    return b"".join(pieces)


async def _as_data_url(file: _File) -> Image:
    data, size, pieces = memoryview(file.data), _BASE64_SLICE // 4 * 3, list[str]()
    for at in range(0, len(data), size):
        pieces.append(base64.b64encode(data[at : at + size]).decode("ascii"))
        await asyncio.sleep(0)
    text = "".join(pieces)
    return replace(file.image, url=f"data:image/{file.header.format};base64,{text}")


async def _gather(waiting: list[Coroutine[Any, Any, _File]]) -> list[_File]:
    """Return all results. If one fails, stop the others and raise its error."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
