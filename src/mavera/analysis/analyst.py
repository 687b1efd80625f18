"""
Make the analysis of one answer: everything that needs no model, then the probes, all bounded.

    answer → sentences → emotion (in a thread) · insights · news · suspects
           → probes of the suspects (and short samples at high effort) → Analysis

It never fails the answer: whatever goes wrong becomes the analysis' own `error`. Nothing is
drawn at random but the short samples, whose seeds follow from the answer.
"""

import asyncio
import math
import threading
import zlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from mavera.accounts.credits.pricing import HARD_EFFORTS
from mavera.analysis import biases, confidence, insights, news, probes
from mavera.analysis.ahead import ReadAhead
from mavera.analysis.emotion import MAX_SENTENCES, VERSION, EmotionModel, emotion_of
from mavera.analysis.sentences import Sentence, split
from mavera.core.analysis import (
    Analysis,
    AnalysisFailure,
    Emotion,
    Evidence,
    FailureCode,
    InsightSource,
    Method,
)
from mavera.core.events import RunCompleted, TextDelta
from mavera.core.items import Message
from mavera.core.prompt import Prompt, Sampling, ToolChoice
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.models.model import Model

log = structlog.get_logger()

METHOD_VERSION = "2"
SECONDS = 60.0
SAMPLES = 2
SAMPLE_TOKENS = 48
# A probe repeats the answer where the cache does not have it; a longer one would cost more than it.
MAX_PROBED_CHARACTERS = 12_000


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the answer to it; `logprobs` is empty if the model told none."""

    prompt: Prompt
    text: str
    logprobs: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Analysed:
    """`usage` is what the model spent on it, beside the answer."""

    analysis: Analysis
    usage: Usage = field(default_factory=Usage)


class Analyst:
    """Keeps the emotion model, read when first needed."""

    def __init__(self) -> None:
        self._emotion: EmotionModel | None = None
        self._loading = threading.Lock()

    def ahead(self) -> ReadAhead:
        """Return what is to hear an answer, piece by piece, that will be analysed when it has ended."""
        return ReadAhead(lambda sentences: self._emotions().rate([one.text for one in sentences]))

    async def analyse(self, model: Model, answered: Answered) -> Analysed:
        """Return the analysis, with `error` set where there is none."""
        sentences = split(answered.text)
        if not sentences:
            return _failed("nothing_to_analyse", "The answer has no sentence to analyse.")
        try:
            async with asyncio.timeout(SECONDS):
                return await self._analyse(model, answered, sentences)
        except TimeoutError:
            return _failed("analysis_failed", f"The analysis took longer than {SECONDS:.0f} seconds.")
        except APIError as error:
            return _failed("analysis_failed", error.message)
        except Exception as error:
            # One failure of several probes at once arrives as a group; either way the answer stands.
            log.exception("analysis failed", error=type(error).__name__)
            return _failed("analysis_failed", "Something went wrong while analysing.")

    async def _analyse(self, model: Model, answered: Answered, sentences: list[Sentence]) -> Analysed:
        asked = _question(answered.prompt)
        emotion, found, told = await asyncio.to_thread(self._read, sentences, asked)
        relevance = news.news_relevance(asked, answered.text)
        suspected = biases.suspects(sentences)[: biases.MAX_SUSPECTS]
        replies: list[probes.Reply] = []
        if suspected and len(answered.text) <= MAX_PROBED_CHARACTERS:
            questions = [biases.question(one, sentences) for one in suspected[: biases.MAX_PROBES]]
            replies = await probes.ask(model, answered.prompt, answered.text, questions)
        logits = [reply.logit for reply in replies] + [None] * (len(suspected) - len(replies))
        agreement, sampled = await _agreement(model, answered)
        usage = sum((reply.usage for reply in replies), sampled)
        made = Analysis(
            confidence=confidence.confidence_of(answered.logprobs, agreement),
            emotion=emotion,
            biases=biases.report(zip(suspected, logits, strict=True), sentences),
            key_insights=[text for text, _ in found],
            insight_sources=[InsightSource(sentences=numbers) for _, numbers in found],
            news_relevance=relevance,
            method=Method(
                version=METHOD_VERSION,
                emotion=told,
                confidence=_evidence(answered.logprobs, agreement),
                biases="cues+probes" if any(logit is not None for logit in logits) else "cues",
                sentences=min(len(sentences), MAX_SENTENCES),
                added_tokens=usage.total_tokens,
            ),
        )
        return Analysed(made, usage)

    def _read(
        self, sentences: list[Sentence], question: str
    ) -> tuple[Emotion, list[tuple[str, list[int]]], str]:
        """What takes processor time and no model of language: off the event loop."""
        return emotion_of(self._emotions(), sentences), insights.insights(sentences, question), VERSION

    def _emotions(self) -> EmotionModel:
        with self._loading:
            if self._emotion is None:
                self._emotion = EmotionModel.load()
            return self._emotion


def _evidence(logprobs: Sequence[float], agreement: float | None) -> Evidence:
    if not logprobs:
        return "none"
    return "logprobs" if agreement is None else "logprobs+agreement"


def _failed(code: FailureCode, message: str) -> Analysed:
    return Analysed(Analysis(error=AnalysisFailure(code=code, message=message)))


def _question(prompt: Prompt) -> str:
    asked = [item.text for item in prompt.items if isinstance(item, Message) and item.role == "user"]
    return asked[-1] if asked else ""


async def _agreement(model: Model, answered: Answered) -> tuple[float | None, Usage]:
    """At high effort only: the share of the answer's rare words that short samples say too, 0–1."""
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
        )
        said, spent = await _say(model, sample)
        usage += spent
        shares.append(_shared(said, answered.text))
    return math.fsum(shares) / len(shares), usage


async def _say(model: Model, prompt: Prompt) -> tuple[str, Usage]:
    said, usage = [], Usage()
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    said.append(text)
                case RunCompleted(_, spent):
                    usage = spent
                case _:
                    pass
    return "".join(said), usage


def _shared(sample: str, answer: str) -> float:
    words = insights.words(sample)
    return len(words & insights.words(answer)) / len(words) if words else 0.0
