"""
A body of an HTTP client that ends with an error past a size.

To be mixed into the stream class of `httpx` or of `httpx2`, which are not each other's: the SDKs of
providers bring the one, the MCP client the other.
"""

from collections.abc import AsyncIterator
from typing import Any


class CappedStream:
    """`too_large` is raised in place of the piece that goes past `most_bytes`."""

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
