"""Ask for one streamed answer over /chat/completions, and time it."""

import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec


@dataclass(frozen=True)
class Timing:
    """Seconds to the first text, seconds in all, tokens of the answer, tokens of the prompt from a cache."""

    first: float
    total: float
    tokens: int
    cached: int


async def timed_stream(session: aiohttp.ClientSession, url: str, key: str, body: dict[str, Any]) -> Timing:
    """Read one streamed answer to its end. Raises RuntimeError where it is none."""
    started = time.perf_counter()
    first = 0.0
    usage: dict[str, Any] = {}
    headers = {"Authorization": f"Bearer {key}"}
    async with session.post(f"{url}/chat/completions", json=body, headers=headers) as response:
        if response.status != 200:
            raise RuntimeError(await response.text())
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = msgspec.json.decode(line[6:])
            if not first and any(choice["delta"].get("content") for choice in chunk["choices"]):
                first = time.perf_counter() - started
            usage = chunk.get("usage") or usage
    total = time.perf_counter() - started
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Timing(first, total, usage["completion_tokens"], cached)
