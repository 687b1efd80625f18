"""
Ask the model yes-or-no questions about its answer, and read the probability instead of the words.

    the conversation, as the model has it cached · its answer · one question → P(yes)

One token is drawn, at temperature 0, and what counts is how likely yes and no were. A text
that tells its readers what to report therefore has nothing to write into.
"""

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from mavera.core.events import RunCompleted, TextDelta, TokenLogprob
from mavera.core.items import said
from mavera.core.prompt import OutputFormat, Prompt, Sampling, ToolChoice
from mavera.core.usage import Usage
from mavera.models.model import Model

_TOP = 20
# What a word that is not among the likeliest has at most.
_FLOOR = -12.0


@dataclass(frozen=True, slots=True)
class Reply:
    """`logit` is ln(P(yes) / P(no)), None where the model tells no probabilities."""

    logit: float | None
    usage: Usage


async def ask(model: Model, prompt: Prompt, answer: str, questions: Sequence[str]) -> list[Reply]:
    """
    Return the reply to each of `questions` about `answer`, which `model` gave to `prompt`.

    The first goes alone, so that the others find the conversation in the cache. Raises APIError.
    """
    asked = [_probe(prompt, answer, question) for question in questions]
    if model.profile.shares_one_cache:
        return [await _reply(model, one) for one in asked]
    replies = [await _reply(model, one) for one in asked[:1]]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_reply(model, one)) for one in asked[1:]]
    return [*replies, *(task.result() for task in tasks)]


def _probe(prompt: Prompt, answer: str, question: str) -> Prompt:
    return replace(
        prompt,
        items=(*prompt.items, said("assistant", answer), said("user", question)),
        max_output_tokens=1,
        sampling=Sampling(temperature=0.0),
        format=OutputFormat(),
        tools=(),
        tool_choice=ToolChoice(),
        top_logprobs=_TOP,
        reasoning_effort="none",
    )


async def _reply(model: Model, prompt: Prompt) -> Reply:
    first: TokenLogprob | None = None
    usage = Usage()
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            match event:
                case TextDelta(_, logprobs) if logprobs and first is None:
                    first = logprobs[0]
                case RunCompleted(_, spent):
                    usage = spent
                case _:
                    pass
    return Reply(_logit(first) if first is not None else None, usage)


def _logit(token: TokenLogprob) -> float | None:
    yes, no = _total(token.top, "yes"), _total(token.top, "no")
    return None if yes == no == _FLOOR else yes - no


def _total(tokens: Sequence[TokenLogprob], word: str) -> float:
    """Return the log of the probability of `word`, however it is capitalised or spaced."""
    found = sum(math.exp(one.logprob) for one in tokens if one.token.strip().lower() == word)
    return max(_FLOOR, math.log(found)) if found > 0 else _FLOOR
