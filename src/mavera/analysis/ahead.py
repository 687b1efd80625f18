"""
Rate the sentences of an answer while it is still being generated, so that little is left when it ends.

    a piece that ends a sentence → the complete sentences so far → rated in a thread, and cached

The emotion model caches its ratings, so nothing is handed over. An answer that was not read ahead, or
only in part, gets the same analysis.
"""

import asyncio
from collections.abc import Callable, Sequence

from mavera.analysis.emotion import MAX_SENTENCES
from mavera.reading.sentences import Sentence, split_sentences

# Splitting a long answer again and again would cost more than reading ahead saves.
MAX_CHARACTERS = 12_000
_ENDS = frozenset(".!?\n…。！？")


class ReadAhead:
    """
    The reader of one answer, on one event loop.

    `read` gets complete sentences. It runs in a thread, one call at a time.
    """

    def __init__(self, read: Callable[[Sequence[Sentence]], object]) -> None:
        self._read = read
        self._text = ""
        self._known = 0
        self._reading: asyncio.Future[object] | None = None

    def feed(self, piece: str) -> None:
        """Take the next piece of the answer. Returns at once."""
        if self._known >= MAX_SENTENCES or len(self._text) > MAX_CHARACTERS:
            return
        self._text += piece
        if _ENDS.isdisjoint(piece) or (self._reading is not None and not self._reading.done()):
            return
        # The last sentence may continue.
        whole = split_sentences(self._text)[self._known : -1]
        if whole:
            self._known += len(whole)
            self._reading = asyncio.get_running_loop().run_in_executor(None, self._read, whole)
            self._reading.add_done_callback(_forget)


def _forget(reading: asyncio.Future[object]) -> None:
    """Ignore an error of reading ahead. The analysis meets the same error and reports it."""
    if not reading.cancelled():
        reading.exception()
