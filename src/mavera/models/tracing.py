"""The seam for traces of calls to a model's server, which `telemetry.py` fills if that is set up."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from mavera.core.events import ModelEvent
from mavera.core.prompt import Prompt


class CallTracing(Protocol):
    """Traces one model's calls."""

    def trace(
        self, prompt: Prompt, model: str, events: AsyncGenerator[ModelEvent, None]
    ) -> AsyncGenerator[ModelEvent, None]:
        """Yield `events` inside a span."""
        ...

    def build_head(self) -> bytes:
        """Return the lines of a request's head that carry the trace to the model's server."""
        ...


@runtime_checkable
class Traceable(Protocol):
    """A model whose calls can be traced."""

    def trace_with(self, tracing: CallTracing) -> None: ...
