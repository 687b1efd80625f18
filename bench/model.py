"""
What mavera costs on top of its engine: tokens per second and time to first token.

    python -m bench.model [--rounds 8] [--tokens 64] [--first-pairs 24] [--json]

Through mavera and straight at llama.cpp's own server: the same process, the same prompt,
turn about in one run, so that a machine that speeds up or slows down does so for both.
Every prompt is asked once before it counts, so the time to first token is the engine's
shortest (one token read) and mavera's share of it shows. What mavera adds to it is a few
milliseconds of some eighty, less than the engine varies by: that has pairs of its own, many
and of two tokens, one stream at a time.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.report import median, show
from bench.serving import Addresses, serving
from bench.streams import Timing, timed_stream
from mavera.core.items import make_message
from mavera.core.prompt import Sampling
from mavera.core.turn import Turn
from mavera.models.chat_wire import build_request_body
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.compose import compose

STREAMS = (1, 4, 8)
QUESTIONS = (
    "What did you have for breakfast?",
    "What do you think of your neighbours?",
    "Tell me about your last holiday.",
    "What would you change about your street?",
    "What do you do on a rainy Sunday?",
    "Which shop do you like best?",
    "What did you throw away last?",
    "What is a waste of money?",
)


@dataclass(frozen=True)
class Batch:
    """Some streams that ran together."""

    tokens_per_second: float
    first_seconds: list[float]


class Contest:
    """The two ways to the same engine."""

    def __init__(self, addresses: Addresses, session: aiohttp.ClientSession, tokens: int) -> None:
        self._addresses = addresses
        self._session = session
        self._tokens = tokens
        self._persona = PersonaLibrary.load().find("Gen Z Consumer")

    async def through_mavera(self, streams: int) -> Batch:
        at = self._addresses
        return await self._batch(at.url, at.key, [self._mavera_body(q) for q in QUESTIONS[:streams]])

    async def straight(self, streams: int) -> Batch:
        at = self._addresses
        return await self._batch(
            at.engine_url, at.engine_key, [self._engine_body(q) for q in QUESTIONS[:streams]]
        )

    async def _batch(self, url: str, key: str, bodies: list[dict[str, Any]]) -> Batch:
        started = time.perf_counter()
        streams = (timed_stream(self._session, url, key, body) for body in bodies)
        timings: list[Timing] = await asyncio.gather(*streams)
        seconds = time.perf_counter() - started
        return Batch(sum(timing.tokens for timing in timings) / seconds, [timing.first for timing in timings])

    def _mavera_body(self, question: str) -> dict[str, Any]:
        return {
            "model": "mavera-1",
            "persona_id": self._persona.id,
            "messages": [{"role": "user", "content": question}],
            "stream": True,
            "temperature": 0,
            "max_tokens": self._tokens,
            "logit_bias": _NEVER_STOP,
        }

    def _engine_body(self, question: str) -> dict[str, Any]:
        turn = Turn(
            model="mavera-1",
            items=(make_message("user", question),),
            max_output_tokens=self._tokens,
            sampling=Sampling(temperature=0, logit_bias=_NEVER_STOP),
        )
        return {
            "top_p": 1.0,
            "return_progress": True,
            **build_request_body(compose(turn, self._persona), model="e"),
        }


# Qwen's end-of-message token: without it every answer has the same length.
_NEVER_STOP = {"151645": -100.0}


async def added_first_ms(addresses: Addresses, pairs: int) -> float:
    """Return the median of what one stream's first token takes longer through mavera."""
    added = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        contest = Contest(addresses, session, tokens=2)
        await contest.through_mavera(1)
        for number in range(pairs):
            ways = [contest.through_mavera, contest.straight]
            firsts = {way.__name__: await way(1) for way in (ways if number % 2 else ways[::-1])}
            ours, theirs = firsts["through_mavera"], firsts["straight"]
            added.append((ours.first_seconds[0] - theirs.first_seconds[0]) * 1000)
    return median(added)


async def measure(addresses: Addresses, rounds: int, tokens: int) -> list[dict[str, Any]]:
    rows = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        contest = Contest(addresses, session, tokens)
        for streams in STREAMS:
            await contest.through_mavera(streams)
            pairs = []
            for number in range(rounds):
                ways = [contest.through_mavera, contest.straight]
                results = {way.__name__: await way(streams) for way in (ways if number % 2 else ways[::-1])}
                pairs.append((results["through_mavera"], results["straight"]))
            rows.append(_row(streams, pairs))
    return rows


def _row(streams: int, pairs: list[tuple[Batch, Batch]]) -> dict[str, Any]:
    firsts = [median(ours.first_seconds) - median(theirs.first_seconds) for ours, theirs in pairs]
    return {
        "streams": streams,
        "mavera tokens/s": median([ours.tokens_per_second for ours, _ in pairs]),
        "straight tokens/s": median([theirs.tokens_per_second for _, theirs in pairs]),
        "ratio (median of pairs)": median([a.tokens_per_second / b.tokens_per_second for a, b in pairs]),
        "mavera first ms": median([t for ours, _ in pairs for t in ours.first_seconds]) * 1000,
        "straight first ms": median([t for _, theirs in pairs for t in theirs.first_seconds]) * 1000,
        "added first ms (median of pairs)": median(firsts) * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8, help="pairs for each number of streams")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--first-pairs", type=int, default=24, help="pairs for the time to first token")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with serving(MAVERA_PREFIX_STATES_MIB="0") as addresses:
        added = asyncio.run(added_first_ms(addresses, options.first_pairs))
        rows = asyncio.run(measure(addresses, options.rounds, options.tokens))
    summary = {
        "lowest throughput ratio": min(row["ratio (median of pairs)"] for row in rows),
        f"added time to first token, ms (median of {options.first_pairs} pairs)": added,
    }
    show("mavera beside its engine", rows, as_json=options.json, summary=summary)


if __name__ == "__main__":
    main()
