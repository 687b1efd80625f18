"""
Ask personas questions with the embedded model of a checkout, this one or one of 331e8b2.

    CHECKOUT/.venv/bin/python evals/answers/ask.py OUT.jsonl < QUESTIONS.jsonl

A line of the input has `persona` (a name of the library), `question` and, if wanted, a `length` to ask for.
A line of the output has these and `text`. Questions that OUT has answers to are not asked again.
"""

import asyncio
import json
import sys
from collections import defaultdict
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

from mavera.core.turn import Turn
from mavera.runs.loop import Runner
from mavera.settings import load_settings

Line = dict[str, Any]
AT_ONCE = 4
TOKENS = 240


def read_lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def main(out: Path, known: list[Line]) -> None:
    answered = {key_of(line) for line in known}
    asked: dict[str, list[Line]] = defaultdict(list)
    for line in map(json.loads, sys.stdin):
        if key_of(line) not in answered:
            asked[line["persona"]].append(line)
    library = PersonaLibrary.load()
    ids = {persona.name: persona.id for persona in library.list()}
    async with AsyncExitStack() as stack:
        stream = await open_stream(stack, library)
        waiting = iter(list(asked.values()))
        with out.open("a") as file:

            async def work() -> None:
                for lines in waiting:
                    for line in lines:
                        text = await hear(stream(to_turn(ids[line["persona"]], line)))
                        file.write(json.dumps({**line, "text": text}) + "\n")
                        file.flush()

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def key_of(line: Line) -> tuple[str, str, str]:
    return line["persona"], line["question"], line.get("length") or ""


def to_turn(persona_id: str, line: Line) -> Turn:
    return Turn(
        model="mavera-1",
        items=(make_message("user", f"{line['question']} {line.get('length', '')}".strip()),),
        persona_id=persona_id,
        max_output_tokens=line.get("tokens", TOKENS),
        verbosity=line.get("verbosity", "medium"),
        canvas_mode=line.get("canvas", False),
    )


async def hear(events: Any) -> str:
    pieces: list[str] = []
    async with aclosing(events):
        async for event in events:
            match type(event).__name__:
                case "TextDelta":
                    pieces.append(event.text)
                case "RunFailed":
                    raise RuntimeError(str(event))
    return "".join(pieces).strip()


try:
    from mavera.accounts.principal import Principal
    from mavera.core.items import make_message
    from mavera.personas.builtin import PersonaLibrary
    from mavera.personas.catalogue import Personas
    from mavera.services import open_named_model

    async def open_stream(stack: AsyncExitStack, library: Any) -> Any:
        people = Personas(library)
        named = await stack.enter_async_context(open_named_model(load_settings(), "mavera-1"))
        runner = Runner(people, {"live": named.model}, named={"mavera-1": named})
        return lambda turn: runner.run(turn, Principal.local())

except ImportError:  # 331e8b2
    from mavera.personas.personas import Personas  # type: ignore[no-redef, import-not-found]

    from mavera.core.items import said as make_message  # type: ignore[no-redef, attr-defined]
    from mavera.models.choice import choose_model
    from mavera.personas.library import PersonaLibrary  # type: ignore[no-redef, attr-defined]

    async def open_stream(stack: AsyncExitStack, library: Any) -> Any:
        model = choose_model(load_settings())
        stack.push_async_callback(model.close)
        await model.start()
        while model.status().state != "ready":  # noqa: ASYNC110 - the state can only be read
            await asyncio.sleep(0.2)
        runner = Runner(Personas(library), {"live": model})
        return lambda turn: runner.run(turn, "live")  # type: ignore[arg-type]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    asyncio.run(main(path, read_lines(path)))
