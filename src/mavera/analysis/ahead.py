"""
Rate the sentences of an answer while it is still being said, so that little is left when it ends.

    a piece that ends a sentence → the sentences whole by now → rated in a thread, and remembered

The emotion model remembers what it rated; nothing is handed over, and an answer that was not
read ahead, or only in part, gets the same analysis.
"""

import asyncio
from collections.abc import Callable, Sequence

from mavera.analysis.emotion import MAX_SENTENCES
from mavera.analysis.sentences import Sentence, split

# Finding the sentences of a long answer again and again would cost more than it spares.
MAX_CHARACTERS = 12_000
_ENDS = frozenset(".!?\n…。！？")


class ReadAhead:
    """One answer's; `read` runs in a thread, one call at a time. Belongs to one event loop."""

    def __init__(self, read: Callable[[Sequence[Sentence]], object]) -> None:
        self._read = read
        self._text = ""
        self._known = 0
        self._reading: asyncio.Future[object] | None = None

    def heard(self, piece: str) -> None:
        """Take the next piece of the answer; returns at once."""
        if self._known >= MAX_SENTENCES or len(self._text) > MAX_CHARACTERS:
            return
        self._text += piece
        if _ENDS.isdisjoint(piece) or (self._reading is not None and not self._reading.done()):
            return
        # The last one may go on.
        whole = split(self._text)[self._known : -1]
        if whole:
            self._known += len(whole)
            self._reading = asyncio.get_running_loop().run_in_executor(None, self._read, whole)
            self._reading.add_done_callback(_forget)


def _forget(reading: asyncio.Future[object]) -> None:
    """What failed here fails again in the analysis, which says so."""
    if not reading.cancelled():
        reading.exception()
