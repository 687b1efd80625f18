"""
Look on loopback for model servers that people often run already.

Each is sent `GET /v1/models` and nothing else. All are asked at once, and together they have a third of a
second. What they answer is read with bounds and shown without control characters.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

SECONDS = 1 / 3
_MOST_BYTES = 1024 * 1024
_MOST_MODELS = 500
_PRINTABLE = re.compile(r"[!-~][ -~]{0,199}")


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A model server by the port on which it listens unless told otherwise. `key` is its prefix in `use`."""

    key: str
    title: str
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@dataclass(frozen=True, slots=True)
class FoundServer:
    """A server that answered. `problem` says why its models are not known, and is empty if they are."""

    server: LocalServer
    models: tuple[str, ...]
    problem: str = ""


LOCAL_SERVERS = (
    LocalServer("ollama", "Ollama", 11434),
    LocalServer("lmstudio", "LM Studio", 1234),
    LocalServer("llama-server", "llama-server", 8080),
    LocalServer("vllm", "vLLM", 8000),
)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def detect_servers(servers: Sequence[LocalServer] = LOCAL_SERVERS) -> list[FoundServer]:
    """Return the servers that answer, in the given order. Never fails; takes a third of a second at most."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        found = await asyncio.gather(*(_ask(session, server) for server in servers))
    return [one for one in found if one is not None]


async def _ask(session: aiohttp.ClientSession, server: LocalServer) -> FoundServer | None:
    try:
        async with session.get(f"{server.base_url}/models", allow_redirects=False) as answer:
            if answer.status in (401, 403):
                return FoundServer(server, (), "it asks for a key")
            if answer.status != 200:
                return None  # something else listens there
            body = await answer.content.read(_MOST_BYTES)
            while not answer.content.at_eof() and len(body) < _MOST_BYTES:
                body += await answer.content.read(_MOST_BYTES - len(body))
        listed = msgspec.json.decode(body, type=_Models).data
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    names = [model.id for model in listed[:_MOST_MODELS] if _PRINTABLE.fullmatch(model.id)]
    return FoundServer(server, tuple(names))
