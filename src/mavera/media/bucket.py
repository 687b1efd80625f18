"""
Images and videos in a bucket of any server that speaks S3: AWS, MinIO, Garage, Ceph, R2 …

    keep     up to 5 MiB in one request, more in parts of that size; nothing is there before the last
    pieces   one request for each 4 MiB, so that a slow reader holds no connection open

Imported only where MAVERA_S3_BUCKET is set: it needs the extra `s3`.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store
from yarl import URL

from mavera.errors import ConfigurationError, NotFound, ServiceUnavailable
from mavera.media.files import out_of_reach
from mavera.settings import Settings

log = structlog.get_logger()

_PIECE_BYTES = 4 * 1024 * 1024
_CONNECT = timedelta(seconds=5)
# For one request, which carries a part at the most.
_REQUEST = timedelta(seconds=60)
_RETRYING = timedelta(seconds=60)
_PARTS_AT_ONCE = 4
_SETTLE_SECONDS = 0.25
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")


class S3Files:
    def __init__(self, settings: Settings) -> None:
        """Opens no connection. Raises ConfigurationError where the settings do not fit together."""
        self._secret = settings.s3_secret_access_key or settings.key_pepper
        try:
            self._store = S3Store(
                settings.s3_bucket,
                prefix=settings.s3_prefix.strip("/") or None,
                config=_config(settings),
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
        """The same on all servers of the bucket, and another than the key itself."""
        if not self._secret:
            return None
        return hmac.digest(self._secret.encode(), b"links to media", hashlib.sha256)

    async def keep(self, name: str, pieces: AsyncIterable[bytes]) -> int:
        size = 0
        broke: list[Exception] = []

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            try:
                async for piece in pieces:
                    size += len(piece)
                    yield piece
            except Exception as error:  # the client then takes back the parts that are there
                broke.append(error)
                raise

        try:
            with _s3_errors():
                await obstore.put_async(self._store, name, counted(), max_concurrency=_PARTS_AT_ONCE)
        except (ServiceUnavailable, NotFound) as error:
            raise (broke[0] if broke else out_of_reach()) from error
        return size

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
        """Let the client's threads put down what they hold: one caught by Python's end aborts the process."""
        await asyncio.sleep(_SETTLE_SECONDS)


def _config(settings: Settings) -> Any:
    """Return the client's own names for the settings; what is left out it takes from AWS's variables."""
    given = {
        "region": settings.s3_region,
        "endpoint": _endpoint(settings),
        "access_key_id": settings.s3_access_key_id,
        "secret_access_key": settings.s3_secret_access_key,
    }
    flags = {
        "virtual_hosted_style_request": not settings.s3_path_style,
        # Not every server has the request that removes many at once.
        "disable_bulk_delete": True,
    }
    return {name: value for name, value in given.items() if value} | flags


def _endpoint(settings: Settings) -> str:
    """Return the endpoint as the client wants it: with the bucket's name where that is part of the host."""
    endpoint = settings.s3_endpoint_url.rstrip("/")
    if not endpoint or settings.s3_path_style:
        return endpoint
    url = URL(endpoint)
    return str(url.with_host(f"{settings.s3_bucket}.{url.host}")).rstrip("/")


@contextmanager
def _s3_errors() -> Iterator[None]:
    """Let nothing of the client's own errors past this file; of their texts only a code is logged."""
    try:
        yield
    except (BaseError, OSError) as error:
        code = _CODE.search(str(error))
        log.warning("media bucket failed", error=type(error).__name__, code=code[1] if code else None)
        if isinstance(error, FileNotFoundError) and code is not None and code[1] == "NoSuchKey":
            raise NotFound("There is no such file any more.") from None
        raise out_of_reach() from None
