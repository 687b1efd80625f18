"""
Train the reader of orders, and write its weights.

    python -m evals.reading.train_orders --goemotions DIR [--out FILE]

Positives are the orders of `orders.tsv`: injections as somebody hides them in a page, to take over a model
that reads it. Negatives are its sentences of pages, of which two fifths are imperatives, and comments of
GoEmotions (train). Three authors, language models apart from each other, wrote the file. The figures are
those of the author who is left out, and of comments that did not train.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from evals.emotion.texts import read_goemotions
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.orders import LEAST_PROBABILITY, SCALE, WEIGHTS_FILE, split_text

FILE = Path(__file__).parent / "orders.tsv"
AUTHORS = ("1", "2", "3")
SEED = 26
PLAIN = 3000
# A plain sentence counts less than one that was written to look like an order.
PLAIN_WEIGHT = 0.3
LEAST_WORDS = 4


def read_written(author: str) -> tuple[list[str], list[str]]:
    """Return the sentences of an author's orders, and of the author's pages."""
    orders: list[str] = []
    pages: list[str] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        who, kind, text = line.split("\t")
        if who == author:
            (orders if kind == "order" else pages).append(text)
    # A piece such as "Error 417:" is no order by itself.
    parts = [part.strip() for text in orders for part in split_text(text)]
    return [part for part in parts if len(part.split()) >= LEAST_WORDS], pages


def fit(orders: Any, pages: Any, plain: Any) -> tuple[Any, Any, float]:
    """Return the mean vector, the weights and the constant."""
    given = np.vstack([orders, pages, plain])
    mean = given.mean(axis=0)
    labels = np.r_[np.ones(len(orders)), np.zeros(len(pages) + len(plain))]
    counts = np.r_[np.ones(len(orders) + len(pages)), np.full(len(plain), PLAIN_WEIGHT)]
    model = LogisticRegression(C=1.0, max_iter=2000).fit((given - mean) * SCALE, labels, counts)
    return mean, model.coef_[0], float(model.intercept_[0])


def rate(fitted: tuple[Any, Any, float], vectors: Any) -> Any:
    mean, weights, constant = fitted
    return 1 / (1 + np.exp(-((vectors - mean) * SCALE @ weights + constant)))


def describe_left_out(orders: Sequence[Any], pages: Sequence[Any], plain: Any) -> None:
    for number, author in enumerate(AUTHORS):
        others = [other for other in range(len(AUTHORS)) if other != number]
        fitted = fit(
            np.vstack([orders[n] for n in others]), np.vstack([pages[n] for n in others]), plain[::2]
        )
        shares = [
            float((rate(fitted, given) >= LEAST_PROBABILITY).mean())
            for given in (orders[number], pages[number], plain[1::2])
        ]
        print(
            f"author {author}: left out {shares[0]:.1%} of {len(orders[number])} orders, "
            f"{shares[1]:.1%} of {len(pages[number])} sentences of pages, "
            f"{shares[2]:.1%} of {len(plain[1::2])} plain sentences"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--goemotions", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE)
    options = parser.parse_args()
    encoder = SentenceEncoder()
    written = [read_written(author) for author in AUTHORS]
    orders = [encoder.embed(own) for own, _ in written]
    pages = [encoder.embed(own) for _, own in written]
    comments, _ = read_goemotions(options.goemotions / "train.tsv")
    plain = encoder.embed(random.Random(SEED).sample(comments, PLAIN))
    describe_left_out(orders, pages, plain)
    mean, weights, constant = fit(np.vstack(orders), np.vstack(pages), plain)
    np.savez_compressed(
        options.out,
        mean=mean.astype("float32"),
        weights=weights.astype("float32"),
        constant=np.float32(constant),
    )


if __name__ == "__main__":
    main()
