"""The embedded model: a turn for llama.cpp's own server, in a child process of this one."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from mavera.core.events import Accepted, ModelEvent
from mavera.core.items import Item
from mavera.core.turn import OutputFormat, Turn
from mavera.errors import InvalidRequest
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.constrained.prompts import longest
from mavera.models.embedded import grammar
from mavera.models.embedded.counting import count_tokens
from mavera.models.embedded.linked import Engine
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.model import ModelStatus
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
    # The engine then sends its headers when it takes the turn, not with the first token.
    "return_progress": True,
}


class EmbeddedModel:
    """`stream` speaks to the engine through the same code as to any other server."""

    sees_images = False
    shares_one_cache = True  # each of the engine's slots has its own

    def __init__(self, engine: Engine, states: PrefixStates | None = None) -> None:
        self.engine = engine
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

    def keeps_to(self, wanted: OutputFormat) -> bool:
        if wanted.schema is None:
            return True
        if found := grammar.refused(wanted.schema):
            keyword, place = found
            raise InvalidRequest(
                f"'{wanted.at}' uses '{keyword}' (at {place}), to which the embedded model cannot be held.",
                param=wanted.at,
            )
        return grammar.kept_to(wanted.schema)

    def status(self) -> ModelStatus:
        return self.engine.status()

    async def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        states, heard = self._states, False
        try:
            if states is not None:
                await states.begin(turn)
            async with aclosing(self._answers.stream(turn)) as events:
                async for event in events:
                    heard = heard or not isinstance(event, Accepted)
                    yield event
        finally:
            if states is not None:
                states.end(turn, heard=heard)

    def keep(self, leads: Sequence[tuple[Item, ...]]) -> None:
        if self._states is not None:
            self._states.keep(leads)

    @property
    def context_tokens(self) -> int:
        return self.engine.context_tokens

    async def count_tokens(self, turn: Turn) -> int:
        return await count_tokens(self.engine, longest(turn))

    async def _endpoint(self) -> Endpoint:
        base_url, api_key = await self.engine.endpoint()
        return Endpoint(f"{base_url}/v1", api_key)


def _constrain(wanted: OutputFormat) -> Mapping[str, Any]:
    return {"grammar": grammar.grammar(wanted)}
