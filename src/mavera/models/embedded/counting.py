"""Count the tokens of a prompt with the engine."""

from mavera.core.prompt import Prompt
from mavera.errors import ServiceUnavailable
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.engine_api import EngineApi, EngineCallFailed, EngineUnreachable

_TIMEOUT_SECONDS = 30.0


async def count_tokens(engine: Engine, prompt: Prompt) -> int:
    """Return the number of tokens. Raises ServiceUnavailable."""
    try:
        async with EngineApi(await engine.endpoint(), seconds=_TIMEOUT_SECONDS) as api:
            return len(await api.tokenize_prompt(prompt))
    except EngineUnreachable as error:
        raise ServiceUnavailable("The embedded model could not be reached.", retry_after=1) from error
    except EngineCallFailed as error:
        raise ServiceUnavailable(
            "The embedded model could not count the prompt's tokens.", retry_after=1
        ) from error
