"""
Run one turn: resolve the persona and the images, compose the prompt, ask the model, yield events.

    schemas checked → images → compose → fit into the context → plan, where wished → answer
        → checked, where it is JSON → artifacts, where wished

    RunPrepared → RunStarted → deltas* → RunCompleted | RunFailed

Before `RunStarted` a failure is raised, so the caller can still answer with a status;
after it a failure is the last event. Closing the iterator stops the model's work.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
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
    RunPrepared,
    RunStarted,
    Speaker,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest, PersonaNotFound, ServiceUnavailable
from mavera.models.model import Model
from mavera.personas.custom import CustomPersona
from mavera.personas.personas import AnyPersona, Personas
from mavera.personas.repository import Owner
from mavera.runs.artifacts import with_artifacts
from mavera.runs.images import ImageStep, images_of
from mavera.runs.mosaic import Member, blend
from mavera.runs.prompt import compose, makes_artifacts
from mavera.runs.reasoning import plans, reasons, stream_planned
from mavera.runs.structured_output import answers, check
from mavera.runs.truncation import stream_fitting

log = structlog.get_logger()

Mode = Literal["live", "test"]


class Runner:
    """
    `models` says which model answers which kind of key, `vision` which one live turns with images.

    `images` is None where no turn can have any. `side_by_side` is how many personas of
    mosaics answer at a time.
    """

    def __init__(
        self,
        personas: Personas,
        models: Mapping[Mode, Model],
        *,
        images: ImageStep | None = None,
        vision: Model | None = None,
        require_persona: bool = False,
        side_by_side: int = 4,
    ) -> None:
        self._personas = personas
        self._models = models
        self._images = images
        self._vision = vision
        self._require_persona = require_persona
        self._side_by_side = asyncio.Semaphore(side_by_side)

    def run(self, turn: Turn, mode: Mode, owner: Owner | None = None) -> AsyncGenerator[Event, None]:
        """
        Yield the events of `turn`. Raises before `RunStarted` only.

        `owner` says whose personas it may name beside the library's.
        """
        run = self._blend if turn.audience else self._run
        events = run(turn, self._model(turn, mode), owner)
        return with_artifacts(events) if makes_artifacts(turn) else events

    async def _run(self, turn: Turn, model: Model, owner: Owner | None) -> AsyncGenerator[Event, None]:
        persona = await self._persona(turn, owner)
        check(turn, model)
        if self._images is not None:
            turn = await self._images.resolve(turn, seen=model.sees_images)
        yield RunPrepared((speaker(persona),) if persona is not None else ())
        async with aclosing(self._answer(turn, model, persona)) as events:
            async for event in events:
                yield event

    async def _blend(self, turn: Turn, model: Model, owner: Owner | None) -> AsyncGenerator[Event, None]:
        """Let each persona of the audience answer, and one synthesis after them."""
        found = [(await self._member(one, owner), weight) for one, weight in turn.audience]
        members = [Member(persona, speaker(persona, round(weight, 4))) for persona, weight in found]
        check(turn, model)
        if self._images is not None:
            turn = await self._images.resolve(turn, seen=model.sees_images)
        yield RunPrepared(tuple(member.speaker for member in members))

        def ask(turn: Turn, persona: AnyPersona | None) -> AsyncGenerator[Event, None]:
            return self._answer(turn, model, persona)

        started = False
        try:
            async with aclosing(blend(turn, members, ask, self._side_by_side)) as events:
                async for event in events:
                    started = True
                    yield event
        except Exception as error:
            if not started:
                raise
            log.exception("mosaic failed", error=type(error).__name__)
            yield RunFailed(APIError("Something went wrong while answering."))

    async def _member(self, persona_id: str, owner: Owner | None) -> AnyPersona:
        try:
            return await self._personas.get(persona_id, owner)
        except PersonaNotFound as error:
            raise PersonaNotFound(error.message, param="persona_ids") from error

    async def _answer(
        self, turn: Turn, model: Model, persona: AnyPersona | None
    ) -> AsyncGenerator[Event, None]:
        composed = partial(compose, persona=persona, limited=not reasons(model))
        checked = partial(answers, model)
        answer = partial(stream_planned, model, answer=checked) if plans(turn, model) else checked
        started = finished = False
        try:
            async with aclosing(stream_fitting(turn, composed, model, answer)) as events:
                async for event in events:
                    started = True
                    finished = isinstance(event, Finished)
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

    async def _persona(self, turn: Turn, owner: Owner | None) -> AnyPersona | None:
        if turn.persona_id is not None:
            return await self._personas.get(turn.persona_id, owner)
        if self._require_persona:
            raise InvalidRequest(
                "This server answers only with a persona: send persona_id. GET /api/v1/personas lists them.",
                param="persona_id",
            )
        return None


def speaker(persona: AnyPersona, weight: float = 1.0) -> Speaker:
    """Return what is recorded of a persona that answers."""
    version = persona.version if isinstance(persona, CustomPersona) else None
    return Speaker(persona.id, persona.name, version, weight)


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
