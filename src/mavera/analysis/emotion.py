"""
Rate the valence, arousal and dominance of an answer with an encoder trained on human ratings.

    sentences → WordPiece → MiniLM (int8, onnxruntime) → V, A, D per sentence on 1–5
        → mean, weighted by length → 1 + 9 (x − 1) / 4, the scales of 1–10
        → the nearest of eight named emotions, or `neutral` if none is near

`evals.emotion.train` trains the encoder on EmoBank (Buechel and Hahn, 2017). The named emotions are
the points that Russell and Mehrabian (1977) measured on the same three dimensions.
"""

import importlib
import math
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mavera.analysis.wordpiece import WordPiece
from mavera.core.analysis import Emotion, EmotionName
from mavera.reading.sentences import Sentence

VERSION = "emobank-minilm-1"
WEIGHTS = Path(__file__).parent / "weights"
MAX_TOKENS = 128
# The encoder reads this many sentences of a longer answer, spread evenly over it.
MAX_SENTENCES = 64
# The ratings of this many sentences are cached: those read ahead, and those that occur again.
_REMEMBERED = 512

# Mean and standard deviation of the ratings in EmoBank's train split. They define the ordinary rating.
_CENTRE = (2.978, 3.044, 3.063)
_SPREAD = (0.350, 0.262, 0.211)
# From Russell and Mehrabian 1977. Each dimension runs from -1 to 1.
_POINTS: dict[EmotionName, tuple[float, float, float]] = {
    "joy": (0.76, 0.48, 0.35),
    "surprise": (0.40, 0.67, -0.13),
    "anger": (-0.51, 0.59, 0.25),
    "fear": (-0.64, 0.60, -0.43),
    "disgust": (-0.60, 0.35, 0.11),
    "sadness": (-0.63, -0.27, -0.33),
    "calm": (0.68, -0.46, 0.20),
    "boredom": (-0.65, -0.62, -0.33),
}
# One unit of those dimensions in standard deviations, and the distance from the ordinary of any emotion.
_UNIT, _NEUTRAL = 2.5, 0.9


class Rating(NamedTuple):
    """Valence, arousal and dominance, each from 1 to 5 as EmoBank's raters gave them."""

    valence: float
    arousal: float
    dominance: float


class EmotionModel:
    """The encoder, which takes about 40 MB of memory. It can be called from several threads."""

    def __init__(self, session: Any, words: WordPiece) -> None:
        self._session = session
        self._words = words
        self._rated = lru_cache(maxsize=_REMEMBERED)(self._rate)

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> "EmotionModel":
        """Load the weights. Raises ImportError if onnxruntime is missing, and OSError if a file is."""
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # an answer is short, and the language model needs the cores
        options.log_severity_level = 3
        path = folder / "emotion.onnx"
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        return cls(session, WordPiece.load(folder / "vocab.txt"))

    def rate(self, texts: Sequence[str]) -> list[Rating]:
        """Return the rating of each text. It does not depend on the other texts."""
        # The texts are rated one by one. In an int8 batch, a text's numbers depend on its neighbours.
        return [self._rated(text) for text in texts]

    def _rate(self, text: str) -> Rating:
        ids = self._words.encode(text, MAX_TOKENS)
        (found,) = self._session.run(None, {"ids": _array([ids])})
        return Rating(*(min(5.0, max(1.0, float(value))) for value in found[0]))


@cache
def _numpy() -> Any:
    return importlib.import_module("numpy")


def _array(rows: list[list[int]]) -> Any:
    numpy = _numpy()
    return numpy.array(rows, dtype=numpy.int64)


def read_emotion(model: EmotionModel, sentences: Sequence[Sentence]) -> Emotion:
    """Return the emotion of an answer. Needs at least one sentence."""
    chosen = pick_spread(sentences, MAX_SENTENCES)
    return to_emotion(
        combine_ratings(model.rate([one.text for one in chosen]), [len(one.text) for one in chosen])
    )


def pick_spread(sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    """Return at most `most` of the sentences, evenly spread, with the first and the last among them."""
    if len(sentences) <= most:
        return list(sentences)
    return [sentences[round(n * (len(sentences) - 1) / (most - 1))] for n in range(most)]


def combine_ratings(ratings: Sequence[Rating], lengths: Sequence[int]) -> Rating:
    """Return the mean of `ratings`, weighted by the lengths of their texts."""
    total = sum(lengths)
    return Rating(
        *(sum(r[n] * length for r, length in zip(ratings, lengths, strict=True)) / total for n in range(3))
    )


def to_emotion(rating: Rating) -> Emotion:
    return Emotion(
        emotional_valence=to_scale(rating.valence),
        arousal=to_scale(rating.arousal),
        dominance=to_scale(rating.dominance),
        primary_emotion=name_emotion(rating),
    )


def to_scale(value: float) -> float:
    """Map 1–5 onto 1–10: 1 stays 1, 3 becomes 5.5, 5 becomes 10."""
    return round(1 + 9 * (value - 1) / 4, 2)


def name_emotion(rating: Rating) -> EmotionName:
    """Return the emotion that is nearest to `rating`, or `neutral` if `rating` is near the ordinary."""
    off = [(value - mean) / sd for value, mean, sd in zip(rating, _CENTRE, _SPREAD, strict=True)]
    if math.hypot(*off) < _NEUTRAL:
        return "neutral"
    at = [value / _UNIT for value in off]
    return min(_POINTS, key=lambda name: math.dist(at, _POINTS[name]))
