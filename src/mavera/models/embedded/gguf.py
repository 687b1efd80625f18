"""
Read the shape of a model from the beginning of its GGUF file, before the rest of it is fetched.

    "GGUF", version, tensors, pairs   →   pairs of key and value   →   tokens of the vocabulary, tensors

The keys that tell the shape stand before the vocabulary, so a few kilobytes are enough. Nothing in the file
is trusted: every length is checked against the bytes at hand.
"""

import struct
from dataclasses import dataclass
from typing import Any

GGUF_MAGIC = b"GGUF"
START_BYTES = 256 * 1024
# The engine keeps keys and values as numbers of two bytes.
_CACHE_NUMBER_BYTES = 2
_MOST_PAIRS = 10_000
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class NotGguf(Exception):
    """The bytes are not the beginning of a GGUF file."""


class _End(Exception):
    """The bytes at hand are used up."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """`token_bytes` is the memory of one token of context, 0 if the file does not say."""

    architecture: str
    licence: str
    token_bytes: int


def read_shape(start: bytes) -> ModelShape:
    """Return the shape that the first bytes of a file tell. Raises NotGguf."""
    if not start.startswith(GGUF_MAGIC):
        raise NotGguf
    values = _read_pairs(start)
    architecture = str(values.get("general.architecture", ""))
    return ModelShape(
        architecture, str(values.get("general.license", "")), _compute_token_bytes(values, architecture)
    )


def _compute_token_bytes(values: dict[str, Any], architecture: str) -> int:
    def number(name: str) -> int:
        found = values.get(f"{architecture}.{name}", 0)
        found = max(found, default=0) if isinstance(found, list) else found
        return found if isinstance(found, int) and 0 < found < 1_000_000 else 0

    heads = number("attention.head_count")
    size = number("embedding_length") // heads if heads else 0
    key, value = number("attention.key_length") or size, number("attention.value_length") or size
    kept_heads = number("attention.head_count_kv") or heads
    return number("block_count") * kept_heads * (key + value) * _CACHE_NUMBER_BYTES


def _read_pairs(start: bytes) -> dict[str, Any]:
    reader = _Reader(start, at=len(GGUF_MAGIC) + 4 + 8)
    values: dict[str, Any] = {}
    try:
        for _ in range(min(reader.number("Q"), _MOST_PAIRS)):
            key = reader.text()
            values[key] = reader.value(reader.number("I"))
    except _End:
        pass
    return values


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise _End
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            # Each element has a byte at least, so a made-up count ends at the end of the data.
            return (
                [self.value(inner) for _ in range(min(count, len(self._data)))]
                if inner != _ARRAY
                else self._stop()
            )
        return self.number(_NUMBERS[kind]) if kind in _NUMBERS else self._stop()

    def _stop(self) -> Any:
        raise _End
