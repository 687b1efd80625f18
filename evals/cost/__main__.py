"""
What an analysis adds to an answer of about 150 words: seconds and tokens, with the embedded model.

    python -m evals.cost [--json] [--answers N]

Each answer is made once, with the log-probabilities that an analysis asks for, and analysed at
once, as a run does. The figures are medians; other work on the machine weighs on both times.
"""

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

from evals.engine import asked, embedded_model, hear
from mavera.analysis.analyst import Analyst, Answered

QUESTIONS = (
    "Would you switch to an electric car this year? Answer in about 150 words.",
    "How do you feel about sustainable fashion? Answer in about 150 words.",
    "Would you pay for a meditation app? Answer in about 150 words.",
    "What makes you trust a new bank? Answer in about 150 words.",
    "Should cities ban cars from their centres? Answer in about 150 words.",
)


async def measured(answers: int) -> dict[str, Any]:
    analyst = Analyst()
    rows = []
    async with embedded_model() as model:
        await hear(model, asked("Say hello.", max_tokens=4))
        await analyst.analyse(model, Answered(asked("Hm?"), "Warm up."))
        for question in QUESTIONS[:answers]:
            turn = asked(question, max_tokens=230)
            began = time.perf_counter()
            heard = await hear(model, turn)
            said = time.perf_counter()
            made = await analyst.analyse(model, Answered(turn, heard.text, heard.logprobs))
            rows.append(
                {
                    "words": len(heard.text.split()),
                    "answer_seconds": round(said - began, 2),
                    "analysis_seconds": round(time.perf_counter() - said, 2),
                    "added_tokens": made.usage.total_tokens,
                    "added_uncached_tokens": made.usage.total_tokens - made.usage.cached_tokens,
                    "failed": made.analysis.error is not None,
                }
            )
    shares = [row["analysis_seconds"] / row["answer_seconds"] for row in rows]
    return {"answers": rows, "median_share_of_answer_time": round(statistics.median(shares), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--answers", type=int, default=len(QUESTIONS))
    options = parser.parse_args()
    found = asyncio.run(measured(options.answers))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
