"""
Cap the size of a body that an HTTP client receives.

Mix the class into the stream class of `httpx` or of `httpx2`. The two have no common base: the SDKs of
providers use `httpx`, and the MCP client uses `httpx2`.
"""

from collections.abc import AsyncIterator
from typing import Any


class CappedStream:
    """A stream that raises `too_large` instead of the piece that would exceed `most_bytes`."""

    def __init__(self, stream: Any, most_bytes: int, too_large: Exception) -> None:
        self._stream = stream
        self._most_bytes = most_bytes
        self._too_large = too_large

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for chunk in self._stream:
            total += len(chunk)
            if total > self._most_bytes:
                raise self._too_large
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
