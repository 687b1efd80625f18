"""
Add the analysis to the end of an answer.

    deltas          passed on at once and noted; the sentences are rated meanwhile
    RunCompleted    the analysis is made, and the event is passed on with it

The model is asked for the log-probabilities of its words. The caller sees them only if it asked for them too.
A server that refuses log-probabilities is asked again without them.
"""

from contextlib import aclosing

from msgspec.structs import replace

from mavera.analysis.ahead import ReadAhead
from mavera.analysis.analyst import Analyst, AnsweredPrompt
from mavera.core.events import AnswerEvent, RunCompleted, RunStarted, TextDelta, TextWasReasoning
from mavera.core.prompt import Prompt
from mavera.errors import ConversationTooLong, InvalidRequest
from mavera.models.model import Model
from mavera.runs.stage import Events, Open, begin, open_first_taken


class AnalyseAnswer:
    """
    The stage that notes an answer. It is next to the model, because an analysis asks about the same prompt.

    If server tools run, there are several rounds. The notes are of the latest round, which is the answer.
    """

    def __init__(self, model: Model, analyst: Analyst) -> None:
        self._model = model
        self._analyst = analyst
        self._prompt: Prompt | None = None
        self._pieces: list[str] = []
        self._logprobs: list[float] = []
        self._ahead: ReadAhead | None = None

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        self._prompt = prompt
        self._pieces, self._logprobs = [], []
        self._ahead = self._analyst.start_reading()
        are_shown = prompt.top_logprobs is not None
        prompts = (prompt,) if are_shown else (_with_logprobs(prompt), prompt)
        events = await open_first_taken(prompts, open_next, is_refusal=_may_refuse_logprobs)
        return await begin(self._note_all(events, shows_logprobs=are_shown))

    async def complete(self, event: RunCompleted) -> RunCompleted:
        """Make the analysis, and return `event` with it and with its tokens."""
        if self._prompt is None:
            return event
        answered = AnsweredPrompt(self._prompt, "".join(self._pieces), tuple(self._logprobs))
        analysed = await self._analyst.analyse(self._model, answered)
        return replace(event, usage=event.usage + analysed.usage, analysis=analysed.analysis)

    async def _note_all(self, events: Events, *, shows_logprobs: bool) -> Events:
        async with aclosing(events):
            yield RunStarted()
            async for event in events:
                yield self._note(event, shows_logprobs=shows_logprobs)

    def _note(self, event: AnswerEvent, *, shows_logprobs: bool) -> AnswerEvent:
        if isinstance(event, TextWasReasoning):
            self._pieces.clear()
            self._logprobs.clear()
        if not isinstance(event, TextDelta):
            return event
        self._pieces.append(event.text)
        if self._ahead is not None:
            self._ahead.feed(event.text)
        self._logprobs += [token.logprob for token in event.logprobs]
        return event if shows_logprobs or not event.logprobs else TextDelta(event.text)


def _with_logprobs(prompt: Prompt) -> Prompt:
    return replace(prompt, top_logprobs=1, preferences=prompt.preferences | {"top_logprobs"})


def _may_refuse_logprobs(error: InvalidRequest) -> bool:
    return not isinstance(error, ConversationTooLong)
