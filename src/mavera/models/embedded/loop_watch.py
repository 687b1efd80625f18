"""
End an answer before it says the same four words a third time.

    text that says nothing twice   passes at once
    after a repetition             passes sentence by sentence
    a third time                   the sentence is dropped, and the answer ends, with "…" within a sentence

A small model that has begun a loop does not leave it. Its answer is over where the loop begins.
"""

import re
from collections import Counter
from collections.abc import Iterator

from mavera.core.events import ModelEvent, RunCompleted, TextDelta, TextWasReasoning
from mavera.core.speech import LOOP_TIMES, LOOP_WORDS, find_words

_SENTENCE_END = re.compile(r"[.!?…][\"'”’)]*$")
_LAST_END = re.compile(r"(?s:.*)[.!?…][\"'”’)]*(?=\s)")


class LoopWatch:
    """
    Passes the events of an answer on, and holds text from the first repetition to the end of each sentence.

    `deltas` counts the pieces of text. Once `must_stop` is true, the answer is over before the model's end.
    """

    def __init__(self) -> None:
        self.deltas = 0
        self.must_stop = False
        self._forget()

    def _forget(self) -> None:
        self._held: list[TextDelta] = []
        self._passed = ""
        self._is_holding = False
        self._unfinished = ""
        self._last: list[str] = []
        self._counts: Counter[tuple[str, ...]] = Counter()

    def feed(self, event: ModelEvent) -> Iterator[ModelEvent]:
        """Yield what may pass."""
        match event:
            case TextDelta():
                yield from self._feed_text(event)
            case TextWasReasoning():
                self._forget()
                yield event
            case RunCompleted():
                yield from self._trail_off() if self._note_words(self._unfinished) else self._release()
                yield event
            case _:
                yield event

    def _feed_text(self, delta: TextDelta) -> Iterator[TextDelta]:
        self.deltas += 1
        if delta.text[:1].isspace() and self._ends_sentence():
            yield from self._release()
        if self._note_text(delta.text):
            self.must_stop = True
            yield from self._trail_off()
            return
        if not self._is_holding:
            self._passed = delta.text
            yield delta
            return
        end = None if delta.logprobs else _LAST_END.match(delta.text)
        if end is not None:
            # A sentence ends within the delta, so its beginning may pass.
            self._held.append(TextDelta(end[0]))
            yield from self._release()
            delta = TextDelta(delta.text[end.end() :])
        if delta.text:
            self._held.append(delta)

    def _release(self) -> Iterator[TextDelta]:
        held, self._held = self._held, []
        for delta in held:
            self._passed = delta.text
            yield delta

    def _trail_off(self) -> Iterator[TextDelta]:
        """Yield an ellipsis if the text that has passed ends within a sentence."""
        if self._passed and _SENTENCE_END.search(self._passed) is None:
            yield TextDelta("…")

    def _ends_sentence(self) -> bool:
        return bool(self._held) and _SENTENCE_END.search(self._held[-1].text) is not None

    def _note_text(self, text: str) -> bool:
        """Count the words that `text` completes, and return whether some are there for the last time."""
        space = max((place for place, character in enumerate(text) if character.isspace()), default=None)
        if space is None:
            self._unfinished += text
            return False
        whole, self._unfinished = self._unfinished + text[:space], text[space + 1 :]
        return self._note_words(whole)

    def _note_words(self, text: str) -> bool:
        """Count the words in a row, and return whether some are there for the last time."""
        for word in find_words(text):
            self._last = [*self._last, word][-LOOP_WORDS:]
            if len(self._last) < LOOP_WORDS:
                continue
            gram = tuple(self._last)
            self._counts[gram] += 1
            self._is_holding = self._is_holding or self._counts[gram] > 1
            if self._counts[gram] >= LOOP_TIMES:
                return True
        return False
