"""
Let a model plan before it answers, where it does not think by itself.

    composed turn + "note what you would weigh" → a short plan, shown to nobody
    composed turn + that plan                   → the answer

Both passes begin with the same prompt, which the model's prefix cache has after the
first. The plan is counted as reasoning, and out of the caller's token limit. Where it
fails, the answer is given at once: a plan is no reason to fail a turn.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from mavera.core.events import Accepted, Finished, ModelEvent, TextDelta
from mavera.core.items import said
from mavera.core.turn import Effort, OutputFormat, ToolChoice, Turn
from mavera.core.usage import Usage
from mavera.errors import ConversationTooLong
from mavera.models.model import Model, reasons

log = structlog.get_logger()

Answer = Callable[[Turn], AsyncGenerator[ModelEvent, None]]

PLAN_TOKENS: dict[Effort, int] = {"high": 160, "xhigh": 256, "max": 384}
# A plan shorter than this is none.
_FEWEST_TOKENS = 24

ASK_FOR_PLAN = (
    "Do not answer yet. First note for yourself, in a few short lines, what your answer has to weigh: "
    "what matters here, what speaks against it, which fact of your life bears on it, and what you "
    "conclude. Only notes; nobody else reads them."
)
USE_PLAN = "Your notes, which nobody else sees:\n{plan}\n\nNow answer as yourself, without speaking of notes."


@dataclass(slots=True)
class _Plan:
    accepted: bool = False
    pieces: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    @property
    def text(self) -> str:
        return "".join(self.pieces).strip()


def plans(turn: Turn, model: Model) -> bool:
    """Whether `turn` asks for more thought than this model gives by itself."""
    return not reasons(model) and _plan_tokens(turn) >= _FEWEST_TOKENS


def _plan_tokens(turn: Turn) -> int:
    wanted = PLAN_TOKENS.get(turn.reasoning_effort, 0)
    return min(wanted, turn.max_output_tokens // 2) if turn.max_output_tokens else wanted


async def stream_planned(
    model: Model, turn: Turn, *, answer: Answer | None = None
) -> AsyncGenerator[ModelEvent, None]:
    """
    Yield the events of `model` answering the composed `turn` with a plan in mind.

    `answer` is how the answer itself is asked for, where not of the model at once.
    """
    plan = _Plan()
    async with aclosing(_stream_plan(model, turn, plan)) as events:
        async for accepted in events:
            yield accepted
    async with aclosing(_stream_answer(answer or model.stream, turn, plan)) as events:
        async for event in events:
            match event:
                case Accepted() if plan.accepted:
                    continue
                case Finished(_, usage):
                    yield replace(event, usage=_with_reasoning(usage, plan.usage))
                case _:
                    yield event


async def _stream_plan(model: Model, turn: Turn, plan: _Plan) -> AsyncGenerator[ModelEvent, None]:
    """Fill in `plan`, and yield `Accepted` alone: the answer's caller need not wait for the rest."""
    asked = replace(
        turn,
        items=(*turn.items, said("system", ASK_FOR_PLAN)),
        max_output_tokens=_plan_tokens(turn),
        sampling=replace(turn.sampling, stop=(), logit_bias=None),
        format=OutputFormat(),
        tools=(),
        tool_choice=ToolChoice(),
        top_logprobs=None,
    )
    try:
        async with aclosing(model.stream(asked)) as events:
            async for event in events:
                match event:
                    case Accepted():
                        plan.accepted = True
                        yield event
                    case TextDelta(text):
                        plan.pieces.append(text)
                    case Finished(_, usage):
                        plan.usage = usage
                    case _:
                        pass  # no tool is offered, and a refusal is no plan
    except Exception as error:
        log.warning("the plan failed, answering without", error=type(error).__name__, exc_info=error)
        plan.pieces.clear()


async def _stream_answer(answer: Answer, turn: Turn, plan: _Plan) -> AsyncGenerator[ModelEvent, None]:
    left = turn.max_output_tokens and max(1, turn.max_output_tokens - plan.usage.output_tokens)
    turn = replace(turn, max_output_tokens=left)
    if plan.text:
        informed = (*turn.items, said("system", USE_PLAN.format(plan=plan.text)))
        started = False
        try:
            async with aclosing(answer(replace(turn, items=informed))) as events:
                async for event in events:
                    started = True
                    yield event
            return
        except ConversationTooLong:
            if started:
                raise
    # Without a plan, or where the conversation fits and the plan beside it does not.
    async with aclosing(answer(turn)) as events:
        async for event in events:
            yield event


def _with_reasoning(usage: Usage, plan: Usage) -> Usage:
    return replace(
        usage,
        output_tokens=usage.output_tokens + plan.output_tokens,
        reasoning_tokens=usage.reasoning_tokens + plan.output_tokens,
        estimated=usage.estimated or plan.estimated,
    )
