"""
Run one turn: resolve the persona, compose the prompt, ask the model, yield events.

    RunStarted → deltas* → RunCompleted | RunFailed

Before `RunStarted` a failure is raised, so the caller can still answer with a status;
after it a failure is the last event. Closing the iterator stops the model's work.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Literal, assert_never

import structlog

from mavera.core.events import (
    Accepted,
    Event,
    Finished,
    ModelEvent,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest
from mavera.models.model import Model
from mavera.personas.library import PersonaLibrary
from mavera.personas.persona import Persona
from mavera.runs.prompt import compose
from mavera.runs.structured_output import answers

log = structlog.get_logger()

Mode = Literal["live", "test"]


class Runner:
    """`models` says which model answers which kind of key."""

    def __init__(
        self, personas: PersonaLibrary, models: Mapping[Mode, Model], *, require_persona: bool = False
    ) -> None:
        self._personas = personas
        self._models = models
        self._require_persona = require_persona

    async def run(self, turn: Turn, mode: Mode) -> AsyncGenerator[Event, None]:
        """Yield the events of `turn`. Raises APIError before the first one only."""
        composed = compose(turn, self._persona(turn))
        started = False
        try:
            async with aclosing(answers(self._models[mode], composed)) as events:
                async for event in events:
                    started = True
                    yield _to_run_event(event)
        except APIError as error:
            if not started:
                raise
            yield RunFailed(error)
        except Exception as error:
            if not started:
                raise
            log.exception("run failed", error=type(error).__name__)
            yield RunFailed(APIError("Something went wrong while answering."))

    def _persona(self, turn: Turn) -> Persona | None:
        if turn.persona_id is not None:
            return self._personas.get(turn.persona_id)
        if self._require_persona:
            raise InvalidRequest(
                "This server answers only with a persona: send persona_id. GET /api/v1/personas lists them.",
                param="persona_id",
            )
        return None


def _to_run_event(event: ModelEvent) -> Event:
    match event:
        case Accepted():
            return RunStarted()
        case Finished(reason, usage, parsed):
            return RunCompleted(reason, usage, parsed)
        case TextDelta() | RefusalDelta() | ToolCallStarted() | ToolCallDelta():
            return event
        case _:
            assert_never(event)
