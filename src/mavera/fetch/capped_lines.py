"""
A text encoding for pipes: UTF-8 whose lines are cut past a size.

The MCP client gathers a program's line in memory, however long it grows, and takes the name of
an encoding; that is the one place where it can be held to a size. A message that was cut is none
any more: the call that waits for it fails when its time is up.
"""

import codecs

NAME = "mavera_capped_lines"
MOST_LINE_BYTES = 8 * 1024 * 1024


class _Decoder(codecs.IncrementalDecoder):
    def __init__(self, errors: str = "strict") -> None:
        super().__init__(errors)
        # What is cut may end in the middle of a character.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._line_bytes = 0

    def decode(self, data: bytes, final: bool = False) -> str:  # type: ignore[override]
        kept = b"\n".join(self._cut(line, first=not number) for number, line in enumerate(data.split(b"\n")))
        return self._utf8.decode(kept, final)

    def _cut(self, line: bytes, *, first: bool) -> bytes:
        """Return what is still room for; the first piece goes on where the data before ended."""
        if not first:
            self._line_bytes = 0
        kept = line[: max(0, MOST_LINE_BYTES - self._line_bytes)]
        self._line_bytes += len(kept)
        return kept

    def reset(self) -> None:
        self._utf8.reset()
        self._line_bytes = 0


def _found(name: str) -> codecs.CodecInfo | None:
    if name != NAME:
        return None
    utf8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(utf8.encode, utf8.decode, incrementaldecoder=_Decoder, name=NAME)


def register() -> str:
    """Make the encoding known to Python, once for the process; return its name."""
    try:
        codecs.lookup(NAME)
    except LookupError:
        codecs.register(_found)
    return NAME
