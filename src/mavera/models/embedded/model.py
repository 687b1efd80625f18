"""Send prompts to the embedded model: llama.cpp's server in a child process."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from mavera.core.events import ModelEvent, RunCompleted, RunStarted
from mavera.core.prompt import OutputFormat, Prompt
from mavera.core.usage import Usage
from mavera.errors import APIError, ServiceUnavailable
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.constrained.prompts import longest
from mavera.models.dialects import DIALECTS
from mavera.models.embedded import grammar
from mavera.models.embedded.counting import count_tokens
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.engine_api import EngineApi, EngineCallFailed
from mavera.models.embedded.loop_watch import LoopWatch
from mavera.models.embedded.plain_text import PlainTexts, without_marks
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.endpoint import Endpoint
from mavera.models.model import ModelContext, ModelProfile, ModelStatus
from mavera.models.tracing import CallTracing
from mavera.models.upstream import UpstreamModel, UpstreamOptions

# An answer of this length takes a laptop about a minute. Callers can ask for more.
DEFAULT_MAX_TOKENS = 1024

# Without a system message the model's template names its maker, and the model introduces itself so.
# If no maker is named, a small model invents one.
INTRODUCTION = "You are Mavera, an AI assistant made by the Mavera project."

# Reading a prompt of 8,000 tokens takes two cores about two minutes, and the engine
# says nothing meanwhile when all its slots are taken.
_PATIENCE_SECONDS = 600.0

# A slow machine needs long for an answer that fills the context, but no answer takes longer than this.
_ANSWER_SECONDS = 4 * 3600.0

_LOOK_SECONDS = 2.0

_DEFAULTS = {
    "temperature": 1.0,
    "top_p": 1.0,
    "max_tokens": DEFAULT_MAX_TOKENS,
    # With this the engine sends its headers when it takes the prompt, not with the first token.
    "return_progress": True,
}


class EmbeddedModel:
    """
    The model in the embedded engine. `stream` uses the same code as for any other server.

    `sees_images` says that the engine has the model's projector.
    """

    def __init__(
        self, engine: Engine, states: PrefixStates | None = None, *, sees_images: bool = False
    ) -> None:
        self.engine = engine
        self.profile = ModelProfile(
            sees_images=sees_images,
            gives_logprobs=True,
            tools="constrained",
            answers_after_result=True,
            shares_one_cache=True,  # each of the engine's slots has its own
            enforces_format=_is_enforced,
            takes_hints=True,
            introduction=INTRODUCTION,
            context=ModelContext(engine.context_tokens, self._count_tokens),
            read_prefix=states.read if states is not None else None,
            keep_prefixes=states.keep if states is not None else None,
            is_working=self._is_working,
        )
        self._states = states
        self._upstream = UpstreamModel(
            self._find_endpoint,
            UpstreamOptions(
                model="embedded",
                keep_alive=False,  # the engine closes a connection after each stream
                first_byte_timeout_seconds=_PATIENCE_SECONDS,
                idle_timeout_seconds=_PATIENCE_SECONDS,
                total_seconds=_ANSWER_SECONDS,
                defaults=_DEFAULTS,
                constrain=_build_constraint,
                dialect=DIALECTS["llama.cpp"],
                learns=False,
                sees_images=sees_images,
            ),
        )
        self._answers = ConstrainedTools(PlainTexts(self._upstream))

    def trace_with(self, tracing: CallTracing) -> None:
        self._upstream.trace_with(tracing)

    def count_failures(self, note: Callable[[str], None]) -> None:
        self._upstream.count_failures(note)

    async def start(self) -> None:
        await self._upstream.start()
        await self.engine.start()
        if self._states is not None:
            await self._states.start()

    async def close(self) -> None:
        if self._states is not None:
            await self._states.close()
        await self._upstream.close()
        await self.engine.close()

    def status(self) -> ModelStatus:
        return self.engine.status()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        states, answered = self._states, False
        # A hint asks for a spoken answer. It is watched here, because a stage would cost each piece a frame.
        watch = LoopWatch() if prompt.hint else None
        try:
            if states is not None:
                await states.begin(prompt)
            async with aclosing(self._answers.stream(prompt)) as events:
                async for event in events:
                    answered = answered or not isinstance(event, RunStarted)
                    if watch is None:
                        yield event
                        continue
                    for passed in watch.feed(event):
                        yield passed
                    if watch.must_stop:
                        break
            if watch is not None and watch.must_stop:
                # A model that was stopped does not report its usage.
                yield RunCompleted("stop", Usage(await self._try_count(prompt), watch.deltas, estimated=True))
        finally:
            if states is not None:
                states.end(prompt, answered=answered)

    async def _count_tokens(self, prompt: Prompt) -> int:
        return await count_tokens(self.engine, without_marks(longest(prompt)))

    async def _try_count(self, prompt: Prompt) -> int:
        """Return the tokens of `prompt`, or 0 if they cannot be counted."""
        try:
            return await self._count_tokens(prompt)
        except APIError:
            return 0

    async def _is_working(self) -> bool:
        """Return whether a slot of the engine works now. An engine that cannot be asked is not busy."""
        try:
            async with EngineApi(await self.engine.endpoint(), seconds=_LOOK_SECONDS) as api:
                return await api.has_busy_slot()
        except (EngineCallFailed, ServiceUnavailable):
            return False

    async def _find_endpoint(self) -> Endpoint:
        base_url, api_key = await self.engine.endpoint()
        return Endpoint(f"{base_url}/v1", api_key)


def _is_enforced(wanted: OutputFormat) -> bool:
    return wanted.schema is None or grammar.is_enforced(wanted.schema)


def _build_constraint(wanted: OutputFormat) -> Mapping[str, Any]:
    return {"grammar": grammar.build_grammar(wanted)}
