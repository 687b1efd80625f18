"""
Run a script in Redis or Valkey for many callers in one round trip.

The client's own scripts ask the store before each run whether it has them, which is a second round trip.
Here the store gets only the script's digest. If it answers that it does not know it, as it does after its
start or a SCRIPT FLUSH, it gets the script.

A call goes straight to a connection of the client's pool, because the client's pipeline takes twice the
processor time of the rest. The bytes of a call are kept, since a key makes the same call with each request.
"""

import hashlib
import importlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

# The keys of one run, and its other values.
Call = tuple[Sequence[str], Sequence[Any]]

_KEPT_CALLS = 4096


class StoreScript:
    """A script in `store`, a client of Redis."""

    def __init__(self, store: Any, text: str) -> None:
        self._store = store
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        exceptions = importlib.import_module("redis.exceptions")
        self._unknown: type[Exception] = exceptions.NoScriptError
        self._refused: type[Exception] = exceptions.ResponseError
        self._packed: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

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
        pool = self._store.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command([self._pack(connection, *call) for call in calls])
            return [await self._read_reply(connection) for _ in calls]
        except BaseException:
            # Replies that nobody has read would answer the commands of the next caller.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def _read_reply(self, connection: Any) -> Any:
        try:
            return await connection.read_response()
        except self._refused as error:
            return error

    def _pack(self, connection: Any, keys: Sequence[str], values: Sequence[Any]) -> bytes:
        call = (*keys, *values)
        packed = self._packed.get(call)
        if packed is None:
            packed = b"".join(connection.pack_command("EVALSHA", self._digest, len(keys), *call))
            self._packed[call] = packed
            if len(self._packed) > _KEPT_CALLS:
                self._packed.popitem(last=False)
        return packed
