"""
How much longer an answer is by its verbosity: words at low, medium and high.

    python -m bench.verbosity [--persona NAME] [--questions 20] [--tokens 200] [--streams 4] [--json]

Twenty questions (or fewer) at each verbosity, through mavera, to a persona whose own prompt says
"two to four full sentences, unless you are asked for more". The three verbosities take turns, so that
a machine that slows down does so for all. `--tokens` bounds the time that it takes:
an answer cut there counts with the words it has.
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from bench.report import median, show
from bench.serving import Addresses, serving
from mavera.personas.builtin import PersonaLibrary

VERBOSITIES = ("low", "medium", "high")
QUESTIONS = (
    "How do you feel about sustainable fashion?",
    "Would you pay $9 a month for a meal planning app?",
    "What do you think of self-checkout?",
    "What makes a brand feel honest to you?",
    "Where do you look before you buy a phone?",
    "Should shops still take cash?",
    "What would make you change your bank?",
    "Do you read reviews?",
    "How do you choose a coffee?",
    "What annoys you in an advert?",
    "Would you rent clothes?",
    "Is free delivery worth waiting for?",
    "What do you do when a product breaks after a month?",
    "How much does packaging matter to you?",
    "Would you talk to a chatbot about a refund?",
    "What was the last thing you regretted buying?",
    "Do loyalty cards work on you?",
    "What is a fair price for a haircut?",
    "Would you buy a used laptop?",
    "What do you expect of a museum's website?",
)


class Asker:
    """Asks one persona, and notes the words and tokens of each answer."""

    def __init__(self, addresses: Addresses, persona_id: str, *, tokens: int, streams: int) -> None:
        self._addresses = addresses
        self._persona_id = persona_id
        self._tokens = tokens
        self._turns = asyncio.Semaphore(streams)
        self.answers: dict[str, list[dict[str, Any]]] = {verbosity: [] for verbosity in VERBOSITIES}

    async def ask_all(self, questions: Sequence[str]) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            asked = itertools.product(questions, VERBOSITIES)
            await asyncio.gather(*(self._ask(session, question, verbosity) for question, verbosity in asked))

    async def _ask(self, session: aiohttp.ClientSession, question: str, verbosity: str) -> None:
        body = {
            "model": "mavera-1",
            "input": question,
            "persona_id": self._persona_id,
            "text": {"verbosity": verbosity},
            "max_output_tokens": self._tokens,
        }
        headers = {"Authorization": f"Bearer {self._addresses.key}"}
        url = f"{self._addresses.url}/responses"
        async with self._turns, session.post(url, json=body, headers=headers) as answer:
            answer.raise_for_status()
            response = await answer.json()
        text = response["output"][0]["content"][0]["text"]
        said = {"words": len(text.split()), "cut": response["status"] == "incomplete", "text": text}
        self.answers[verbosity].append(said)
        print(f"{verbosity}: {said['words']} words", file=sys.stderr, flush=True)


def row(verbosity: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    words = sorted(answer["words"] for answer in answers)
    return {
        "verbosity": verbosity,
        "median words": median(words),
        "quartiles": f"{words[len(words) // 4]} to {words[len(words) * 3 // 4]}",
        "range": f"{words[0]} to {words[-1]}",
        "cut by --tokens": sum(answer["cut"] for answer in answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--persona", default="Gen Z Consumer")
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="how many at each verbosity")
    parser.add_argument("--tokens", type=int, default=200, help="the most tokens an answer may have")
    parser.add_argument("--streams", type=int, default=4, help="questions asked side by side")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    persona = PersonaLibrary.load().find(options.persona)
    with serving(MAVERA_PREFIX_STATES_MIB="0") as addresses:
        asker = Asker(addresses, persona.id, tokens=options.tokens, streams=options.streams)
        asyncio.run(asker.ask_all(QUESTIONS[: options.questions]))
    rows = [row(verbosity, answers) for verbosity, answers in asker.answers.items()]
    low, medium, high = (each["median words"] for each in rows)
    summary = {
        "medium / low": medium / low,
        "high / medium": high / medium,
        "minutes": (time.monotonic() - started) / 60,
    }
    if options.json:
        summary["answers"] = asker.answers
    show("words of an answer by verbosity", rows, as_json=options.json, summary=summary)


if __name__ == "__main__":
    main()
