"""
Give an answer its analysis, where one is wished: after the text, before `Finished`.

    Accepted, deltas …  as they come, and noted       the text waits for nothing; its sentences
                                                      are rated beside it
    Finished            the analysis, then `Finished`

The model is asked for the log-probabilities of its own words; the caller sees them only
where it asked too. A server that refuses to tell them is asked again without.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from mavera.analysis.ahead import ReadAhead
from mavera.analysis.analyst import Analyst, Answered
from mavera.core.events import Finished, ModelEvent, TextDelta
from mavera.core.turn import Turn
from mavera.errors import ConversationTooLong, InvalidRequest
from mavera.models.model import Model

Answer = Callable[[Turn], AsyncGenerator[ModelEvent, None]]


@dataclass(slots=True)
class Noted:
    """What was said, and by whom."""

    model: Model
    analyst: Analyst
    turn: Turn | None = None
    pieces: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ahead: ReadAhead | None = None

    def noting(self, answer: Answer) -> Answer:
        """Return `answer`, asked for log-probabilities and noted; each call of it begins anew."""

        async def noted(turn: Turn) -> AsyncGenerator[ModelEvent, None]:
            self.turn = turn
            self.pieces.clear()
            self.logprobs.clear()
            self.ahead = self.analyst.ahead()
            async with aclosing(_with_logprobs(answer, turn)) as events:
                async for event in events:
                    yield self._note(event, keep=turn.top_logprobs is not None)

        return noted

    async def analysed(self, finished: Finished) -> Finished:
        """Make the analysis, and return `finished` with what it cost beside the answer."""
        if self.turn is None:
            return finished
        answered = Answered(self.turn, "".join(self.pieces), tuple(self.logprobs))
        made = await self.analyst.analyse(self.model, answered)
        return replace(finished, usage=finished.usage + made.usage, analysis=made.analysis)

    def _note(self, event: ModelEvent, *, keep: bool) -> ModelEvent:
        if not isinstance(event, TextDelta):
            return event
        self.pieces.append(event.text)
        if self.ahead is not None:
            self.ahead.heard(event.text)
        self.logprobs += [token.logprob for token in event.logprobs]
        return event if keep or not event.logprobs else TextDelta(event.text)


async def _with_logprobs(answer: Answer, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
    if turn.top_logprobs is None:
        started = False
        try:
            async with aclosing(answer(replace(turn, top_logprobs=1))) as events:
                async for event in events:
                    started = True
                    yield event
            return
        except ConversationTooLong:
            raise
        except InvalidRequest:
            if started:
                raise
    async with aclosing(answer(turn)) as events:
        async for event in events:
            yield event
