"""
Analyse one answer: first everything that needs no language model, then the probes, within a time limit.

    answer → in a thread: sentences → limits · emotion · agreement · insights · news · suspects
           → probes of the suspects, the model's verdict if the reader is unsure (and short samples at high
             effort) → Analysis

An analysis never fails the answer: any error becomes the analysis' own `error`. Only the short samples
are random, and their seeds follow from the answer.
"""

import asyncio
import dataclasses
import math
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from msgspec.structs import replace

from mavera.accounts.credits.pricing import HARD_EFFORTS
from mavera.analysis import biases, certainty, confidence, insights, limits, probes, stances
from mavera.analysis.ahead import ReadAhead
from mavera.analysis.bias_classifier import BiasClassifier
from mavera.analysis.emojis import find_emojis
from mavera.analysis.emotion import (
    MAX_SENTENCES,
    VERSION,
    EmotionModel,
    pick_spread,
    rate_sentences,
    read_emotion,
)
from mavera.analysis.news import NewsReader
from mavera.analysis.population import load_population
from mavera.core.analysis import (
    Analysis,
    AnalysisFailure,
    Emotion,
    Evidence,
    FailureCode,
    InsightSource,
    Limit,
    Method,
    NewsRelevance,
)
from mavera.core.items import Message
from mavera.core.prompt import Prompt, Sampling, ToolChoice
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.models.collecting import collect_text
from mavera.models.model import Model
from mavera.reading.agreement import Agreement, asks_for_agreement, measure_agreement
from mavera.reading.encoder import NoEncoder, SentenceEncoder
from mavera.reading.prose import pick_prose
from mavera.reading.sentences import Sentence, split_sentences
from mavera.reading.verdict import VerdictReader

log = structlog.get_logger()

T = TypeVar("T")

METHOD_VERSION = "6"
SECONDS = 60.0
SAMPLES = 2
SAMPLE_TOKENS = 48
# A probe repeats the answer if the cache does not have it. For a longer answer the probe would cost too much.
MAX_PROBED_CHARACTERS = 12_000


@dataclass(frozen=True, slots=True)
class AnsweredPrompt:
    """A prompt and the answer to it. `logprobs` is empty if the model sent none."""

    prompt: Prompt
    text: str
    logprobs: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """An analysis. `usage` is the model's usage for the analysis, without the answer."""

    analysis: Analysis
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The part of an analysis that needs no language model."""

    sentences: list[Sentence]
    prose: list[Sentence]
    limits: list[Limit]
    emotion: Emotion | None = None
    agreement: Agreement | None = None
    certainty: float | None = None
    insights: list[tuple[str, list[int]]] = field(default_factory=list)
    news: NewsRelevance | None = None
    suspects: list[biases.Suspect] | None = None
    asked_model: bool = False


class Analyst:
    """Analyses answers with one emotion model and one encoder. Each is loaded when it is first needed."""

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        self._encoder = encoder or SentenceEncoder()
        self._verdicts = VerdictReader(self._encoder)
        self._biases = BiasClassifier(self._encoder)
        self._news = NewsReader(self._encoder)
        self._emotion: EmotionModel | None = None
        self._loading = threading.Lock()

    def start_reading(self) -> ReadAhead:
        """Return a reader to feed with the pieces of an answer that will be analysed at its end."""
        return ReadAhead(lambda sentences: rate_sentences(self._emotions(), sentences))

    async def analyse(self, model: Model | None, answered: AnsweredPrompt) -> AnalysisResult:
        """
        Return the analysis, or one with `error` set if it failed.

        Without a `model`, nothing is asked of one: the biases are those of the classifier.
        """
        try:
            async with asyncio.timeout(SECONDS):
                reading = await asyncio.to_thread(self._read, answered)
                if not reading.prose and reading.emotion is None:
                    return _report_failure("nothing_to_analyse", "There is no sentence to analyse.", reading)
                spent = Usage()
                if model is not None and reading.agreement is not None:
                    reading, spent = await self._read_again(model, answered, reading, reading.agreement)
                return await _complete(model, answered, _drop_unread_stance(reading), spent)
        except TimeoutError:
            return _report_failure("analysis_failed", f"The analysis took longer than {SECONDS:.0f} seconds.")
        except APIError as error:
            return _report_failure("analysis_failed", error.message)
        except Exception as error:
            # An error of concurrent probes arrives as a group. Either way the answer stands.
            log.exception("analysis failed", error=type(error).__name__)
            return _report_failure("analysis_failed", "Something went wrong while analysing.")

    def _read(self, answered: AnsweredPrompt) -> _Reading:
        """Do the part that takes processor time and no language model. It runs in a thread."""
        sentences = split_sentences(answered.text)
        found = limits.list_limits(answered.text, sentences)
        prose = pick_prose(sentences)
        emojis = find_emojis(answered.text)
        if not prose:
            return _Reading([], [], found, read_emotion(self._emotions(), [], emojis) if emojis else None)
        asked = _question(answered.prompt)
        english = limits.pick_english_prose(sentences)
        return _Reading(
            sentences,
            prose,
            found,
            read_emotion(self._emotions(), english, emojis) if english else None,
            self._with_encoder(lambda: self._measure_agreement(asked, answered.text)),
            certainty.rate_certainty(english),
            self._pick_insights(sentences, prose, asked),
            self._with_encoder(lambda: self._news.rate(asked, answered.text)),
            self._with_encoder(lambda: biases.find_suspects(english, self._biases)),
        )

    def _with_encoder(self, read: Callable[[], T]) -> T | None:
        """Return None if there is no encoder here."""
        try:
            return read()
        except NoEncoder as error:
            log.warning("encoder_missing", reason=str(error))
            return None

    def _measure_agreement(self, asked: str, text: str) -> Agreement | None:
        """Return None if the question does not ask for agreement."""
        if not asks_for_agreement(asked):
            return None
        return measure_agreement(self._encoder, self._verdicts, asked, text)

    def _pick_insights(
        self, sentences: Sequence[Sentence], prose: Sequence[Sentence], asked: str
    ) -> list[tuple[str, list[int]]]:
        """Pick among evenly spread sentences of the prose, because each vector takes some 10 ms."""
        spread = pick_spread(prose, MAX_SENTENCES)
        vectors = self._with_encoder(lambda: self._encoder.embed([one.text for one in spread]))
        numbers = {one.start: number for number, one in enumerate(sentences)}
        return [
            (text, [numbers[spread[number].start] for number in chosen])
            for text, chosen in insights.pick_insights(spread, asked, vectors)
        ]

    async def _read_again(
        self, model: Model, answered: AnsweredPrompt, reading: _Reading, agreement: Agreement
    ) -> tuple[_Reading, Usage]:
        """Let the model read the verdict too if the reader is unsure."""
        asked = _question(answered.prompt)
        verdict, usage = await stances.read_again(model, asked, answered.text, agreement.verdict)
        if verdict is not agreement.verdict:
            agreement = await asyncio.to_thread(
                measure_agreement, self._encoder, self._verdicts, asked, answered.text, verdict
            )
            reading = dataclasses.replace(reading, agreement=agreement, asked_model=True)
        return reading, usage

    def _emotions(self) -> EmotionModel:
        with self._loading:
            if self._emotion is None:
                self._emotion = EmotionModel(self._encoder)
            return self._emotion


async def _complete(
    model: Model | None, answered: AnsweredPrompt, reading: _Reading, spent: Usage
) -> AnalysisResult:
    """Ask the `model`, if there is one, and make the analysis. `spent` is what it has used for it already."""
    suspected = reading.suspects or []
    replies: list[probes.Reply] = []
    if model is not None and suspected and len(answered.text) <= MAX_PROBED_CHARACTERS:
        questions = [biases.build_question(one) for one in suspected[: biases.MAX_PROBES]]
        replies = await probes.ask_probes(model, answered.prompt, answered.text, questions)
    logits = [reply.logit for reply in replies] + [None] * (len(suspected) - len(replies))
    agreement, sampled = None, Usage()
    if model is not None:
        agreement, sampled = await _measure_agreement(model, answered)
    usage = sum((reply.usage for reply in replies), sampled + spent)
    made = Analysis(
        confidence=confidence.estimate_confidence(
            answered.logprobs, answered.prompt.sampling.temperature, agreement
        ),
        expressed_certainty=reading.certainty,
        emotion=reading.emotion,
        stance=stances.to_stance(reading.agreement, reading.sentences) if reading.agreement else None,
        biases=biases.report_biases(zip(suspected, logits, strict=True)),
        key_insights=[text for text, _ in reading.insights],
        insight_sources=[InsightSource(sentences=numbers) for _, numbers in reading.insights],
        news_relevance=reading.news,
        method=_describe_method(
            reading,
            evidence=_evidence(answered.logprobs, agreement),
            is_probed=any(logit is not None for logit in logits),
            added_tokens=usage.total_tokens,
        ),
    )
    return AnalysisResult(made, usage)


def _drop_unread_stance(reading: _Reading) -> _Reading:
    """Leave the stance out if the reader does not know the language and no model has read the answer."""
    if reading.agreement is None or reading.agreement.verdict.is_read or reading.asked_model:
        return reading
    return dataclasses.replace(reading, agreement=None)


def _describe_method(
    reading: _Reading, *, evidence: Evidence = "none", is_probed: bool = False, added_tokens: int = 0
) -> Method:
    return Method(
        version=METHOD_VERSION,
        emotion=VERSION,
        population=load_population().version,
        confidence=evidence,
        biases="none" if reading.suspects is None else "classifier+probes" if is_probed else "classifier",
        stance=None if reading.agreement is None else "reader+model" if reading.asked_model else "reader",
        sentences=min(len(reading.prose), MAX_SENTENCES),
        limits=reading.limits,
        added_tokens=added_tokens,
    )


def _evidence(logprobs: Sequence[float], agreement: float | None) -> Evidence:
    if not logprobs:
        return "none"
    return "logprobs" if agreement is None else "logprobs+agreement"


def _report_failure(code: FailureCode, message: str, reading: _Reading | None = None) -> AnalysisResult:
    method = _describe_method(reading) if reading is not None else None
    return AnalysisResult(Analysis(method=method, error=AnalysisFailure(code=code, message=message)))


def _question(prompt: Prompt) -> str:
    asked = [item.text for item in prompt.items if isinstance(item, Message) and item.role == "user"]
    return asked[-1] if asked else ""


async def _measure_agreement(model: Model, answered: AnsweredPrompt) -> tuple[float | None, Usage]:
    """Return the share (0–1) of the answer's rare words that short samples repeat. None below high effort."""
    if answered.prompt.reasoning_effort not in HARD_EFFORTS or not answered.logprobs:
        return None, Usage()
    seed = zlib.crc32(answered.text.encode())
    shares, usage = [], Usage()
    for number in range(SAMPLES):
        sample = replace(
            answered.prompt,
            max_output_tokens=SAMPLE_TOKENS,
            sampling=Sampling(temperature=0.7, seed=(seed + number) % 2**31),
            tools=(),
            tool_choice=ToolChoice(),
            top_logprobs=None,
            preferences=answered.prompt.preferences | {"temperature", "max_output_tokens"},
        )
        text, spent = await collect_text(model.stream(sample))
        usage += spent
        shares.append(_measure_overlap(text, answered.text))
    return math.fsum(shares) / len(shares), usage


def _measure_overlap(sample: str, answer: str) -> float:
    words = insights.find_words(sample)
    return len(words & insights.find_words(answer)) / len(words) if words else 0.0
