"""
Run one turn. `Runner.run` shows its steps from top to bottom.

    personas → schemas checked → tools offered → images → RunPrepared
        → prompt → pipeline → RunStarted → deltas* → analysis → RunCompleted | RunFailed

Before `RunStarted`, a failure is raised, so that the client gets a status. After it, a failure is the last
event. Closing the iterator stops the model's work.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import structlog

from mavera.accounts.keys.text import Mode
from mavera.accounts.principal import Principal
from mavera.analysis.analyst import Analyst
from mavera.core.events import Event, RunCompleted, RunFailed, RunPrepared, RunStarted, Speaker
from mavera.core.prompt import Prompt
from mavera.core.turn import Turn
from mavera.errors import APIError, ConversationTooLong, InvalidRequest, PersonaNotFound
from mavera.models.config import DEFAULT_NAME
from mavera.models.model import Model
from mavera.models.named import VISION_NAME, NamedModels
from mavera.personas.catalogue import AnyPersona, Personas
from mavera.personas.custom import CustomPersona
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.orders import OrderReader
from mavera.runs.artifacts import ArtifactStream
from mavera.runs.compose import compose, makes_artifacts
from mavera.runs.images import ImageStep, images_of
from mavera.runs.lookup import LookupReader
from mavera.runs.mosaic import AnswerReader, Member, Mosaic
from mavera.runs.pipeline import Pipeline
from mavera.runs.repeating import SeededAnswers, SeededTurn
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.server_tools import CallTools, LoopLimits, add_server_tools
from mavera.runs.stage import make_unfinished_error
from mavera.runs.structured_output import check_schemas
from mavera.tools.search.tavily_extract import TavilyExtractTool
from mavera.tools.search.tavily_search import TavilySearchTool
from mavera.tools.tool import CallContext
from mavera.tools.toolbox import Offer, Toolbox

log = structlog.get_logger()


class Runner:
    """
    Runs turns. `models` has the model for each mode of key, and `vision` is for live turns with images.

    `images` is None if no turn can have images. `tools` are the server tools for each mode of key.
    `side_by_side` is the most personas of mosaics that answer at a time. The caller closes `schemas`.
    `analyst` makes every analysis, and others may use it too.
    """

    def __init__(
        self,
        personas: Personas,
        models: Mapping[Mode, Model],
        *,
        named: NamedModels | None = None,
        images: ImageStep | None = None,
        vision: Model | None = None,
        tools: Mapping[Mode, Toolbox] | None = None,
        tool_limits: LoopLimits | None = None,
        require_persona: bool = False,
        side_by_side: int = 4,
        schemas: SchemaChecker | None = None,
        repeats: SeededAnswers | None = None,
    ) -> None:
        self._personas = personas
        self._models = models
        self._named = named or {}
        self._images = images
        self._vision = vision
        self._tools = tools or {}
        self._tool_limits = tool_limits or LoopLimits()
        self._require_persona = require_persona
        encoder = SentenceEncoder()
        self.analyst = Analyst(encoder)
        self._reader = AnswerReader(encoder)
        self._orders = OrderReader(encoder)
        self._schemas = schemas or SchemaChecker()
        self._repeats = repeats
        self._side_by_side = asyncio.Semaphore(side_by_side)

    async def run(self, turn: Turn, principal: Principal, *, run_id: str = "") -> AsyncGenerator[Event, None]:
        """
        Yield the events of `turn`. Raises before `RunStarted` only.

        `principal` decides which model answers, which custom personas the turn may name, and for whom tools
        run. The audit of tools contains `run_id`.
        """
        model = self._choose_model(turn, principal)
        # The recommended sampling of a model is not meant for the model that sees images in its place.
        if principal.mode == "live" and model is not self._vision and turn.model in self._named:
            turn = self._named[turn.model].prepare(turn)
        model = self._repeat(model, turn, principal)
        members = await self._find_members(turn, principal)
        await check_schemas(turn, self._schemas, caller=principal.workspace_id)
        offer = await self._offer_tools(turn, principal)
        shown = tuple(image.url for image in images_of(turn)) if offer else ()
        turn = await self._resolve_images(turn, model, principal)
        yield RunPrepared(tuple(member.speaker for member in members), turn.sampling)

        if turn.audience:
            answer: Mosaic | Pipeline = self._blend(turn, members, model, principal.workspace_id)
        else:
            answer = self._answer(turn, members, model, offer, CallContext(principal, run_id, shown))
        artifacts = ArtifactStream() if makes_artifacts(turn) else None
        is_started = is_complete = False
        try:
            async with aclosing(await answer.open()) as events:
                is_started = True
                yield RunStarted()
                async for event in events:
                    if isinstance(event, RunCompleted):
                        is_complete = True
                        event = await answer.complete(event)
                    if artifacts is None:
                        yield event
                    else:
                        for written in artifacts.feed(event):
                            yield written
            if not is_complete:
                raise make_unfinished_error()
        except Exception as error:
            if isinstance(error, ConversationTooLong):
                error.param = turn.items_param
            if not is_started:
                raise
            failed = RunFailed(_to_failure(error))
            for last in (failed,) if artifacts is None else artifacts.feed(failed):
                yield last

    def _answer(
        self, turn: Turn, members: Sequence[Member], model: Model, offer: Offer, context: CallContext
    ) -> Pipeline:
        """Let one persona answer, or the model without a persona, with the offered tools."""
        tools = None
        if offer:
            turn = add_server_tools(turn, offer)
            limits = self._tool_limits.fit_to(model.profile)
            decides = model.profile.tools == "constrained"
            lookups = LookupReader(model, TavilySearchTool.name, TavilyExtractTool.name) if decides else None
            tools = CallTools(
                offer,
                context,
                limits,
                max_calls=turn.max_tool_calls,
                lookups=lookups,
                orders=self._orders if limits.answers_after_result else None,
            )
        persona = members[0].persona if members else None
        prompt = compose(
            turn,
            persona,
            limits_length=not model.profile.reasons,
            introduction=model.profile.introduction,
            hints=model.profile.takes_hints,
        )
        analyst = self.analyst if turn.analysis_mode else None
        caller = context.principal.workspace_id
        return Pipeline(turn, prompt, model, self._schemas, caller=caller, tools=tools, analyst=analyst)

    def _blend(self, turn: Turn, members: Sequence[Member], model: Model, caller: str) -> Mosaic:
        """Let each persona of the audience answer, and then make the synthesis."""

        def pipeline_for(prompt: Prompt, is_analysed: bool) -> Pipeline:
            analyst = self.analyst if is_analysed else None
            return Pipeline(turn, prompt, model, self._schemas, caller=caller, analyst=analyst)

        limits_length = not model.profile.reasons
        return Mosaic(
            turn,
            members,
            pipeline_for,
            self._side_by_side,
            self._reader,
            self.analyst,
            limits_length=limits_length,
        )

    def _repeat(self, model: Model, turn: Turn, principal: Principal) -> Model:
        """Return `model`, with the kept answers of a turn that has a seed. Test keys repeat anyway."""
        seed = turn.sampling.seed
        if self._repeats is None or seed is None or principal.mode != "live":
            return model
        name = VISION_NAME if model is self._vision else turn.model
        return self._repeats.repeat(model, SeededTurn(name, seed, principal.workspace_id))

    def _choose_model(self, turn: Turn, principal: Principal) -> Model:
        if principal.mode == "live" and turn.model != DEFAULT_NAME and turn.model in self._named:
            return self._named[turn.model].model
        if principal.mode == "live" and self._vision is not None and images_of(turn):
            return self._vision
        return self._models[principal.mode]

    async def _find_members(self, turn: Turn, principal: Principal) -> list[Member]:
        """Return the personas that answer: the audience of a mosaic, one persona, or none."""
        if turn.audience:
            found = [(await self._find_in_audience(one, principal), weight) for one, weight in turn.audience]
            return [Member(persona, to_speaker(persona, round(weight, 4))) for persona, weight in found]
        if turn.persona_id is not None:
            persona = await self._personas.get(turn.persona_id, principal)
            return [Member(persona, to_speaker(persona))]
        if self._require_persona and not turn.speaks_for_nobody:
            raise InvalidRequest(
                "This server answers only with a persona. Send persona_id. GET /api/v1/personas lists them.",
                param="persona_id",
            )
        return []

    async def _find_in_audience(self, persona_id: str, principal: Principal) -> AnyPersona:
        try:
            return await self._personas.get(persona_id, principal)
        except PersonaNotFound as error:
            raise PersonaNotFound(error.message, param="persona_ids") from error

    async def _offer_tools(self, turn: Turn, principal: Principal) -> Offer:
        """Return the server tools that the turn may call. A mosaic calls none."""
        toolbox = self._tools.get(principal.mode)
        return Offer() if turn.audience or toolbox is None else await toolbox.offer(turn, principal)

    async def _resolve_images(self, turn: Turn, model: Model, principal: Principal) -> Turn:
        if self._images is None:
            return turn
        seen = model.profile.sees_images
        return await self._images.resolve(turn, seen=seen, workspace_id=principal.workspace_id)


def to_speaker(persona: AnyPersona, weight: float = 1.0) -> Speaker:
    """Return the record of a persona that answers."""
    version = persona.version if isinstance(persona, CustomPersona) else None
    return Speaker(persona.id, persona.name, version, weight)


def _to_failure(error: Exception) -> APIError:
    """Return `error` for clients. An unforeseen error is logged in full."""
    if isinstance(error, APIError):
        return error
    log.exception("run failed", error=type(error).__name__)
    return APIError("Something went wrong while answering.")
