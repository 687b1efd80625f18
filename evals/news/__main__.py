"""
Whether news relevance tells news from other text, and names its topic.

    python -m evals.news [--json] [--emobank dev.csv] [--vader DIR]

`labelled.txt` has short answers with a label each (only those of its split `test` count), and
`test_topics.tsv` has headlines of ten topics and sentences without one. Neither has trained a model.
`--emobank` adds the headlines of its dev split against its other texts, and `--vader` editorials against
reviews, both of odd ids.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.biases.texts import list_reviews, read_tsv
from evals.confidence.__main__ import measure_auroc
from evals.news.train import read_emobank
from mavera.analysis.news import NewsReader
from mavera.core.analysis import NewsRelevance
from mavera.evaluation.measures import Share
from mavera.reading.encoder import SentenceEncoder

HERE = Path(__file__).parent
MIDDLE = 5.5
MOST = 300
FEW = 60


def list_sets(emobank: Path | None, vader: Path | None) -> dict[str, tuple[list[str], list[str]]]:
    """Return news and other texts, by the name of the set."""
    lines = (HERE / "labelled.txt").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|", 2)] for line in lines if not line.startswith("#")]
    found = {
        "written": (
            [text for part, label, text in rows if part == "test" and label == "1"],
            [text for part, label, text in rows if part == "test" and label == "0"],
        )
    }
    drawn = random.Random(27)
    if emobank is not None:
        news, other = read_emobank(emobank)
        found["EmoBank dev"] = (news, drawn.sample(other, min(MOST, len(other))))
    if vader is not None:
        editorials, reviews = list_reviews(vader, "nytEditorial", 1), list_reviews(vader, "amazonReview", 1)
        found["editorials and reviews"] = (editorials[:FEW], reviews[:FEW])
    lines = (HERE.parent / "biases" / "plain.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["text"] for line in lines]
    found["headlines and persona answers"] = (
        [text for topic, text in read_tsv(HERE / "test_topics.tsv") if topic != "none"],
        drawn.sample(answers, min(MOST, len(answers))),
    )
    return found


def rate(reader: NewsReader, text: str) -> NewsRelevance:
    found = reader.rate("", text)
    assert found is not None
    return found


def measure_relevance(reader: NewsReader, news: Sequence[str], other: Sequence[str]) -> dict[str, Any]:
    scored = [
        (rate(reader, text).score, is_news)
        for texts, is_news in ((news, True), (other, False))
        for text in texts
    ]
    right = Share(sum((score > MIDDLE) == is_news for score, is_news in scored), len(scored))
    return {
        "news": len(news),
        "other": len(other),
        "auroc": round(measure_auroc(scored), 3),
        "right": [round(value, 3) for value in (right.value, *right.interval)],
    }


def measure_topics(reader: NewsReader) -> dict[str, Any]:
    rows = [(topic, rate(reader, text).topics) for topic, text in read_tsv(HERE / "test_topics.tsv")]
    news = [(topic, found) for topic, found in rows if topic != "none"]
    first = Share(sum(found[:1] == [topic] for topic, found in news), len(news))
    return {
        "headlines": len(news),
        "first topic right": [round(value, 3) for value in (first.value, *first.interval)],
        "without a topic": sum(not found for _, found in news),
        "no news": len(rows) - len(news),
        "no news with a topic": sum(bool(found) for topic, found in rows if topic == "none"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--emobank", type=Path)
    parser.add_argument("--vader", type=Path)
    options = parser.parse_args()
    reader = NewsReader(SentenceEncoder())
    found: dict[str, Any] = {
        name: measure_relevance(reader, news, other)
        for name, (news, other) in list_sets(options.emobank, options.vader).items()
    }
    found["topics"] = measure_topics(reader)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
