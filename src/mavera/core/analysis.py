"""
The analysis of one answer: the object that is sent as `analysis`, in both wire formats.

docs/reference/analysis.md defines every number. The classes are structs, so /openapi.json describes exactly
the objects that are sent.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Scale = Annotated[float, Meta(ge=1, le=10)]

EmotionName = Literal["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]

Verdict = Literal["yes", "no", "depends", "none"]
Evidence = Literal["logprobs", "logprobs+agreement", "none"]
# The parts of a text, and the manners of speaking, that the numbers leave out.
Limit = Literal["sarcasm", "code", "data", "repetition", "other_language", "short_text", "emoji", "long_text"]
FailureCode = Literal["nothing_to_analyse", "analysis_failed"]


class RawEmotion(msgspec.Struct, frozen=True, kw_only=True):
    """The mean rating of the sentences, from 1 to 5, before it is compared with the population."""

    emotional_valence: float
    arousal: float
    dominance: float


class Emotion(msgspec.Struct, frozen=True, kw_only=True):
    """
    The emotion that readers find in the answer, compared with the population that `method` names.

    5.5 is neutral on each scale. `probabilities` has one value for each emotion, and `primary_emotion` is the
    most probable one.
    """

    emotional_valence: Scale
    arousal: Scale
    dominance: Scale
    primary_emotion: EmotionName
    probabilities: dict[EmotionName, float]
    raw: RawEmotion


class Stance(msgspec.Struct, frozen=True, kw_only=True):
    """
    How far the answer says yes to what was asked.

    `score` runs from -1, a firm no, to 1, a firm yes, and never has the opposite sign of `verdict`.
    `distribution` has the shares of five points: a firm no, no, in between, yes, a firm yes. `mixed` says
    that one part of the answer speaks for it and another part against it. `evidence` is the sentence that
    the verdict rests on, and `sentence` is its number, counted from 0. Both are null if there is none.
    """

    verdict: Verdict
    score: Annotated[float, Meta(ge=-1, le=1)]
    distribution: Annotated[list[float], Meta(min_length=5, max_length=5)]
    mixed: bool
    evidence: str | None = None
    sentence: int | None = None


class Bias(msgspec.Struct, frozen=True, kw_only=True):
    """
    A cognitive bias that the answer shows.

    `probability` is the calibrated probability that the report is right, in texts of which one in five shows
    a bias. `evidence` contains exact quotations of the answer.
    """

    name: str
    description: str
    probability: Annotated[float, Meta(ge=0, le=1)]
    evidence: list[str]


class InsightSource(msgspec.Struct, frozen=True, kw_only=True):
    """The sentences, counted from 0, that support the insight with the same index."""

    sentences: list[int]


class NewsRelevance(msgspec.Struct, frozen=True, kw_only=True):
    score: Scale
    topics: list[str]
    time_sensitive: bool


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """
    The method behind the numbers. Analyses with the same versions can be compared.

    `confidence` and `biases` name the evidence: the log-probabilities of the answer's tokens, and
    whether a model was asked about each suspicion. `biases` is "none" if nothing could be read. `stance`
    names the readers of the verdict, and is null if there is no stance. `population` is the version of the
    answers that the scales of `emotion` compare with. `sentences` counts the sentences that were read.
    `limits` names the parts of this text that were not read.
    """

    version: str
    emotion: str
    population: str
    confidence: Evidence
    biases: Literal["classifier+probes", "classifier", "none"]
    stance: Literal["reader", "reader+model"] | None = None
    sentences: int
    limits: list[Limit]
    added_tokens: int = 0


class AnalysisFailure(msgspec.Struct, frozen=True, kw_only=True):
    code: FailureCode
    message: str


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """
    Numbers about one answer. The same answer always has the same analysis.

    `confidence` estimates how likely the answer is right, and `expressed_certainty` rates how certain its
    words sound. If `error` is set, all but `method` is empty and the analysis was not charged. `confidence`
    is null if the model gives no log-probabilities, `emotion` and `expressed_certainty` if no sentence is
    English prose, and `stance` if the question does not ask for yes or no.
    """

    confidence: Scale | None = None
    expressed_certainty: Scale | None = None
    emotion: Emotion | None = None
    stance: Stance | None = None
    biases: list[Bias] = []
    key_insights: list[str] = []
    insight_sources: list[InsightSource] = []
    news_relevance: NewsRelevance | None = None
    method: Method | None = None
    error: AnalysisFailure | None = None
