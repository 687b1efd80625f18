"""
Define a stage on the way from a prompt to the model, and join stages.

    prompt →  stage.open  →  stage.open  →  model.stream
    events ←─────────────────────────────┘  after RunStarted

`open` returns when the model has taken a prompt. If it raises, nothing has been sent, so a stage can try
another prompt. A stage that only prepares a prompt returns the events of the next stage unchanged, and costs
nothing per event. A stage that changes events wraps them in its own generator. `begin` starts that generator,
because a generator that has not started would not close the events that it wraps.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from mavera.core.events import AnswerEvent, RunStarted
from mavera.core.prompt import Prompt
from mavera.errors import ConversationTooLong, InvalidRequest, ServiceUnavailable
from mavera.models.model import Model

Events = AsyncGenerator[AnswerEvent, None]
Open = Callable[[Prompt], Awaitable[Events]]


class Stage(Protocol):
    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        """
        Return the events that follow `RunStarted`. The caller closes them.

        `open_next` opens the next stage. Raises APIError if the model does not take the prompt.
        """
        ...


def join_stages(stages: Sequence[Stage], model: Model) -> Open:
    """Return a function that opens `stages` in this order, and the model after the last one."""
    opened: Open = partial(open_model, model)
    for stage in reversed(stages):
        opened = partial(stage.open, open_next=opened)
    return opened


async def open_model(model: Model, prompt: Prompt) -> Events:
    """Ask the model. Raises APIError if it does not take the prompt."""
    return await begin(model.stream(prompt))


async def begin(events: Events) -> Events:
    """Wait for the first event, `RunStarted`, and return the events that follow. Raises what they raise."""
    first = await anext(events, None)
    if first is None:
        raise make_unfinished_error()
    if not isinstance(first, RunStarted):
        await events.aclose()
        raise TypeError(f"the first event is {type(first).__name__}, not RunStarted")
    return events


async def open_first_taken(
    prompts: Iterable[Prompt],
    open_next: Open,
    *,
    is_refusal: Callable[[InvalidRequest], bool] = lambda error: isinstance(error, ConversationTooLong),
) -> Events:
    """
    Open the first of `prompts` that the model takes. The next one is made only after a refusal.

    This is the only place that retries. It can do so because nothing has been sent yet. Raises the last
    refusal, and any other error at once.
    """
    refusal: InvalidRequest | None = None
    for prompt in prompts:
        try:
            return await open_next(prompt)
        except InvalidRequest as error:
            if not is_refusal(error):
                raise
            refusal = error
    raise refusal or ValueError("there is no prompt to try")


def make_unfinished_error() -> ServiceUnavailable:
    return ServiceUnavailable("The model stopped before its answer was finished.", retry_after=1)
