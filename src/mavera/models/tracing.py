"""
The seams for those who observe the calls of a model's server: traces, and counts of failures.

`telemetry.py` fills the first if that is set up, and `metrics.py` the second.
"""

from collections.abc import AsyncGenerator, Callable
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


@runtime_checkable
class CountsFailures(Protocol):
    """A model that reports the failures of its server."""

    def count_failures(self, note: Callable[[str], None]) -> None:
        """Call `note` with the kind of each failed call from now on: `timed_out`, `status_503` and so on."""
        ...
