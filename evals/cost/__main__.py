"""
What an analysis adds to an answer of about 150 words: seconds and tokens, with the embedded model.

    python -m evals.cost [--json] [--answers N]

Each answer is made once, with the log-probabilities that an analysis asks for, and analysed at
once, as a run does; then once more with two sentences added that are suspect of a bias, so that
every probe there may be is asked. What is read goes to stderr as it comes. The figures are
medians; other work on the machine weighs on both times.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from evals.engine import asked, embedded_model, hear
from mavera.analysis.analyst import Analyst, AnsweredPrompt
from mavera.models.model import Model

QUESTIONS = (
    "Would you switch to an electric car this year? Answer in about 150 words.",
    "How do you feel about sustainable fashion? Answer in about 150 words.",
    "Would you pay for a meditation app? Answer in about 150 words.",
    "What makes you trust a new bank? Answer in about 150 words.",
    "Should cities ban cars from their centres? Answer in about 150 words.",
)


# What makes an analysis as dear as it gets: as many suspects as there are probes, and these words to read.
SUSPECT = " We have always done it this way. All my friends have switched to it, so it must be the best one."


async def measured(answers: int) -> dict[str, Any]:
    analyst = Analyst()
    rows = []
    async with embedded_model() as model:
        await hear(model, asked("Say hello.", max_tokens=4))
        await analyst.analyse(model, AnsweredPrompt(asked("Hm?"), "Warm up."))
        for question in QUESTIONS[:answers]:
            prompt = asked(question, max_tokens=230)
            began = time.perf_counter()
            heard = await hear(model, prompt)
            seconds = round(time.perf_counter() - began, 2)
            dearest = AnsweredPrompt(prompt, heard.text + SUSPECT, heard.logprobs)
            row: dict[str, Any] = {
                "words": len(heard.text.split()),
                "seconds": seconds,
                "analysis": await _analysis(
                    analyst, model, AnsweredPrompt(prompt, heard.text, heard.logprobs)
                ),
                "dearest_analysis": await _analysis(analyst, model, dearest),
            }
            rows.append(row)
            # Each takes minutes on a busy machine: who waits sees how far it is.
            print(row, file=sys.stderr, flush=True)
    return {
        "answers": rows,
        "median_share_of_answer_time": _share(rows, "analysis"),
        "median_share_of_answer_time_dearest": _share(rows, "dearest_analysis"),
    }


async def _analysis(analyst: Analyst, model: Model, answered: AnsweredPrompt) -> dict[str, Any]:
    began = time.perf_counter()
    made = await analyst.analyse(model, answered)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "biases": len(made.analysis.biases),
        "added_tokens": made.usage.total_tokens,
        "added_uncached_tokens": made.usage.total_tokens - made.usage.cached_tokens,
        "failed": made.analysis.error is not None,
    }


def _share(rows: Sequence[dict[str, Any]], which: str) -> float:
    return round(float(statistics.median(row[which]["seconds"] / row["seconds"] for row in rows)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--answers", type=int, default=len(QUESTIONS))
    options = parser.parse_args()
    found = asyncio.run(measured(options.answers))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
