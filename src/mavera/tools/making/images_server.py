"""
Call a server of images that speaks OpenAI's `/images/generations` and `/images/edits`.

    OpenAI · LocalAI · stable-diffusion.cpp's server · …      MAVERA_IMAGES_BASE_URL

The server returns an image as base64 or as a URL. A URL of that server is fetched directly, and any other
URL through the guarded fetch.
"""

import asyncio
import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from mavera.core.server_calls import CallKind
from mavera.errors import APIError
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.media.store import MediaStore, detect_content_type
from mavera.models.base_url import build_endpoint_url, normalise_base_url
from mavera.settings import Settings
from mavera.tools.search.searxng import PLAIN, read_capped
from mavera.tools.tool import CallContext, ToolFailed, ToolResult, one_line

MOST_BYTES = 48 * 1024 * 1024
SIZES = ("1024x1024", "1536x1024", "1024x1536")
SETTING = "set MAVERA_IMAGES_BASE_URL, and MAVERA_IMAGES_MODEL and MAVERA_IMAGES_API_KEY if it needs them"
IMAGE_KIND: CallKind = "image"
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "application/octet-stream"})
# The longest wait before a retry, if a server asks for one.
_MOST_WAIT_SECONDS = 5.0


class _Datum(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _ImagesResponse(msgspec.Struct):
    data: list[_Datum] = []


@dataclass(frozen=True, slots=True)
class Picture:
    data: bytes
    content_type: str


class ImagesServer:
    def __init__(self, settings: Settings, fetch: GuardedFetch) -> None:
        given = settings.images_base_url
        self._base_url = normalise_base_url(given, "MAVERA_IMAGES_BASE_URL") if given else ""
        self._model = settings.images_model
        self._key = settings.images_api_key
        self._fetch = fetch
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return "images" if self._base_url else ""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def generate(self, prompt: str, size: str | None, *, caller: str) -> Picture:
        """Return a new image. `caller` is a workspace's id. Raises ToolFailed."""
        body = {"prompt": prompt, "n": 1, **self._build_options(size)}
        return await self._ask("images/generations", lambda: {"json": body}, caller)

    async def edit(self, prompt: str, picture: Picture, size: str | None, *, caller: str) -> Picture:
        """Return a changed image. `caller` is a workspace's id. Raises ToolFailed."""

        def form() -> dict[str, Any]:
            data = aiohttp.FormData()
            for name, value in {"prompt": prompt, "n": "1", **self._build_options(size)}.items():
                data.add_field(name, value)
            kind = picture.content_type
            name = f"image.{kind.partition('/')[2]}"
            data.add_field("image", picture.data, filename=name, content_type=kind)
            return {"data": data}

        return await self._ask("images/edits", form, caller)

    def _build_options(self, size: str | None) -> dict[str, str]:
        options = {"model": self._model, "size": size or ""}
        return {name: value for name, value in options.items() if value}

    async def _ask(self, path: str, content: Any, caller: str) -> Picture:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
            self._session = aiohttp.ClientSession(
                timeout=timeout, trust_env=False, auto_decompress=False, headers=PLAIN
            )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url = build_endpoint_url(self._base_url, f"/{path}")
        with _images_errors():
            for attempt in range(2):
                async with self._session.post(
                    url, headers=headers, allow_redirects=False, **content()
                ) as response:
                    wait = _wait_seconds(response)
                    if attempt or wait is None:
                        _check(response.status)
                        answer = msgspec.json.decode(
                            await read_capped(response, MOST_BYTES), type=_ImagesResponse
                        )
                        break
                await asyncio.sleep(wait)
        if not answer.data:
            raise ToolFailed("The images server gave no image.")
        return _read_picture(await self._fetch_bytes(answer.data[0], caller))

    async def _fetch_bytes(self, datum: _Datum, caller: str) -> bytes:
        if datum.b64_json:
            try:
                return binascii.a2b_base64(datum.b64_json, strict_mode=True)
            except ValueError as error:
                raise ToolFailed("The images server gave an image that cannot be read.") from error
        if not datum.url:
            raise ToolFailed("The images server gave no image.")
        return await self._download_image(datum.url, caller)

    async def _download_image(self, address: str, caller: str) -> bytes:
        assert self._session is not None  # noqa: S101 - the caller has just used it
        try:
            own = URL(address).origin() == URL(self._base_url).origin()
        except ValueError as error:
            raise ToolFailed("The images server gave an image that cannot be read.") from error
        if own:
            with _images_errors():
                async with self._session.get(address, allow_redirects=False) as response:
                    _check(response.status)
                    return await read_capped(response, MOST_BYTES)
        try:
            return await self._fetch.get(
                address, caller=caller, content_types=_IMAGE_TYPES, max_bytes=MOST_BYTES, param=None
            )
        except APIError as error:
            raise ToolFailed(error.message) from error


async def save_picture(
    media: MediaStore, tool: str, prompt: str, picture: Picture, context: CallContext
) -> ToolResult:
    """Store a picture, and return the result for the model and the caller."""
    kept = await media.save(context.principal.workspace_id, tool, picture.data, picture.content_type)
    encoded = await asyncio.to_thread(base64.b64encode, picture.data)
    return ToolResult(
        f"Made an image: {one_line(prompt, 120)}",
        text=f"The image was made (id {kept.id}) and is shown to the user. Say so in one sentence.",
        image=encoded.decode("ascii"),
        media_url=await media.sign_link(kept.id),
    )


def _read_picture(data: bytes) -> Picture:
    content_type = detect_content_type(data)
    if content_type is None or not content_type.startswith("image/"):
        raise ToolFailed("The images server sent a file that is not an image.")
    return Picture(data, content_type)


def _wait_seconds(response: aiohttp.ClientResponse) -> float | None:
    """Return the wait that the server asks for. None if it asks for none, or for too long a wait."""
    if response.status not in (429, 503):
        return None
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _MOST_WAIT_SECONDS else None


def _check(status: int) -> None:
    if status in (401, 403):
        raise ToolFailed("The images server refuses this server's key. The operator must check it.")
    if status == 400:
        raise ToolFailed("The images server refuses this request, often because of its subject.")
    if status == 429:
        raise ToolFailed("The images server asks to wait. Retry later.")
    if status != 200:
        raise ToolFailed(f"The images server answered with status {status}.")


@contextmanager
def _images_errors() -> Iterator[None]:
    """Turn the client library's errors into ToolFailed."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        raise ToolFailed("The images server could not be reached.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ToolFailed("The response of the images server cannot be read.") from error
