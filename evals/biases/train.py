"""
Train the classifier of biases, and write its weights.

    python -m evals.biases.train --vader DIR --goemotions DIR [--vectors FILE.npz]

Positives are `training.tsv`, `training_voices.tsv` and `answers.txt`. Negatives are the rest of these,
answers of personas, and plain text: reviews, editorials and posts of Hutto and Gilbert (2014, the folder
hutto_ICWSM_2014 in the source package of vaderSentiment, MIT), of which the even ids are used here and the
odd ones by `evals.biases`, and comments of GoEmotions (train). Of the plain text, only the pieces with a cue
and a word of a conclusion count; the classifier is asked about fewer. `--vectors` keeps the vectors, which
take a quarter of an hour to compute.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from evals.biases.plain_questions import list_library_answers
from evals.biases.texts import HERE, list_reviews, read_answers, read_tsv
from mavera.analysis.bias_classifier import VECTOR_SCALE, WEIGHTS, WORD_SCALE, find_grams
from mavera.analysis.biases import find_cued, has_conclusion_word, list_cued, load_catalogue
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences

NONE = "none"
SEED = 27
FOLDS = 3
LEAST_POSITIVES_OF_A_GRAM = 3
STRENGTH = 1.0
STEPS = 120
# A plain text that was written to look like a bias counts as much as this many others.
WEIGHT_OF_A_NEAR_MISS = 3.0
# Each bias is reported from the lowest of these probabilities at which so many of its reports in
# cross-validation are right. It is dropped if too few of its texts are found there.
THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
# A bias that never reaches the first precision is held to the second.
LEAST_PRECISIONS = (0.88, 0.8)
LEAST_RECALL = 0.2

Row = tuple[str, str]


def list_positives() -> list[Row]:
    return [(name, text) for name, text in _list_written() if name != NONE]


def list_negatives(vader: Path, goemotions: Path) -> list[str]:
    drawn = random.Random(SEED)
    texts = [
        *list_reviews(vader, "amazonReview", 0),
        *_sample(drawn, list_reviews(vader, "movieReview", 0), 4000),
    ]
    texts += [*_sample(drawn, list_reviews(vader, "nytEditorial", 0), 500)]
    texts += _sample(drawn, list_reviews(vader, "tweets", 0), 1500)
    comments = (goemotions / "train.tsv").read_text(encoding="utf-8").splitlines()
    texts += _sample(drawn, [line.split("\t")[0] for line in comments], 5000)
    texts += _list_persona_answers()
    plain = [piece for text in texts for piece in list_cued(split_sentences(text), has_conclusion_word)]
    return list(dict.fromkeys([*plain, *(text for name, text in _list_written() if name == NONE)]))


def _list_written() -> Iterator[Row]:
    yield from read_tsv(HERE / "training.tsv")
    yield from read_tsv(HERE / "training_voices.tsv")
    yield from read_answers()


def _list_persona_answers() -> list[str]:
    answers = (HERE.parent / "answers" / name for name in ("new.jsonl", "old.jsonl"))
    files = (HERE / "plain_training.jsonl", *answers)
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    verdicts = [
        json.loads(line) for line in (HERE.parent / "reading" / "verdicts.jsonl").read_text().splitlines()
    ]
    return [
        *(line["text"] for line in lines),
        *(one["answer"] for one in verdicts if one["from"] == "model"),
        *list_library_answers(trains=True),
    ]


def _sample(drawn: random.Random, texts: Sequence[str], most: int) -> list[str]:
    return drawn.sample(list(texts), min(most, len(texts)))


@dataclass(frozen=True)
class Given:
    """
    The inputs of some texts: the vectors are dense and the counts of grams are sparse, so a fit takes
    seconds.
    """

    vectors: Any
    grams: Any

    def pick(self, rows: Any) -> "Given":
        return Given(self.vectors[rows], self.grams[rows])


@dataclass(frozen=True)
class Fitted:
    """A multinomial logistic. The columns of the weights are the classes."""

    vectors: Any
    grams: Any
    constants: Any

    def share(self, given: Given) -> Any:
        scores = given.vectors @ self.vectors + given.grams @ self.grams + self.constants
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


class Features:
    """Vectors and words, as the classifier reads them."""

    def __init__(self, grams: Sequence[str], kept: Path | None) -> None:
        self.grams = list(grams)
        self._index = {gram: n for n, gram in enumerate(self.grams)}
        self._kept = kept
        self._encoder = SentenceEncoder()
        self._known: dict[str, Any] = {}
        if kept is not None and kept.exists():
            with np.load(kept) as found:
                self._known = dict(
                    zip(bytes(found["texts"]).decode().split("\0"), found["vectors"], strict=True)
                )

    def of(self, texts: Sequence[str]) -> "Given":
        self._embed([text for text in dict.fromkeys(texts) if text not in self._known])
        vectors = np.stack([self._known[text] for text in texts]).astype("float32")
        return Given(VECTOR_SCALE * vectors, (WORD_SCALE * self._count(texts)).astype("float32"))

    def _embed(self, texts: Sequence[str]) -> None:
        for start in range(0, len(texts), 256):
            some = texts[start : start + 256]
            self._known.update(zip(some, self._encoder.embed(some).astype("float16"), strict=True))
            print(f"{start + len(some)}/{len(texts)} vectors", flush=True)
        if texts and self._kept is not None:
            joined = np.frombuffer("\0".join(self._known).encode(), np.uint8)
            np.savez(self._kept, texts=joined, vectors=np.stack(list(self._known.values())))

    def _count(self, texts: Sequence[str]) -> Any:
        rows, columns, values = [], [], []
        for row, text in enumerate(texts):
            known = [self._index[gram] for gram in find_grams(text) if gram in self._index]
            rows += [row] * len(known)
            columns += known
            values += [max(1, len(known)) ** -0.5] * len(known)
        return sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), len(self.grams)))


def pick_grams(texts: Iterable[str]) -> list[str]:
    counts = Counter(gram for text in texts for gram in find_grams(text))
    return sorted(gram for gram, count in counts.items() if count >= LEAST_POSITIVES_OF_A_GRAM)


def fit(given: Given, labels: Any, names: Sequence[str], counts: Any) -> Fitted:
    """Fit a multinomial logistic with a squared penalty of strength 1 / `STRENGTH`."""
    truth = (np.asarray(labels)[:, None] == np.array(names)[None, :]).astype("float32")
    width, count, classes = given.vectors.shape[1], given.grams.shape[1], len(names)

    def unpack(flat: Any) -> Fitted:
        table = flat.astype("float32").reshape(-1, classes)
        return Fitted(table[:width], table[width:-1], table[-1])

    def rate(flat: Any) -> tuple[float, Any]:
        model = unpack(flat)
        shares = model.share(given)
        off = (shares - truth) * counts[:, None]
        slopes = np.vstack(
            [
                given.vectors.T @ off + model.vectors / STRENGTH,
                given.grams.T @ off + model.grams / STRENGTH,
                off.sum(axis=0)[None, :],
            ]
        )
        penalty = ((model.vectors**2).sum() + (model.grams**2).sum()) / (2 * STRENGTH)
        loss = -(counts * np.log(np.maximum(1e-12, (shares * truth).sum(axis=1)))).sum() + penalty
        return float(loss), slopes.ravel().astype("float64")

    begun = np.zeros((width + count + 1) * classes)
    return unpack(minimize(rate, begun, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x)


def cross_validate(given: Given, labels: Any, names: Sequence[str], counts: Any) -> Any:
    """
    Return the shares (texts, names) of every text by a model that has not seen it. The first name is NONE.
    """
    shares = np.zeros((len(labels), len(names)))
    folds = np.random.RandomState(SEED).randint(FOLDS, size=len(labels))
    for fold in range(FOLDS):
        some = folds != fold
        model = fit(given.pick(some), labels[some], names, counts[some])
        shares[folds == fold] = model.share(given.pick(folds == fold))
        print(f"fold {fold}", flush=True)
    return shares[:, 1:]


def calibrate(shares: Any, labels: Any, names: Sequence[str]) -> tuple[float, float]:
    """Return the slope and constant with which the likeliest bias of a text is right as often as it says."""
    best = shares.argmax(axis=1)
    top = np.clip(shares.max(axis=1), 1e-6, 1 - 1e-6)
    right = np.array([names[n] == label for n, label in zip(best, labels, strict=True)])
    model = LogisticRegression(C=1e6).fit(np.log(top / (1 - top))[:, None], right)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def describe(shares: Any, labels: Any, names: Sequence[str]) -> None:
    """Print the figures of cross-validation for several thresholds."""
    best = np.array([names[n] for n in shares.argmax(axis=1)])
    shown = labels != NONE
    for likely in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        found = shares.max(axis=1) >= likely
        right = found & (best == labels)
        print(
            f"likely {likely}: recall {right.sum() / shown.sum():.3f}, "
            f"precision {right.sum() / max(1, found.sum()):.3f}, "
            f"among texts that show one {right.sum() / max(1, (found & shown).sum()):.3f}, "
            f"plain pieces with a report {found[~shown].mean():.4f}"
        )


def choose_thresholds(shares: Any, labels: Any, names: Sequence[str]) -> list[float]:
    """
    Return the least probability at which each bias is reported: the lowest one at which enough reports are
    right.

    It is 2, which none has, for a bias that is dropped.
    """
    best = np.array([names[n] for n in shares.argmax(axis=1)])
    top = shares.max(axis=1)
    thresholds = []
    for name in names:
        chosen = 2.0
        for least, likely in product(LEAST_PRECISIONS, THRESHOLDS):
            said = (top >= likely) & (best == name)
            right = int((said & (labels == name)).sum())
            precision, recall = right / max(1, said.sum()), right / max(1, (labels == name).sum())
            if precision >= least and recall >= LEAST_RECALL:
                chosen = likely
                break
        print(f"{name:24} from {chosen}: precision {precision:.2f} recall {recall:.2f}")
        thresholds.append(chosen)
    return thresholds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vader", type=Path, required=True)
    parser.add_argument("--goemotions", type=Path, required=True)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    positives = list_positives()
    negatives = list_negatives(options.vader, options.goemotions)
    names = [bias.name for bias in load_catalogue().biases]
    features = Features(pick_grams(text for _, text in positives), options.vectors)
    labels = np.array([name for name, _ in positives] + [NONE] * len(negatives))
    given = features.of([*(text for _, text in positives), *negatives])
    print(f"{len(positives)} positives, {len(negatives)} negatives, {len(features.grams)} grams")

    texts = [*(text for _, text in positives), *negatives]
    found = [find_cued(text, has_conclusion_word) for text in texts]
    cued = np.array([[name in one for name in names] for one in found])
    # As in an analysis, only a bias that has a cue can be reported.
    near = {text for name, text in _list_written() if name == NONE}
    counts = np.array([WEIGHT_OF_A_NEAR_MISS if text in near else 1.0 for text in texts], "float32")
    shares = np.clip(cross_validate(given, labels, (NONE, *names), counts), 1e-6, 1 - 1e-6) * cued + 1e-9
    slope, constant = calibrate(shares, labels, names)
    calibrated = 1 / (1 + np.exp(-(slope * np.log(shares / (1 - shares)) + constant)))
    describe(calibrated, labels, names)
    thresholds = choose_thresholds(calibrated, labels, names)
    model = fit(given, labels, (NONE, *names), counts)
    np.savez_compressed(
        options.out,
        labels=np.frombuffer("\n".join((NONE, *names)).encode(), np.uint8),
        grams=np.frombuffer("\n".join(features.grams).encode(), np.uint8),
        vector_weights=model.vectors.astype("float16"),
        gram_weights=model.grams.astype("float16"),
        constants=model.constants.astype("float32"),
        calibration=np.array([slope, constant]),
        thresholds=np.array(thresholds),
    )
    print(f"calibration {slope:.3f} {constant:.3f}; {options.out} {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
