"""
Tell the embedded model to sound certain, or to hedge, and keep its answers.

    python -m evals.confidence.tell OUT.tsv

A line has "embedded model", "certain" or "hedge", and the answer. An interrupted run continues.
"""

import asyncio
import sys
from pathlib import Path

from evals.engine import asked, embedded_model, hear

_FORM = "{question} Answer in two sentences. You are"
ORDERS = {
    "certain": f"{_FORM} absolutely certain, and every sentence has to show it.",
    "hedge": f"{_FORM} very unsure, and every sentence has to express your doubt.",
}
TOKENS = 60
QUESTIONS = (
    "Will electric cars replace petrol cars by 2040?",
    "Is remote work good for young employees?",
    "Which phone should I buy for my grandmother?",
    "Does drinking coffee make people live longer?",
    "Will this jacket sell at $250?",
    "Why did the Roman Empire fall?",
    "Should our shop open on Sundays?",
    "How many people will come to a free concert in a town of 20,000?",
    "Is gold a safe investment?",
    "What will the weather be like in Oslo in May?",
    "Who wrote the plays of Shakespeare?",
    "Do children learn better with tablets?",
    "Would customers pay for faster delivery?",
    "Is there life on other planets?",
    "Which colour suits a bank's logo best?",
    "How long does it take to learn Spanish?",
    "Will rents fall next year?",
    "Is organic food worth its price?",
    "What makes people loyal to a brand?",
    "Should I learn Python or Java first?",
    "Is a heat pump right for an old house?",
    "Will people still watch television in 2050?",
    "Does advertising on podcasts work?",
    "What is the best way to save for a pension?",
    "Can dogs feel guilt?",
)


async def ask_all(out: Path, known: int) -> None:
    pairs = [(kind, question) for question in QUESTIONS for kind in ORDERS]
    async with embedded_model() as model:
        with out.open("a", encoding="utf-8") as file:
            for kind, question in pairs[known:]:
                heard = await hear(model, asked(ORDERS[kind].format(question=question), max_tokens=TOKENS))
                text = heard.text.strip().replace("\t", " ").replace("\n", "\\n")
                file.write(f"embedded model\t{kind}\t{text}\n")
                file.flush()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    known = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    asyncio.run(ask_all(path, known))
