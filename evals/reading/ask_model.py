"""
Let the embedded model say which verdict an answer gives, as `mavera.reading.second_reading` does.

    python -m evals.reading.ask_model

The log-probabilities of the letters for each answer of `verdicts.jsonl`, `mosaics.jsonl` and `library.jsonl`
are kept in `model_readings.json`. An interrupted run goes on where it stopped. An answer takes a second on
two cores.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

from evals.engine import embedded_model
from mavera.core.events import TextDelta
from mavera.core.prompt import Prompt
from mavera.models.model import Model
from mavera.reading.second_reading import build_prompt, find_letters
from mavera.reading.verdict import Stance

HERE = Path(__file__).parent
READINGS = HERE / "model_readings.json"


def read_pairs() -> Iterator[tuple[str, str]]:
    """Yield each question with each answer."""
    for line in (HERE / "verdicts.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row["question"], row["answer"]
    for line in (HERE / "mosaics.jsonl").read_text(encoding="utf-8").splitlines():
        mosaic = json.loads(line)
        for said in mosaic["answers"]:
            yield mosaic["question"], said["answer"]
    for line in (HERE / "library.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row["question"], row["answer"]


async def read_letters(model: Model, prompt: Prompt) -> dict[Stance, float] | None:
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            if isinstance(event, TextDelta) and event.logprobs:
                return find_letters(event.logprobs[0])
    return None


async def main() -> None:
    known = json.loads(READINGS.read_text(encoding="utf-8")) if READINGS.exists() else {}
    async with embedded_model() as model:
        for question, answer in read_pairs():
            key = f"{question} {answer}"
            if key not in known:
                known[key] = await read_letters(model, build_prompt(question, answer))
                READINGS.write_text(json.dumps(known, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
