"""
What the prefix cache is worth: time to first token, a persona's first question and its later ones.

    python -m bench.persona_cache [--rounds 4] [--personas 12] [--json]

Personas in rotation on four slots, through mavera, each with a question it was not
asked before: a later question finds the persona in the engine's cache though other
personas have used the slots since.
"""

import argparse
import asyncio
from typing import Any

import aiohttp

from bench.model import QUESTIONS
from bench.report import median, show
from bench.serving import Addresses, serving
from bench.streams import timed_stream
from mavera.personas.builtin import PersonaLibrary


async def measure(addresses: Addresses, rounds: int, count: int) -> list[dict[str, Any]]:
    personas = PersonaLibrary.load().list()[:count]
    firsts: dict[str, list[float]] = {persona.name: [] for persona in personas}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for number in range(rounds):
            for persona in personas:
                body = {
                    "model": "mavera-1",
                    "persona_id": persona.id,
                    "messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}],
                    "stream": True,
                    "max_tokens": 4,
                }
                timing = await timed_stream(session, addresses.url, addresses.key, body)
                firsts[persona.name].append(timing.first)
    return [
        {
            "persona": name,
            "cold ms": seconds[0] * 1000,
            "warm ms (median)": median(seconds[1:]) * 1000,
            "warm / cold": median(seconds[1:]) / seconds[0],
        }
        for name, seconds in firsts.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=4, help="questions to each persona, the first of them cold"
    )
    parser.add_argument("--personas", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with serving(MAVERA_PREFIX_STATES_MIB="0") as addresses:
        rows = asyncio.run(measure(addresses, options.rounds, options.personas))
    summary = {
        "median cold, ms": median([row["cold ms"] for row in rows]),
        "median warm, ms": median([row["warm ms (median)"] for row in rows]),
        "median warm / cold": median([row["warm / cold"] for row in rows]),
    }
    show("time to first token, cold and warm personas", rows, as_json=options.json, summary=summary)


if __name__ == "__main__":
    main()
