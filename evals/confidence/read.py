"""
Ask the embedded model the questions of `sources`, and keep what its answers were made of.

    python -m evals.confidence.read FOLDER OUT.jsonl [--most N]

An interrupted run continues. The folder is described in `sources.list_questions`.
"""

import argparse
import asyncio
import json
from contextlib import aclosing
from pathlib import Path

from evals.confidence.sources import Question, is_right, list_questions
from mavera.core.events import TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import Prompt, Sampling
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.model import Model
from mavera.settings import load_settings

AT_ONCE = 3
TOKENS = {"words": 24, "free": 48}
HINTS = {"words": " Answer in a few words.", "free": ""}
SEED = 27


async def ask_all(questions: list[Question], out: Path) -> None:
    waiting = iter(questions)
    model = EmbeddedModel(EmbeddedEngine(load_settings(embedded_slots=AT_ONCE)))
    await model.start()
    try:
        with out.open("a") as file:

            async def work() -> None:
                for question in waiting:
                    file.write(json.dumps(await _ask(model, question)) + "\n")
                    file.flush()

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    finally:
        await model.close()


async def _ask(model: Model, question: Question) -> dict[str, object]:
    prompt = Prompt(
        (make_message("user", question.text + HINTS[question.style]),),
        max_output_tokens=TOKENS[question.style],
        sampling=Sampling(temperature=question.temperature, seed=SEED),
        top_logprobs=1,
    )
    text, logprobs, tops = "", list[float](), list[float]()
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            match event:
                case TextDelta(piece, tokens):
                    text += piece
                    logprobs += [round(token.logprob, 3) for token in tokens]
                    tops += [round(max((one.logprob for one in token.top), default=0), 3) for token in tokens]
                case _:
                    pass
    return {
        "source": question.source,
        "question": question.text,
        "style": question.style,
        "temperature": question.temperature,
        "right": is_right(text, question),
        "text": text,
        "logprobs": logprobs,
        "tops": tops,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=1_050)
    options = parser.parse_args()
    out: Path = options.out
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    known = {json.loads(line)["question"] for line in lines}
    questions = list_questions(options.folder)[: options.most]
    asyncio.run(ask_all([one for one in questions if one.text not in known], out))
