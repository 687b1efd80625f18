"""
Train the two models of news relevance, and write their weights.

    python -m evals.news.train --emobank train.csv --vader DIR --goemotions DIR

News: headlines and newswire in EmoBank (train: SemEval, NYTnewswire, wsj), editorials (even ids) and
`topics.tsv`. No news: reviews, posts and comments, the rest of EmoBank, and answers of personas. The odd ids
of `--vader` and EmoBank's dev are for `evals.news`. Topics are learned from `topics.tsv` and the text that is
no news.
"""

import argparse
import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from evals.biases.texts import list_reviews, read_tsv
from mavera.analysis.news import VECTOR_SCALE, WEIGHTS
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences

HERE = Path(__file__).parent
SEED = 27
NEWS = ("SemEval", "NYTnewswire", "wsj", "20000", "A1.E", "602CZL", "Anti-Terrorist")
NONE = "none"


def read_emobank(path: Path) -> tuple[list[str], list[str]]:
    """Return the sentences of news, and the others."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["id"], row["text"]) for row in csv.DictReader(file) if len(row["text"].split()) > 3]
    news = [text for name, text in rows if name.startswith(NEWS[:3])]
    return news, [text for name, text in rows if not name.startswith(NEWS)]


def list_other(vader: Path, goemotions: Path, drawn: random.Random) -> list[str]:
    reviews = [s.text for text in list_reviews(vader, "amazonReview", 0) for s in split_sentences(text)]
    films = list_reviews(vader, "movieReview", 0)
    posts = list_reviews(vader, "tweets", 0)
    comments = [line.split("\t")[0] for line in (goemotions / "train.tsv").read_text().splitlines()]
    found = [text for texts in (reviews, films, posts, comments) for text in drawn.sample(texts, 350)]
    for name in ("biases/plain_training.jsonl", "answers/new.jsonl"):
        for line in (HERE.parent / name).read_text().splitlines():
            found += [one.text for one in split_sentences(json.loads(line)["text"])]
    return found


def fit(encoder: SentenceEncoder, texts: Sequence[str], labels: Sequence[Any]) -> LogisticRegression:
    model = LogisticRegression(C=0.5, max_iter=500, class_weight="balanced")
    return model.fit(VECTOR_SCALE * encoder.embed(texts), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("--emobank", "--vader", "--goemotions"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    drawn = random.Random(SEED)
    encoder = SentenceEncoder()
    wire, other = read_emobank(options.emobank)
    editorials = [
        one.text
        for text in list_reviews(options.vader, "nytEditorial", 0)[:60]
        for one in split_sentences(text)
    ]
    written = list(read_tsv(HERE / "topics.tsv"))
    news = [*drawn.sample(wire, 900), *drawn.sample(editorials, 300), *(text for _, text in written)]
    other = [*drawn.sample(other, 700), *list_other(options.vader, options.goemotions, drawn)]
    relevance = fit(encoder, [*news, *other], [1] * len(news) + [0] * len(other))
    some = drawn.sample(other, 700)
    topic = fit(
        encoder,
        [*(text for _, text in written), *some],
        [*(name for name, _ in written), *[NONE] * len(some)],
    )
    names = [NONE, *sorted({name for name, _ in written})]
    order = [list(topic.classes_).index(name) for name in names]
    np.savez_compressed(
        options.out,
        topics=np.frombuffer("\n".join(names).encode(), np.uint8),
        topic_weights=topic.coef_[order].T.astype("float16"),
        topic_constants=topic.intercept_[order].astype("float32"),
        weights=relevance.coef_[0].astype("float16"),
        constant=np.array(relevance.intercept_[0]),
    )
    print(f"{len(news)} news, {len(other)} others; {options.out} {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
