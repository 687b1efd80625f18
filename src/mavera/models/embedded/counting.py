"""
Count the tokens of a prompt with the engine.

    messages → /apply-template → the text as the model reads it → /tokenize → its length
"""

from typing import Any, TypeVar

import aiohttp
import msgspec

from mavera.core.prompt import Prompt
from mavera.errors import ServiceUnavailable
from mavera.models.chat_wire import request_body
from mavera.models.embedded.engine import Engine

T = TypeVar("T")

_TIMEOUT_SECONDS = 30.0
# The members of a request that become text for the model.
_READ = frozenset({"messages", "tools", "tool_choice"})


class _Templated(msgspec.Struct):
    prompt: str


class _Tokenized(msgspec.Struct):
    tokens: list[Any]


async def count_tokens(engine: Engine, prompt: Prompt) -> int:
    """Return the number of tokens. Raises ServiceUnavailable."""
    address = await engine.endpoint()
    asked = request_body(prompt, model="embedded")
    members = {name: value for name, value in asked.items() if name in _READ}
    headers = {"Authorization": f"Bearer {address.api_key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(address.base_url, headers=headers, timeout=timeout) as session:
        templated = await _post(session, "/apply-template", members, _Templated)
        wanted = {"content": templated.prompt, "add_special": True, "parse_special": True}
        return len((await _post(session, "/tokenize", wanted, _Tokenized)).tokens)


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, Any], kind: type[T]) -> T:
    try:
        async with session.post(path, json=body) as response:
            answer = await response.read()
    except (TimeoutError, aiohttp.ClientError) as error:
        raise ServiceUnavailable("The embedded model could not be reached.", retry_after=1) from error
    if response.status != 200:
        raise ServiceUnavailable("The embedded model could not count the prompt's tokens.", retry_after=1)
    return msgspec.json.decode(answer, type=kind)
