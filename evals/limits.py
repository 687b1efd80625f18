"""
Count English sentences that the analysis takes for code, data or another language, and time a batch.

    python -m evals.limits --data shared/data/goemotions     train.tsv and dev.tsv of GoEmotions
    python -m evals.limits --time                            20 texts of 200 words, and one of 20,000

The data is not in the repository.
"""

import argparse
import asyncio
import csv
import itertools
import time
from pathlib import Path

from mavera.analysis.analyst import Analyst, AnsweredPrompt
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.reading.languages import is_foreign
from mavera.reading.prose import is_code, is_data, is_repetition
from mavera.reading.sentences import split_sentences

SENTENCE = "I like the taste of it, but at this price I would rather wait for an offer in my own shop. "
WORDS = len(SENTENCE.split())


def count_mistakes(folder: Path) -> None:
    texts = []
    for name in ("train.tsv", "dev.tsv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            texts += [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    sentences = [sentence.text for text in texts for sentence in split_sentences(text)]
    foreign = [one for one in sentences if is_foreign(one)]
    code = [one for one in sentences if is_code(one)]
    data = [one for one in sentences if is_data(one)]
    repeated = [one for one in sentences if is_repetition(one)]
    print(
        f"{len(sentences):,} sentences, {len(foreign)} taken for another language, {len(code)} for code, "
        f"{len(data)} for data and {len(repeated)} for a repetition"
    )
    for one in (*foreign, *code, *data, *repeated):
        print(f"  {one[:100]}")


async def time_texts() -> None:
    analyst = Analyst()
    prompt = Prompt((make_message("user", "Would you buy it?"),))

    numbers = itertools.count()

    async def analyse(words: int) -> float:
        # A number in each sentence, because the ratings of equal sentences are cached.
        text = "".join(f"{next(numbers)}: {SENTENCE}" for _ in range(words // WORDS))
        began = time.process_time()
        await analyst.analyse(None, AnsweredPrompt(prompt, text))
        return time.process_time() - began

    await analyse(20)  # the first one loads the weights
    twenty = sum([await analyse(200) for _ in range(20)])
    print(f"one text of 200 words: {twenty / 20:.2f} s; one of 20,000 words: {await analyse(20_000):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    if given.data is not None:
        count_mistakes(given.data)
    if given.time:
        asyncio.run(time_texts())


if __name__ == "__main__":
    main()
