"""
Fit the linear model that reads verdicts.

    python -m evals.reading.train_verdicts

It learns from `examples.txt`, and from the sample turns of the library whose labels are in `turns.tsv`. No
question of `verdicts.jsonl` or `mosaics.jsonl` is among them. It needs scikit-learn.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from mavera.personas.builtin import PersonaLibrary
from mavera.reading.encoder import WEIGHTS, SentenceEncoder
from mavera.reading.sentences import split_sentences
from mavera.reading.verdict import STANCES, Stance, find_features
from mavera.reading.words import COUNT

HERE = Path(__file__).parent
MARKS: dict[str, Stance] = {"y": "yes", "n": "no", "d": "depends", "0": "none"}
# The inverse of the penalty, chosen by five folds over the questions of the examples.
STRENGTH = 0.1


class Example(NamedTuple):
    question: str
    answer: str
    stance: Stance


def read_examples(lines: Iterable[str]) -> Iterator[Example]:
    """Yield the answers of a file in the form that the head of `examples.txt` describes."""
    question = ""
    for line in lines:
        if line.startswith("Q "):
            question = line[5:]
        elif line[1:2] == "|":
            yield Example(question, line[2:], MARKS[line[0]])


def read_turns() -> Iterator[Example]:
    """Yield the sample turns that have a label. A turn that was written anew since then is left out."""
    answers = {turn.ask: turn.answer for one in PersonaLibrary.load().list() for turn in one.turns}
    for line in (HERE / "turns.tsv").read_text(encoding="utf-8").splitlines():
        mark, question = line.split("\t")
        if question in answers:
            yield Example(question, answers[question], MARKS[mark])


def first_sentence(answer: str) -> str:
    sentences = split_sentences(answer)
    return sentences[0].text if sentences else answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the linear model that reads verdicts.")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "verdicts.npz")
    out = parser.parse_args().out
    written = (HERE / "examples.txt").read_text(encoding="utf-8").splitlines()
    examples = [*read_examples(written), *read_turns()]
    answers = [one.answer for one in examples]
    firsts = [first_sentence(answer) for answer in answers]
    given = find_features(SentenceEncoder(), [one.question for one in examples], answers, firsts)
    means = given.mean(axis=0)
    means[:COUNT] = 0
    model = LogisticRegression(C=STRENGTH, max_iter=500)
    model.fit(given - means, [STANCES.index(one.stance) for one in examples])
    weights = np.vstack([model.coef_.T, model.intercept_]).astype(np.float32)
    np.savez_compressed(out, means=means.astype(np.float32), weights=weights)
    print(f"{len(examples)} examples, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
