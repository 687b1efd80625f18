"""
Keep images and videos in a bucket of any server that speaks S3: AWS, MinIO, Garage, Ceph, R2 …

    keep     up to 5 MiB in one request, more in parts of that size; the file appears with the last part
    pieces   one request for each 4 MiB, so that a slow reader holds no connection open

The module is imported only if MAVERA_S3_BUCKET is set, because it needs the extra `s3`.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store
from yarl import URL

from mavera.core.finish import finish
from mavera.errors import ConfigurationError, NotFound, ServiceUnavailable
from mavera.media.files import build_unavailable
from mavera.settings import Settings

log = structlog.get_logger()

_PIECE_BYTES = 4 * 1024 * 1024
_CONNECT = timedelta(seconds=5)
# For one request, which carries at most one part.
_REQUEST = timedelta(seconds=60)
_RETRYING = timedelta(seconds=60)
_PARTS_AT_ONCE = 4
_SETTLE_SECONDS = 0.25
_TAKING_BACK_SECONDS = 10.0
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")


class _Left(Exception):
    """The caller that uploads the file was cancelled."""


class _Source:
    """
    The pieces of one upload, in the order in which the client reads them.

    If the client's own call were cancelled, its parts would stay in the bucket, invisible and not free of
    charge. An error in the pieces makes the client remove them.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self._left = asyncio.Event()
        self.size = 0
        self.failure: Exception | None = None

    def leave(self) -> None:
        """Fail the upload, even while it waits for a piece."""
        self._left.set()

    async def read(self) -> AsyncIterator[bytes]:
        leaving = asyncio.create_task(self._left.wait())
        try:
            iterator = aiter(self._pieces)
            while (piece := await _first(_next(iterator), leaving)) is not None:
                self.size += len(piece)
                yield piece
        except Exception as error:
            self.failure = error
            raise
        finally:
            leaving.cancel()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _first(reading: Coroutine[Any, Any, bytes | None], leaving: "asyncio.Task[Any]") -> bytes | None:
    """Return what `reading` returns. Raises _Left as soon as `leaving` is done."""
    task = asyncio.ensure_future(reading)
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            raise _Left
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


class S3Files:
    def __init__(self, settings: Settings) -> None:
        """Open no connection yet. Raises ConfigurationError if the settings do not fit together."""
        self._secret = settings.s3_secret_access_key or settings.key_pepper
        try:
            self._store = S3Store(
                settings.s3_bucket,
                prefix=settings.s3_prefix.strip("/") or None,
                config=_build_config(settings),
                client_options={
                    "allow_http": settings.s3_endpoint_url.startswith("http://"),
                    "connect_timeout": _CONNECT,
                    "timeout": _REQUEST,
                },
                retry_config={"max_retries": 3, "retry_timeout": _RETRYING},
            )
        except (BaseError, ValueError) as error:
            raise ConfigurationError("MAVERA_S3_*: these settings do not name a bucket.") from error

    @property
    def link_secret(self) -> bytes | None:
        """A secret that all servers of the bucket derive from the same key. It does not reveal the key."""
        if not self._secret:
            return None
        return hmac.digest(self._secret.encode(), b"links to media", hashlib.sha256)

    async def keep(self, name: str, pieces: AsyncIterable[bytes]) -> int:
        """Keep a file, and return its size. If it is cancelled, it first takes back what is there."""
        source = _Source(pieces)
        uploading = asyncio.create_task(self._upload(name, source))
        try:
            await asyncio.shield(uploading)
        except asyncio.CancelledError:
            source.leave()
            await finish(self._take_back(name, uploading))
            raise
        except (ServiceUnavailable, NotFound) as error:
            raise (source.failure or build_unavailable()) from error
        return source.size

    async def _upload(self, name: str, source: "_Source") -> None:
        with _s3_errors():
            await obstore.put_async(self._store, name, source.read(), max_concurrency=_PARTS_AT_ONCE)

    async def _take_back(self, name: str, uploading: "asyncio.Task[None]") -> None:
        """Wait until the client has removed the parts. If the upload was complete, remove the file."""
        await asyncio.wait({uploading}, timeout=_TAKING_BACK_SECONDS)
        if not uploading.done():
            uploading.cancel()
            log.warning("media upload left unfinished", name=name)
        elif uploading.exception() is None:
            with suppress(ServiceUnavailable):
                await self.remove(name)

    async def pieces(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        end = start + length
        while start < end:
            with _s3_errors():
                part = await obstore.get_range_async(
                    self._store, name, start=start, end=min(end, start + _PIECE_BYTES)
                )
            start += len(part)
            yield bytes(part)

    async def remove(self, name: str) -> None:
        try:
            with _s3_errors():
                await obstore.delete_async(self._store, name)
        except NotFound:
            return

    async def close(self) -> None:
        """Wait for the client's threads. If Python ends while one of them works, the process aborts."""
        await asyncio.sleep(_SETTLE_SECONDS)


def _build_config(settings: Settings) -> Any:
    """Return the settings under the client's names. It takes missing ones from AWS's variables."""
    given = {
        "region": settings.s3_region,
        "endpoint": _choose_endpoint(settings),
        "access_key_id": settings.s3_access_key_id,
        "secret_access_key": settings.s3_secret_access_key,
    }
    flags = {
        "virtual_hosted_style_request": not settings.s3_path_style,
        # Some servers lack the request that removes many objects at once.
        "disable_bulk_delete": True,
    }
    return {name: value for name, value in given.items() if value} | flags


def _choose_endpoint(settings: Settings) -> str:
    """Return the endpoint for the client. It includes the bucket's name if the host does."""
    endpoint = settings.s3_endpoint_url.rstrip("/")
    if not endpoint or settings.s3_path_style:
        return endpoint
    url = URL(endpoint)
    return str(url.with_host(f"{settings.s3_bucket}.{url.host}")).rstrip("/")


@contextmanager
def _s3_errors() -> Iterator[None]:
    """Turn the client's errors into ours. The log gets only the code of their texts."""
    try:
        yield
    except (BaseError, OSError) as error:
        code = _CODE.search(str(error))
        log.warning("media bucket failed", error=type(error).__name__, code=code[1] if code else None)
        if isinstance(error, FileNotFoundError) and code is not None and code[1] == "NoSuchKey":
            raise NotFound("This file no longer exists.") from None
        raise build_unavailable() from None
