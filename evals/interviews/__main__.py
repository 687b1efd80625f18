"""
Talk to personas for six turns, and ask them what no survey would ask: `python -m evals.interviews`.

    SPEAKERS × IN_A_ROW, each with the turns before it   ┐
                                                         ├→ the embedded model → interviews.jsonl, and figures
    ODD, each on its own                                 ┘

Answers that the file has already are not asked for again. The repeated words are the share of the four words
in a row of an answer that an earlier answer of the same conversation has too.
"""

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

from evals.interviews.questions import IN_A_ROW, ODD, SPEAKERS
from mavera.accounts.principal import Principal
from mavera.core.events import RunFailed, TextDelta
from mavera.core.items import Item, make_message
from mavera.core.speech import breaks_character, find_grams, find_words, has_loop
from mavera.core.turn import Turn
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.custom import CustomPersona
from mavera.runs.loop import Runner
from mavera.services import open_named_model
from mavera.settings import load_settings

OUT = Path(__file__).parent / "interviews.jsonl"
TOKENS = 240
GRAM = 4
# The turns that ask for the facts, from 0.
HOME_TURN, AGE_TURN = 3, 5
Line = dict[str, Any]


def main() -> None:
    lines = ask_or_print(__doc__, OUT, ask_missing)
    for line in lines:
        print(f"\n{line['persona']}, {line['kind']}: {line['question'][-90:]}\n  {line['text']}")
    print()
    for row in describe_conversations(lines):
        print(row)


def ask_or_print(
    described: str | None, out: Path, ask: Callable[[Path], Coroutine[Any, Any, None]]
) -> list[Line]:
    """Read the options of the command, `ask` what `out` lacks unless `--print` says not to, and return it."""
    parser = argparse.ArgumentParser(
        description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--print", action="store_true", help="print what the file has, and ask nothing")
    options = parser.parse_args()
    if not options.print:
        asyncio.run(ask(options.out))
    return read_lines(options.out)


def read_lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def ask_missing(path: Path) -> None:
    known = read_lines(path)
    async with AsyncExitStack() as stack:
        asker = await Asker.open(stack, path)
        await asyncio.gather(*(asker.interview(who, known) for who in SPEAKERS))


class Asker:
    """Asks one question at a time for each persona, and writes down each answer."""

    def __init__(self, runner: Runner, personas: Personas, path: Path) -> None:
        self._runner = runner
        self._personas = personas
        self._path = path

    @classmethod
    async def open(cls, stack: AsyncExitStack, path: Path, more: Iterable[CustomPersona] = ()) -> "Asker":
        """Return one whose personas are those of the library, and `more`."""
        personas = Personas(PersonaLibrary.load(), more=more)
        named = await stack.enter_async_context(open_named_model(load_settings(), "mavera-1"))
        runner = Runner(personas, {"live": named.model}, named={"mavera-1": named})
        return cls(runner, personas, path)

    async def interview(self, who: str, known: list[Line]) -> None:
        await self.converse(who, known)
        answered = {line["question"] for line in known if line["persona"] == who}
        for name, kind, question in ODD:
            if name == who and question not in answered:
                await self.ask(who, kind, question, ())

    async def converse(self, who: str, known: list[Line]) -> None:
        items: list[Item] = []
        said = {line["question"]: line["text"] for line in known if line["persona"] == who}
        for place, question in enumerate(IN_A_ROW, start=1):
            text = said.get(question) or await self.ask(who, f"turn {place}", question, items)
            items += [make_message("user", question), make_message("assistant", text)]

    async def ask(self, who: str, kind: str, question: str, before: list[Item] | tuple[Item, ...]) -> str:
        roll = await self._personas.roll(Principal.local())
        turn = Turn(
            model="mavera-1",
            items=(*before, make_message("user", question)),
            persona_id=roll.find(who).id,
            max_output_tokens=TOKENS,
        )
        text = ""
        async with aclosing(self._runner.run(turn, Principal.local())) as events:
            async for event in events:
                match event:
                    case TextDelta(piece):
                        text += piece
                    case RunFailed():
                        raise RuntimeError(str(event))
                    case _:
                        pass
        line = {"persona": who, "kind": kind, "question": question, "text": text.strip()}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return text.strip()


def describe_conversations(lines: list[Line]) -> list[str]:
    """
    Return a row for each conversation.

    It has the turns so far, whether home and age are kept, the repeated words in a row, and how many answers
    loop or are out of character.
    """
    by_speaker: dict[str, dict[str, str]] = defaultdict(dict)
    for line in lines:
        by_speaker[line["persona"]][line["question"]] = line["text"]
    rows = []
    for who, (homes, ages) in SPEAKERS.items():
        said = [by_speaker[who][question] for question in IN_A_ROW if question in by_speaker[who]]
        repeated, grams = count_repeated(said)
        kept = [
            "not asked" if len(said) <= turn else "yes" if mentions_one(said[turn], words) else "no"
            for turn, words in ((HOME_TURN, homes), (AGE_TURN, ages))
        ]
        rows.append(
            f"| {who} | {len(said)} | {kept[0]} | {kept[1]} | "
            f"{repeated} of {grams}: {repeated / max(grams, 1):.1%} | {sum(map(has_loop, said))} | "
            f"{sum(map(breaks_character, said))} |"
        )
    return rows


def count_repeated(said: list[str]) -> tuple[int, int]:
    """Return how many four words in a row an earlier answer has too, and how many there are in all."""
    seen: set[tuple[str, ...]] = set()
    repeated = grams = 0
    for text in said:
        own = find_grams(find_words(text), GRAM)
        repeated += sum(gram in seen for gram in own)
        grams += len(own)
        seen |= set(own)
    return repeated, grams


def mentions_one(text: str, words: tuple[str, ...]) -> bool:
    return any(word.casefold() in text.casefold() for word in words)


if __name__ == "__main__":
    main()
