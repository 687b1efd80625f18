"""
Run one turn: resolve the persona and the images, compose the prompt, ask the model, yield events.

    schemas checked → images → compose → fit into the context → plan, where wished → answer
        → checked, where it is JSON → server tools, and again → analysis and artifacts, where wished

    RunPrepared → RunStarted → deltas* → RunCompleted | RunFailed

Before `RunStarted` a failure is raised, so the caller can still answer with a status;
after it a failure is the last event. Closing the iterator stops the model's work.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import assert_never

import msgspec
import structlog

from mavera.accounts.keys.text import Mode
from mavera.accounts.principal import Principal
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
    ServerCallEnded,
    ServerCallStarted,
    Speaker,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest, PersonaNotFound, ServiceUnavailable
from mavera.models.model import Model, reasons
from mavera.personas.catalogue import AnyPersona, Personas
from mavera.personas.custom import CustomPersona
from mavera.runs.analysing import Noted
from mavera.runs.artifacts import with_artifacts
from mavera.runs.images import ImageStep, images_of
from mavera.runs.mosaic import Member, blend
from mavera.runs.prompt import compose, makes_artifacts
from mavera.runs.reasoning import plans, stream_planned
from mavera.runs.server_tools import LoopEvent, LoopLimits, ToolLoop, offered_turn
from mavera.runs.structured_output import answers, check
from mavera.runs.truncation import stream_fitting
from mavera.tools.tool import CallContext
from mavera.tools.toolbox import Toolbox

log = structlog.get_logger()

_Asking = Callable[[Turn], AsyncGenerator[ModelEvent, None]]


class Runner:
    """
    `models` says which model answers which kind of key, `vision` which one live turns with images.

    `images` is None where no turn can have any. `tools` are the server's own, for each kind of
    key. `side_by_side` is how many personas of mosaics answer at a time.
    """

    def __init__(
        self,
        personas: Personas,
        models: Mapping[Mode, Model],
        *,
        images: ImageStep | None = None,
        vision: Model | None = None,
        tools: Mapping[Mode, Toolbox] | None = None,
        tool_limits: LoopLimits | None = None,
        require_persona: bool = False,
        side_by_side: int = 4,
    ) -> None:
        self._personas = personas
        self._models = models
        self._images = images
        self._vision = vision
        self._tools = tools or {}
        self._tool_limits = tool_limits or LoopLimits()
        self._require_persona = require_persona
        self._analyst = Analyst()
        self._side_by_side = asyncio.Semaphore(side_by_side)

    def run(self, turn: Turn, principal: Principal, *, run_id: str = "") -> AsyncGenerator[Event, None]:
        """
        Yield the events of `turn`. Raises before `RunStarted` only.

        `principal` decides which model answers, which personas the turn may name beside the library's and
        for whom tools run. The audit of tools names `run_id`.
        """
        if turn.audience:
            events = self._blend(turn, principal)
        else:
            events = _events(partial(self._prepare, turn, principal, run_id))
        return with_artifacts(events) if makes_artifacts(turn) else events

    async def _prepare(self, turn: Turn, principal: Principal, run_id: str) -> "_Prepared":
        model = self._model(turn, principal)
        persona = await self._persona(turn, principal)
        await check(turn, model)
        offer = await (self._tools.get(principal.mode) or Toolbox()).offer(turn, principal)
        shown = tuple(image.url for image in images_of(turn)) if offer else ()
        if self._images is not None:
            turn = await self._images.resolve(
                turn, seen=model.sees_images, workspace_id=principal.workspace_id
            )
        noted = Noted(model, self._analyst) if turn.analysis_mode else None
        asking = self._asking(turn, model, persona, noted)
        speakers = (speaker(persona),) if persona is not None else ()
        if not offer:
            return _Prepared(asking(turn), noted, speakers)
        loop = ToolLoop(
            offer, asking, CallContext(principal, run_id, shown), self._tool_limits.fitting(model)
        )
        return _Prepared(loop.stream(offered_turn(turn, offer, model)), noted, speakers)

    async def _blend(self, turn: Turn, principal: Principal) -> AsyncGenerator[Event, None]:
        """Let each persona of the audience answer, and one synthesis after them."""
        model = self._model(turn, principal)
        found = [(await self._member(one, principal), weight) for one, weight in turn.audience]
        members = [Member(persona, speaker(persona, round(weight, 4))) for persona, weight in found]
        await check(turn, model)
        if self._images is not None:
            turn = await self._images.resolve(
                turn, seen=model.sees_images, workspace_id=principal.workspace_id
            )
        yield RunPrepared(tuple(member.speaker for member in members))

        def ask(turn: Turn, persona: AnyPersona | None) -> AsyncGenerator[Event, None]:
            noted = Noted(model, self._analyst) if turn.analysis_mode else None

            async def prepared() -> _Prepared:
                return _Prepared(self._asking(turn, model, persona, noted)(turn), noted)

            return _events(prepared)

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

    async def _member(self, persona_id: str, principal: Principal) -> AnyPersona:
        try:
            return await self._personas.get(persona_id, principal)
        except PersonaNotFound as error:
            raise PersonaNotFound(error.message, param="persona_ids") from error

    def _asking(self, turn: Turn, model: Model, persona: AnyPersona | None, noted: Noted | None) -> _Asking:
        """Return what asks `model` a turn: composed, fitted, planned the first time, checked and noted."""
        composed = partial(compose, persona=persona, limited=not reasons(model))
        checked = partial(answers, model) if noted is None else noted.noting(partial(answers, model))
        planned = partial(stream_planned, model, answer=checked) if plans(turn, model) else checked

        def ask(asked: Turn) -> AsyncGenerator[ModelEvent, None]:
            answer = planned if asked.items == turn.items else checked
            return stream_fitting(asked, composed, model, answer)

        return ask

    def _model(self, turn: Turn, principal: Principal) -> Model:
        if principal.mode == "live" and self._vision is not None and images_of(turn):
            return self._vision
        return self._models[principal.mode]

    async def _persona(self, turn: Turn, principal: Principal) -> AnyPersona | None:
        if turn.persona_id is not None:
            return await self._personas.get(turn.persona_id, principal)
        if self._require_persona and not turn.speaks_for_nobody:
            raise InvalidRequest(
                "This server answers only with a persona: send persona_id. GET /api/v1/personas lists them.",
                param="persona_id",
            )
        return None


def speaker(persona: AnyPersona, weight: float = 1.0) -> Speaker:
    """Return what is recorded of a persona that answers."""
    version = persona.version if isinstance(persona, CustomPersona) else None
    return Speaker(persona.id, persona.name, version, weight)


class _Prepared(msgspec.Struct, frozen=True):
    """What a run needs, at hand; without `speakers` it is part of another run, which has said who speaks."""

    events: AsyncGenerator[LoopEvent, None]
    noted: Noted | None
    speakers: tuple[Speaker, ...] | None = None


async def _events(prepare: Callable[[], Awaitable[_Prepared]]) -> AsyncGenerator[Event, None]:
    """Yield a run's events, the last of which says how it ended. Raises where nothing was accepted yet."""
    prepared = await prepare()
    if prepared.speakers is not None:
        yield RunPrepared(prepared.speakers)
    started = finished = False
    try:
        async for event in prepared.events:
            started = True
            if isinstance(event, Finished):
                finished = True
                if prepared.noted is not None:
                    event = await prepared.noted.analysed(event)
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
    finally:
        await prepared.events.aclose()


def _to_run_event(event: LoopEvent) -> Event:
    match event:
        case TextDelta() | RefusalDelta() | ToolCallStarted() | ToolCallDelta():
            return event
        case Accepted():
            return RunStarted()
        case Finished(reason, usage, parsed, analysis):
            return RunCompleted(reason, usage, parsed, analysis=analysis)
        case ServerCallStarted() | ServerCallEnded():
            return event
        case _:
            assert_never(event)
