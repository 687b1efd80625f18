"""
Read the verdict of an answer on its question: yes, no, it depends, or none.

    question, answer → vectors of the question and of the first sentence, and counts of words
                     → a linear model → probabilities → the verdict and its sentence

If the first sentence takes no position, the clearest sentence is read too.

`evals.reading.train_verdicts` fits the linear model. docs/decisions/0053-verdicts.md compares it with others,
and evals/README.md has its accuracy.
"""

import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mavera.reading.encoder import MAX_CHARACTERS, WEIGHTS, NoEncoder, SentenceEncoder
from mavera.reading.languages import are_mostly_unread
from mavera.reading.prose import pick_prose
from mavera.reading.sentences import Sentence, split_sentences
from mavera.reading.words import count_words

Stance = Literal["yes", "no", "depends", "none"]
STANCES: tuple[Stance, ...] = get_args(Stance)
VERSION = "verdict-1"
_UNKNOWN = (0.25,) * len(STANCES)
_NONE = STANCES.index("none")
# Above this probability that the first sentence takes no position, the clearest sentence counts as much.
_IDLE = 0.35
# The reader looks for the sentence of a verdict among this many of the first sentences.
_MOST_SENTENCES = 24


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    The stance of an answer on its question.

    `depends` means that the answer names a condition, or speaks for and against. `none` means that it
    takes no position. `probabilities` has one value for each of `STANCES`, and they add up to 1.
    `sentence` is the sentence of the answer that gives the verdict, or None if there is none. `is_read` is
    False if the answer is in a language that the reader does not know. Then all stances are as likely.
    """

    stance: Stance
    probabilities: tuple[float, ...]
    sentence: Sentence | None
    is_read: bool = True

    @property
    def probability(self) -> float:
        """The probability that `stance` is right."""
        return self.probabilities[STANCES.index(self.stance)]


class VerdictReader:
    """Reads verdicts with one encoder. It can be called from several threads, and takes processor time."""

    version = VERSION

    def __init__(self, encoder: SentenceEncoder, weights: Path = WEIGHTS / "verdicts.npz") -> None:
        self._encoder = encoder
        self._path = weights
        self._loading = threading.Lock()
        self._weights: tuple[Any, Any] | None = None

    def read(self, question: str, answer: str) -> Verdict:
        """
        Return the verdict of an answer to a question that can be answered with yes or no.

        Raises NoEncoder.
        """
        sentences = pick_prose(split_sentences(answer[:MAX_CHARACTERS]))[:_MOST_SENTENCES]
        if not sentences:
            return Verdict("none", (0.0, 0.0, 0.0, 1.0), None)
        texts = [sentence.text for sentence in sentences]
        if are_mostly_unread(texts):
            return Verdict("none", _UNKNOWN, sentences[0], is_read=False)
        whole, *single = self._rate(question, [" ".join(texts), *texts], [texts[0], *texts])
        if single[0][_NONE] > _IDLE:
            decided = max(single, key=lambda rated: max(rated[:_NONE]))
            whole = (whole + decided) / 2 if decided[_NONE] < _IDLE else whole
        stance = STANCES[int(whole.argmax())]
        resting = max(range(len(sentences)), key=lambda n: single[n][STANCES.index(stance)])
        return Verdict(stance, tuple(float(value) for value in whole), sentences[resting])

    def rate(self, question: str, texts: Sequence[str]) -> Any:
        """
        Return an array (len(texts), 4) with the probability of each of `STANCES` if a text were the answer.

        It is for parts of an answer: clauses and single sentences. Raises NoEncoder.
        """
        return self._rate(question, texts, texts)

    def _rate(self, question: str, texts: Sequence[str], firsts: Sequence[str]) -> Any:
        """Return the probabilities (texts, stances)."""
        numpy = importlib.import_module("numpy")
        scales, weights = self._load()
        given = find_features(self._encoder, [question] * len(texts), texts, firsts) - scales
        scores = given @ weights[:-1] + weights[-1]
        odds = numpy.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._weights is None:
                numpy = importlib.import_module("numpy")
                try:
                    with numpy.load(self._path) as found:
                        self._weights = (found["means"], found["weights"])
                except OSError as error:
                    raise NoEncoder(f"{self._path} cannot be read: {error}") from error
            return self._weights


def find_features(
    encoder: SentenceEncoder, questions: Sequence[str], texts: Sequence[str], firsts: Sequence[str]
) -> Any:
    """Return the features of the linear model, a row for each answer. `firsts` are the first sentences."""
    numpy = importlib.import_module("numpy")
    counts = [count_words(text, first) for text, first in zip(texts, firsts, strict=True)]
    vectors = [VECTOR_SCALE * encoder.embed(firsts), VECTOR_SCALE * encoder.embed(questions)]
    return numpy.hstack([numpy.array(counts, numpy.float32), *vectors])


# The vectors of e5 differ little. This factor gives them the same weight as the counts.
VECTOR_SCALE = 8.0
