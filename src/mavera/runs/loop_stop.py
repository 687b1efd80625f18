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

from mavera.core.events import RunCompleted, RunStarted, TextDelta, TextWasReasoning
from mavera.core.prompt import Prompt
from mavera.core.speech import LOOP_TIMES, LOOP_WORDS, find_words
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.models.model import ModelContext
from mavera.runs.stage import Events, Open, begin

_SENTENCE_END = re.compile(r"[.!?…][\"'”’)]*$")
_LAST_END = re.compile(r"(?s:.*)[.!?…][\"'”’)]*(?=\s)")


class StopLoops:
    """The stage for spoken answers of a small model. `context` counts the prompt of an ended answer."""

    def __init__(self, context: ModelContext | None) -> None:
        self._context = context

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        return await begin(self._watch(prompt, await open_next(prompt)))

    async def _watch(self, prompt: Prompt, events: Events) -> Events:
        yield RunStarted()
        watch = LoopWatch()
        try:
            async for event in events:
                match event:
                    case TextDelta():
                        for passed in watch.feed(event):
                            yield passed
                        if watch.has_looped:
                            break
                    case TextWasReasoning():
                        watch = LoopWatch()
                        yield event
                    case RunCompleted():
                        for passed in watch.flush():
                            yield passed
                        yield event
                    case _:
                        yield event
        finally:
            await events.aclose()
        if watch.has_looped and not watch.is_flushed:
            # A model that was stopped does not report its usage.
            yield RunCompleted("stop", Usage(await self._count(prompt), watch.deltas, estimated=True))

    async def _count(self, prompt: Prompt) -> int:
        """Return the tokens of `prompt`, or 0 if they cannot be counted."""
        try:
            return await self._context.count(prompt) if self._context is not None else 0
        except APIError:
            return 0


class LoopWatch:
    """Passes deltas on, and holds them back from the first repetition to the end of each sentence."""

    def __init__(self) -> None:
        self.deltas = 0
        self.has_looped = False
        self.is_flushed = False
        self._held: list[TextDelta] = []
        self._passed = ""
        self._is_holding = False
        self._unfinished = ""
        self._last: list[str] = []
        self._counts: Counter[tuple[str, ...]] = Counter()

    def feed(self, delta: TextDelta) -> Iterator[TextDelta]:
        """Yield what may pass. Once `has_looped` is true, the answer is over."""
        self.deltas += 1
        if delta.text[:1].isspace() and self._ends_sentence():
            yield from self._release()
        words, space, rest = self._split(self._unfinished + delta.text)
        self._unfinished = rest
        if space and self._note_words(words):
            self.has_looped = True
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

    def flush(self) -> Iterator[TextDelta]:
        """Yield what is held at the end of the answer, unless its last word ends a loop."""
        self.is_flushed = True
        self.has_looped = self._note_words(self._unfinished)
        yield from self._trail_off() if self.has_looped else self._release()

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

    @staticmethod
    def _split(text: str) -> tuple[str, bool, str]:
        """Return the whole words of `text`, whether there are any, and the word that may go on."""
        at = max((place for place, character in enumerate(text) if character.isspace()), default=-1)
        return text[: at + 1], at >= 0, text[at + 1 :]

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
