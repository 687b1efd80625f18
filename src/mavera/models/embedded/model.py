"""The embedded model: a prompt for llama.cpp's own server, in a child process of this one."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from mavera.core.events import ModelEvent, RunStarted
from mavera.core.prompt import OutputFormat, Prompt
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.constrained.prompts import longest
from mavera.models.embedded import grammar
from mavera.models.embedded.counting import count_tokens
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.model import ModelContext, ModelProfile, ModelStatus
from mavera.models.upstream import Endpoint, UpstreamModel, UpstreamOptions

# An answer this long takes a laptop about a minute; who wants more says so.
DEFAULT_MAX_TOKENS = 1024

# Reading a prompt of 8,000 tokens takes two cores about two minutes, and the engine
# says nothing meanwhile when all its slots are taken.
_PATIENCE_SECONDS = 600.0

# A slow machine may take long over an answer that fills the context; no answer takes longer than this.
_ANSWER_SECONDS = 4 * 3600.0

_DEFAULTS = {
    "temperature": 1.0,
    "top_p": 1.0,
    "max_tokens": DEFAULT_MAX_TOKENS,
    # The engine then sends its headers when it takes the prompt, not with the first token.
    "return_progress": True,
}


class EmbeddedModel:
    """`stream` speaks to the engine through the same code as to any other server."""

    def __init__(self, engine: Engine, states: PrefixStates | None = None) -> None:
        self.engine = engine
        self.profile = ModelProfile(
            tools="constrained",
            shares_one_cache=True,  # each of the engine's slots has its own
            enforces_format=_enforces,
            unsupported_keyword=grammar.refused,
            context=ModelContext(engine.context_tokens, self._count_tokens),
            keep_prefixes=states.keep if states is not None else None,
        )
        self._states = states
        self._upstream = UpstreamModel(
            self._endpoint,
            UpstreamOptions(
                model="embedded",
                keep_alive=False,  # the engine closes a connection after each stream
                first_byte_timeout_seconds=_PATIENCE_SECONDS,
                idle_timeout_seconds=_PATIENCE_SECONDS,
                total_seconds=_ANSWER_SECONDS,
                defaults=_DEFAULTS,
                constrain=_constrain,
            ),
        )
        self._answers = ConstrainedTools(self._upstream)

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
        states, heard = self._states, False
        try:
            if states is not None:
                await states.begin(prompt)
            async with aclosing(self._answers.stream(prompt)) as events:
                async for event in events:
                    heard = heard or not isinstance(event, RunStarted)
                    yield event
        finally:
            if states is not None:
                states.end(prompt, heard=heard)

    async def _count_tokens(self, prompt: Prompt) -> int:
        return await count_tokens(self.engine, longest(prompt))

    async def _endpoint(self) -> Endpoint:
        base_url, api_key = await self.engine.endpoint()
        return Endpoint(f"{base_url}/v1", api_key)


def _enforces(wanted: OutputFormat) -> bool:
    return wanted.schema is None or grammar.kept_to(wanted.schema)


def _constrain(wanted: OutputFormat) -> Mapping[str, Any]:
    return {"grammar": grammar.grammar(wanted)}
