"""
Let the embedded model say which verdict an answer gives, for comparison with the reader that ships.

    python -m evals.reading.ask_model

Each answer of `verdicts.jsonl` is shown after eight examples, and the log-probabilities of the letters A to D
are kept in `model_readings.json`. An interrupted run goes on where it stopped. An answer takes 3 seconds.
"""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

from evals.engine import embedded_model
from mavera.core.events import TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import Prompt, Sampling
from mavera.models.model import Model

HERE = Path(__file__).parent
ANSWERS, READINGS = HERE / "verdicts.jsonl", HERE / "model_readings.json"
LETTERS = {"A": "yes", "B": "no", "C": "depends", "D": "none"}
FLOOR = -12.0

SYSTEM = """\
You read what an answer says to its question, and reply with one letter.
A: the answer is yes
B: the answer is no
C: it depends, or the answer is torn
D: the answer takes no position"""
EXAMPLES = (
    ("Would you take the night bus home?", "A cab is eighteen pounds, so I'm on that bus every Friday.", "A"),
    ("Should schools teach cooking?", "They can't even teach spelling. Leave cooking to the parents.", "B"),
    ("Would you rent out your spare room?", "To a student I know, maybe. To strangers, never.", "C"),
    ("Do you like the new park?", "The park is where the tannery was.", "D"),
    ("Würden Sie umziehen?", "Wenn die Miete dort billiger ist, würde ich es mir überlegen.", "C"),
    ("¿Comprarías ese sofá?", "Es feo y caro. No lo quiero ni regalado.", "B"),
    ("Is a dishwasher worth the money?", "Mine gave me back an hour a day.", "A"),
    ("Would you lend him the car?", "He came by on Tuesday with his brother.", "D"),
)


def build_prompt(question: str, answer: str) -> Prompt:
    items = [make_message("system", SYSTEM)]
    for asked, said, letter in EXAMPLES:
        items += [make_message("user", _show(asked, said)), make_message("assistant", letter)]
    items.append(make_message("user", _show(question, answer)))
    return Prompt(tuple(items), max_output_tokens=1, sampling=Sampling(temperature=0.0), top_logprobs=20)


def _show(question: str, answer: str) -> str:
    return f"Question: {question}\nAnswer: {answer}"


async def read_letters(model: Model, prompt: Prompt) -> dict[str, float]:
    """Return the log-probability of each verdict."""
    found = dict.fromkeys(LETTERS.values(), FLOOR)
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            if isinstance(event, TextDelta) and event.logprobs:
                for token in (event.logprobs[0], *event.logprobs[0].top):
                    verdict = LETTERS.get(token.token.strip())
                    if verdict is not None:
                        found[verdict] = max(found[verdict], round(token.logprob, 3))
    return found


async def main() -> None:
    known = json.loads(READINGS.read_text(encoding="utf-8")) if READINGS.exists() else {}
    rows = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    async with embedded_model() as model:
        for row in rows:
            key = f"{row['question']} {row['answer']}"
            if key not in known:
                known[key] = await read_letters(model, build_prompt(row["question"], row["answer"]))
                READINGS.write_text(json.dumps(known, ensure_ascii=False, indent=0), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
