"""
Find the image that a tool call names: by its number in the conversation, or by the id of a generated one.

A model writes the call, so it can name neither a URL nor a file. It reaches only images that the caller
sent or made.
"""

import asyncio
import binascii

from mavera.core.ids import is_cuid
from mavera.core.json_schema import Schema
from mavera.errors import APIError
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.media.store import MediaStore, detect_content_type
from mavera.tools.making.images_server import Picture
from mavera.tools.tool import CallContext, ToolFailed

MOST_BYTES = 20 * 1024 * 1024
IMAGE_PARAMETER: Schema = {
    "type": "string",
    "description": "Which image: its number in the conversation, from 1, or the id of one that was made. "
    "The last one unless given.",
}
_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/octet-stream"})


class GivenImages:
    def __init__(self, fetch: GuardedFetch, media: MediaStore) -> None:
        self._fetch = fetch
        self._media = media

    async def find(self, named: str | None, context: CallContext) -> Picture:
        """Return the image. Raises ToolFailed."""
        try:
            data = await self._fetch_bytes((named or "").strip(), context)
        except APIError as error:
            raise ToolFailed(error.message) from error
        content_type = detect_content_type(data)
        if content_type is None or not content_type.startswith("image/"):
            raise ToolFailed("This is not a PNG, JPEG, GIF or WebP image.")
        return Picture(data, content_type)

    async def _fetch_bytes(self, named: str, context: CallContext) -> bytes:
        if is_cuid(named):
            return await self._media.read(named, context.principal.workspace_id)
        if not context.images:
            raise ToolFailed("There is no image in the conversation. Ask the user for one.")
        number = int(named) if named.isascii() and named.isdecimal() else len(context.images)
        if not 1 <= number <= len(context.images):
            raise ToolFailed(f"There is no image {named[:20]}: there are {len(context.images)}.")
        url = context.images[number - 1]
        if url[:5].lower() == "data:":
            return await asyncio.to_thread(_decode_image, url)
        return await self._fetch.get(
            url,
            caller=context.principal.workspace_id,
            content_types=_TYPES,
            max_bytes=MOST_BYTES,
            param=None,
        )


def _decode_image(url: str) -> bytes:
    try:
        return binascii.a2b_base64(url.partition(",")[2], strict_mode=True)
    except ValueError as error:
        raise ToolFailed("This image is broken.") from error
