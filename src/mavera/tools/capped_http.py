"""
An HTTP transport for the SDKs of providers, which read answers whole: it ends an answer past a size.

Imported only with the SDKs themselves: it needs `httpx`.
"""

import httpx

from mavera.fetch.capped_stream import CappedStream


class TooLarge(httpx.ReadError):
    """The answer is larger than this server reads of it."""


class _CappedStream(CappedStream, httpx.AsyncByteStream):
    pass


class CappedTransport(httpx.AsyncHTTPTransport):
    """Raises TooLarge in place of the piece that goes past `most_bytes`, and for an answer that is packed."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # Unpacked, a small answer can be huge: none is asked for packed.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise TooLarge("an answer that is packed, though none was asked for")
        response.stream = _CappedStream(response.stream, self._most_bytes, TooLarge("too large"))
        return response
