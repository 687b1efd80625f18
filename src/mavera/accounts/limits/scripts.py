"""
Run a script in Redis or Valkey for many callers in one round trip.

The client's own scripts ask the store before each run whether it has them, which is a second round trip.
Here the store gets only the script's digest. If it answers that it does not know it, as it does after its
start or a SCRIPT FLUSH, it gets the script.
"""

import hashlib
import importlib
from collections.abc import Sequence
from typing import Any

# The keys of one run, and its other values.
Call = tuple[Sequence[str], Sequence[Any]]


class StoreScript:
    """A script in `store`, a client of Redis."""

    def __init__(self, store: Any, text: str) -> None:
        self._store = store
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._unknown: type[Exception] = importlib.import_module("redis.exceptions").NoScriptError

    async def run(self, keys: Sequence[str], values: Sequence[Any]) -> Any:
        """Run the script once, and return its reply. Raises the client's errors."""
        (reply,) = await self.run_each([(keys, values)])
        return reply

    async def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run the script once for each call, and return the replies in order. Raises the client's errors."""
        replies = await self._send(calls)
        unknown = [place for place, reply in enumerate(replies) if isinstance(reply, self._unknown)]
        if unknown:
            await self._store.script_load(self._text)
            again = await self._send([calls[place] for place in unknown])
            for place, reply in zip(unknown, again, strict=True):
                replies[place] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        async with self._store.pipeline(transaction=False) as pipeline:
            for keys, values in calls:
                pipeline.evalsha(self._digest, len(keys), *keys, *values)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            return replies
