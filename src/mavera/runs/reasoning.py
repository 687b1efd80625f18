"""
Let a model plan before it answers, if it does not reason on its own.

    prompt + "note what you would weigh" → a short plan, shown to nobody
    prompt + that plan                   → the answer

Both begin with the same prompt, which is in the model's prefix cache after the first. The plan counts as
reasoning, and its tokens count toward the caller's limit. If the plan fails, the model answers without it.
"""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from mavera.core.events import RunCompleted, RunStarted, TextDelta, TextWasReasoning
from mavera.core.items import make_message
from mavera.core.prompt import Effort, Prompt
from mavera.core.usage import Usage
from mavera.models.model import Model
from mavera.runs.stage import Events, Open, begin, open_first_taken, open_model

log = structlog.get_logger()

PLAN_TOKENS: dict[Effort, int] = {"high": 160, "xhigh": 256, "max": 384}
# A shorter text does not count as a plan.
_FEWEST_TOKENS = 24

ASK_FOR_PLAN = (
    "Do not answer yet. First note for yourself, in a few short lines, what your answer has to weigh: "
    "what matters here, what speaks against it, which fact of your life bears on it, and what you "
    "conclude. Only notes; nobody else reads them."
)
USE_PLAN = "Your notes, which nobody else sees:\n{plan}\n\nNow answer as yourself, without speaking of notes."


@dataclass(frozen=True, slots=True)
class _Plan:
    text: str = ""
    usage: Usage = field(default_factory=Usage)


def needs_plan(prompt: Prompt, model: Model) -> bool:
    """Whether `prompt` asks for more thought than this model gives on its own."""
    return not model.profile.reasons and _plan_tokens(prompt) >= _FEWEST_TOKENS


def _plan_tokens(prompt: Prompt) -> int:
    wanted = PLAN_TOKENS.get(prompt.reasoning_effort, 0)
    return min(wanted, prompt.max_output_tokens // 2) if prompt.max_output_tokens else wanted


class PlanFirst:
    """
    The stage that asks for a plan. It does so only once, and later rounds of tool calls have none.

    It opens as soon as the model has taken the question for the plan, so the caller need not wait for the
    plan.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._has_opened = False

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        plan = None if self._has_opened else await self._open_plan(prompt)
        events = await open_next(prompt) if plan is None else await begin(_answer(prompt, plan, open_next))
        self._has_opened = True
        return events

    async def _open_plan(self, prompt: Prompt) -> Events | None:
        try:
            return await open_model(self._model, _plan_prompt(prompt))
        except Exception as error:
            _log_failure(error)
            return None


def _plan_prompt(prompt: Prompt) -> Prompt:
    return Prompt(
        (*prompt.items, make_message("system", ASK_FOR_PLAN)),
        sampling=replace(prompt.sampling, stop=(), logit_bias=None),
        max_output_tokens=_plan_tokens(prompt),
        reasoning_effort=prompt.reasoning_effort,
        prefix_length=prompt.prefix_length,
        preferences=prompt.preferences | {"max_output_tokens"},
    )


async def _answer(prompt: Prompt, plan_events: Events, open_next: Open) -> Events:
    async with aclosing(plan_events):
        yield RunStarted()
        plan = await _read_plan(plan_events)
    async with aclosing(await open_first_taken(_with_plan(prompt, plan), open_next)) as events:
        async for event in events:
            if isinstance(event, RunCompleted):
                event = replace(event, usage=_add_reasoning(event.usage, plan.usage))
            yield event


async def _read_plan(events: Events) -> _Plan:
    """Return the plan, without text if it failed."""
    pieces: list[str] = []
    usage = Usage()
    try:
        async for event in events:
            match event:
                case TextDelta(text):
                    pieces.append(text)
                case TextWasReasoning():
                    pieces.clear()
                case RunCompleted(_, usage):
                    pass
                case _:
                    pass  # no tool is offered, and a refusal is not a plan
    except Exception as error:
        _log_failure(error)
        return _Plan(usage=usage)
    return _Plan("".join(pieces).strip(), usage)


def _with_plan(prompt: Prompt, plan: _Plan) -> Iterator[Prompt]:
    """Yield the prompt with the plan, and then without it, in case they are too long together."""
    left = prompt.max_output_tokens and max(1, prompt.max_output_tokens - plan.usage.output_tokens)
    prompt = replace(prompt, max_output_tokens=left)
    if plan.text:
        yield replace(prompt, items=(*prompt.items, make_message("system", USE_PLAN.format(plan=plan.text))))
    yield prompt


def _log_failure(error: Exception) -> None:
    log.warning("the plan failed, answering without", error=type(error).__name__, exc_info=error)


def _add_reasoning(usage: Usage, plan: Usage) -> Usage:
    return replace(
        usage,
        output_tokens=usage.output_tokens + plan.output_tokens,
        reasoning_tokens=usage.reasoning_tokens + plan.output_tokens,
        estimated=usage.estimated or plan.estimated,
    )
