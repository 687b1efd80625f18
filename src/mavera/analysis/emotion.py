"""
Rate the emotion of an answer on scales that compare it with the answers of a stated population.

    sentences → states of the sentence encoder → four layers trained on human ratings (4 bits, onnxruntime)
        → valence, arousal, dominance and the probability of seven emotions for each sentence
        → deviations from the ordinary, those within the dead zone set to 0 → their sum / √n
        → percentiles of the population, above and below neutral separately → 1–10, with 5.5 for neutral

`evals.emotion.train` trains the layers on EmoBank (Buechel and Hahn 2017) and GoEmotions (Demszky et al.
2020). `evals.emotion.population` makes the percentiles. Emojis count as sentences: `analysis.emojis`.
"""

import importlib
import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mavera.analysis.emojis import remove_emojis
from mavera.analysis.population import Population, load_population
from mavera.analysis.ratings import NAMES, Rating
from mavera.core.analysis import Emotion, RawEmotion
from mavera.reading.encoder import NoEncoder, SentenceEncoder
from mavera.reading.sentences import Sentence

VERSION = "emobank-goemotions-e5-1"
WEIGHTS = Path(__file__).parent / "weights"
# The model reads this many sentences of a longer answer, spread evenly over it.
MAX_SENTENCES = 64
_NEUTRAL = NAMES.index("neutral")
# The ratings of this many sentences are cached: those read ahead, and those that occur again.
_REMEMBERED = 512


class EmotionModel:
    """The trained layers, which take about 10 MB of memory. They can be called from several threads."""

    def __init__(self, encoder: SentenceEncoder, folder: Path = WEIGHTS) -> None:
        self._encoder = encoder
        self._path = folder / "emotion.onnx"
        self._loading = threading.Lock()
        self._session: Any = None
        self._rated = lru_cache(maxsize=_REMEMBERED)(self._rate)

    def rate(self, texts: Sequence[str]) -> list[Rating]:
        """Return the rating of each text. It does not depend on the other texts. Raises NoEncoder."""
        # The texts are rated one by one, because numbers in a batch depend a little on their neighbours.
        return [self._rated(text) for text in texts]

    def _rate(self, text: str) -> Rating:
        numpy = importlib.import_module("numpy")
        _, states = self._encoder.embed_with_states(text)
        ratings, shares = self._load().run(None, {"states": states[numpy.newaxis]})
        valence, arousal, dominance = (min(5.0, max(1.0, float(value))) for value in ratings[0])
        return Rating(valence, arousal, dominance, tuple(float(value) for value in shares[0]))

    def _load(self) -> Any:
        with self._loading:
            if self._session is None:
                runtime = importlib.import_module("onnxruntime")
                options = runtime.SessionOptions()
                options.intra_op_num_threads = 1  # an answer is short, and the language model needs the cores
                options.log_severity_level = 3
                try:
                    self._session = runtime.InferenceSession(
                        str(self._path), options, providers=["CPUExecutionProvider"]
                    )
                except Exception as error:
                    # onnxruntime raises its own exception classes, which have no common base.
                    raise NoEncoder(f"The emotion model cannot be loaded: {error}") from error
            return self._session


def read_emotion(model: EmotionModel, sentences: Sequence[Sentence], emojis: Sequence[Rating]) -> Emotion:
    """Return the emotion of an answer. Needs at least one sentence or emoji. Raises NoEncoder."""
    chosen = pick_spread(sentences, MAX_SENTENCES)
    return to_emotion(load_population(), rate_sentences(model, chosen), emojis)


def rate_sentences(model: EmotionModel, sentences: Sequence[Sentence]) -> list[Rating]:
    """Return the rating of each sentence without its emojis. Raises NoEncoder."""
    return model.rate([remove_emojis(one.text) for one in sentences])


def pick_spread(sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    """Return at most `most` of the sentences, evenly spread, with the first and the last among them."""
    if len(sentences) <= most:
        return list(sentences)
    return [sentences[round(n * (len(sentences) - 1) / (most - 1))] for n in range(most)]


def to_emotion(population: Population, ratings: Sequence[Rating], emojis: Sequence[Rating] = ()) -> Emotion:
    """
    Return the emotion on the scales of `population`.

    `emojis` count as sentences. In `raw` they count only if there is no sentence.
    """
    every = [*ratings, *emojis]
    said = ratings or emojis
    valence, arousal, dominance = (
        population.to_scale(dimension, population.add_up(every, dimension)) for dimension in range(3)
    )
    shares = combine_shares([one.shares for one in every])
    mean = [round(sum(one.dimensions[n] for one in said) / len(said), 3) for n in range(3)]
    return Emotion(
        emotional_valence=valence,
        arousal=arousal,
        dominance=dominance,
        primary_emotion=NAMES[shares.index(max(shares))],
        probabilities={name: round(share, 3) for name, share in zip(NAMES, shares, strict=True)},
        raw=RawEmotion(emotional_valence=mean[0], arousal=mean[1], dominance=mean[2]),
    )


def combine_shares(shares: Sequence[Sequence[float]]) -> list[float]:
    """
    Return the probability of each emotion in the whole answer.

    As in the scales, the emotions of the sentences add up over √n, and `neutral` is the mean. So one
    emotional sentence is not lost among neutral ones.
    """
    number = len(shares)
    sums = [math.fsum(one[name] for one in shares) for name in range(len(NAMES))]
    found = [total / (number if name == _NEUTRAL else math.sqrt(number)) for name, total in enumerate(sums)]
    return [value / sum(found) for value in found]
