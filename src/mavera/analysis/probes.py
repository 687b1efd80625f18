"""
Ask the model yes-or-no questions about its answer, and read probabilities instead of words.

    the conversation, as the model has cached it · its answer · one question → P(yes)

The model draws one token at temperature 0, and only the probabilities of yes and no count. Therefore a
text that tries to dictate a report has no words to dictate.
"""

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from mavera.core.events import RunCompleted, TextDelta, TokenLogprob
from mavera.core.items import make_message
from mavera.core.prompt import OutputFormat, Prompt, Sampling, ToolChoice
from mavera.core.usage import Usage
from mavera.models.model import Model

_TOP = 20
# The probability of a word that is not among the likeliest, at most.
_FLOOR = -12.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a probe. `logit` is ln(P(yes) / P(no)), None if the model sends no probabilities."""

    logit: float | None
    usage: Usage


async def ask_probes(model: Model, prompt: Prompt, answer: str, questions: Sequence[str]) -> list[Reply]:
    """
    Return the reply to each of `questions` about `answer`, which `model` gave to `prompt`.

    The first question goes alone, so that the others find the conversation in the cache. Raises APIError.
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
        items=(*prompt.items, make_message("assistant", answer), make_message("user", question)),
        max_output_tokens=1,
        sampling=Sampling(temperature=0.0),
        format=OutputFormat(),
        tools=(),
        tool_choice=ToolChoice(),
        top_logprobs=_TOP,
        reasoning_effort="none",
        preferences=prompt.preferences | {"temperature", "max_output_tokens", "top_logprobs"},
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
    """Return the log of the probability of `word`, over all its spellings with capitals and spaces."""
    found = sum(math.exp(one.logprob) for one in tokens if one.token.strip().lower() == word)
    return max(_FLOOR, math.log(found)) if found > 0 else _FLOOR
