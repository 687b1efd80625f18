"""
An HTTP transport that limits the size of responses, for SDKs of providers, which read responses whole.

It needs `httpx`, so only modules that need an SDK import it.
"""

import httpx

from mavera.fetch.capped_stream import CappedStream


class TooLarge(httpx.ReadError):
    """The response exceeds the limit."""


class _CappedStream(CappedStream, httpx.AsyncByteStream):
    pass


class CappedTransport(httpx.AsyncHTTPTransport):
    """Raises TooLarge when a response exceeds `most_bytes`, and for a compressed response."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # A small compressed response can be huge when decompressed, so the request asks for none.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise TooLarge("the response is compressed, though the request forbade it")
        response.stream = _CappedStream(response.stream, self._most_bytes, TooLarge("too large"))
        return response
