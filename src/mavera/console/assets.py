"""
Serve the files of static/ under addresses that contain a hash of all of them.

    /console/static/<hash>/console.css   the current hash: cached for a year
                                         another hash, after an update: the current file, not cached
                                         an unknown file: 404, not cached

The hash is a folder, so the modules of a page import each other by relative names.
"""

import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.headers import header

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_HASH_LENGTH = 12


@dataclass(frozen=True)
class Asset:
    body: bytes = field(repr=False)
    media_type: str

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.body, mtime=0)


class Assets:
    """The static files of the installed package."""

    def __init__(self) -> None:
        folder = files("mavera.console") / "static"
        self._files = {
            entry.name: Asset(entry.read_bytes(), _TYPES[entry.name.rpartition(".")[2]])
            for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
            if entry.is_file() and entry.name.rpartition(".")[2] in _TYPES
        }
        digest = hashlib.sha256()
        for name, asset in self._files.items():
            digest.update(name.encode() + b"\0" + asset.body)
        self.version = digest.hexdigest()[:_HASH_LENGTH]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    def get(self, name: str) -> Asset:
        """Return a file. Raises KeyError if there is no such file."""
        return self._files[name]

    def path(self, name: str) -> str:
        """Return the address of a file below the prefix. Raises KeyError if there is no such file."""
        if name not in self._files:
            raise KeyError(name)
        return f"/console/static/{self.version}/{name}"

    async def respond(self, request: Request) -> Response:
        asset = self._files.get(request.path_params["name"])
        if asset is None:
            return Response("There is no such file.\n", 404, {"cache-control": "no-store"}, "text/plain")
        is_current = request.path_params["version"] == self.version
        headers = {
            "cache-control": "public, max-age=31536000, immutable" if is_current else "no-cache",
            "vary": "Accept-Encoding",
        }
        body = asset.body
        if "gzip" in (header(request, b"accept-encoding") or ""):
            headers["content-encoding"] = "gzip"
            body = asset.compressed
        return Response(body, headers=headers, media_type=asset.media_type)
