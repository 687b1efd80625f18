"""
A small cache whose entries live for a short time.

It drops entries that are too old, and the least recently used entry beyond its limit. Its clock is
monotonic.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class ShortLived(Generic[V]):
    def __init__(
        self, *, limit: int, life_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._life_seconds = life_seconds
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def now(self) -> float:
        return self._clock()

    def get(self, key: str) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        known_at, value = entry
        if self._clock() - known_at >= self._life_seconds:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: str, value: V, *, known_at: float) -> None:
        """Keep `value`. Its age counts from `known_at`, the time when the lookup began."""
        self._entries[key] = (known_at, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)
