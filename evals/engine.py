"""The embedded model for an eval, and what one plain question to it looks like."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from mavera.core.events import RunCompleted, TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import Prompt, Sampling
from mavera.core.usage import Usage
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.model import Model
from mavera.settings import load_settings


@asynccontextmanager
async def embedded_model() -> AsyncGenerator[EmbeddedModel, None]:
    """Run the model that the settings name, on one slot."""
    model = EmbeddedModel(EmbeddedEngine(load_settings(embedded_slots=1)))
    await model.start()
    try:
        yield model
    finally:
        await model.close()


def asked(question: str, *, system: str = "", max_tokens: int = 256) -> Prompt:
    """Return a prompt at temperature 0."""
    items = (*((make_message("system", system),) if system else ()), make_message("user", question))
    return Prompt(items, max_output_tokens=max_tokens, sampling=Sampling(temperature=0.0), top_logprobs=1)


@dataclass(slots=True)
class Heard:
    text: str = ""
    logprobs: list[float] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


async def hear(model: Model, prompt: Prompt) -> Heard:
    heard = Heard()
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            match event:
                case TextDelta(text, logprobs):
                    heard.text += text
                    heard.logprobs += [token.logprob for token in logprobs]
                case RunCompleted(_, usage):
                    heard.usage = usage
                case _:
                    pass
    return heard
