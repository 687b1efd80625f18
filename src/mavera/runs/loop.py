"""
Run one turn: resolve the persona and the images, compose the prompt, ask the model, yield events.

    schemas checked → images → compose → fit into the context → plan, where wished → answer
        → checked, where it is JSON → analysis and artifacts, where wished

    RunPrepared → RunStarted → deltas* → RunCompleted | RunFailed

Before `RunStarted` a failure is raised, so the caller can still answer with a status;
after it a failure is the last event. Closing the iterator stops the model's work.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Literal, assert_never

import structlog

from mavera.analysis.analyst import Analyst
from mavera.core.events import (
    Accepted,
    Event,
    Finished,
    ModelEvent,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest, ServiceUnavailable
from mavera.models.model import Model
from mavera.personas.library import PersonaLibrary
from mavera.personas.persona import Persona
from mavera.runs.analysing import Noted
from mavera.runs.artifacts import with_artifacts
from mavera.runs.images import ImageStep, images_of
from mavera.runs.prompt import compose, makes_artifacts
from mavera.runs.reasoning import plans, reasons, stream_planned
from mavera.runs.structured_output import answers, check
from mavera.runs.truncation import stream_fitting

log = structlog.get_logger()

Mode = Literal["live", "test"]


class Runner:
    """
    `models` says which model answers which kind of key, `vision` which one live turns with images.

    `images` is None where no turn can have any.
    """

    def __init__(
        self,
        personas: PersonaLibrary,
        models: Mapping[Mode, Model],
        *,
        images: ImageStep | None = None,
        vision: Model | None = None,
        require_persona: bool = False,
    ) -> None:
        self._personas = personas
        self._models = models
        self._images = images
        self._vision = vision
        self._require_persona = require_persona
        self._analyst = Analyst()

    def run(self, turn: Turn, mode: Mode) -> AsyncGenerator[Event, None]:
        """Yield the events of `turn`. Raises before `RunStarted` only."""
        events = self._run(turn, self._model(turn, mode))
        return with_artifacts(events) if makes_artifacts(turn) else events

    async def _run(self, turn: Turn, model: Model) -> AsyncGenerator[Event, None]:
        composed = partial(compose, persona=self._persona(turn), limited=not reasons(model))
        check(turn, model)
        if self._images is not None:
            turn = await self._images.resolve(turn, seen=model.sees_images)
        yield RunPrepared()
        noted = Noted(model) if turn.analysis_mode else None
        checked = partial(answers, model) if noted is None else noted.noting(partial(answers, model))
        answer = partial(stream_planned, model, answer=checked) if plans(turn, model) else checked
        started = finished = False
        try:
            async with aclosing(stream_fitting(turn, composed, model, answer)) as events:
                async for event in events:
                    started = True
                    finished = isinstance(event, Finished)
                    if noted is not None and isinstance(event, Finished):
                        event = await noted.analysed(self._analyst, event)
                    yield _to_run_event(event)
            if not finished:
                raise ServiceUnavailable("The model stopped before its answer was finished.", retry_after=1)
        except APIError as error:
            if not started:
                raise
            yield RunFailed(error)
        except Exception as error:
            if not started:
                raise
            log.exception("run failed", error=type(error).__name__)
            yield RunFailed(APIError("Something went wrong while answering."))

    def _model(self, turn: Turn, mode: Mode) -> Model:
        if mode == "live" and self._vision is not None and images_of(turn):
            return self._vision
        return self._models[mode]

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
        case Finished(reason, usage, parsed, analysis):
            return RunCompleted(reason, usage, parsed, analysis=analysis)
        case TextDelta() | RefusalDelta() | ToolCallStarted() | ToolCallDelta():
            return event
        case _:
            assert_never(event)
