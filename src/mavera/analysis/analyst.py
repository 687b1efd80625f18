"""
Analyse one answer: first everything that needs no language model, then the probes, within a time limit.

    answer → sentences → emotion (in a thread) · insights · news · suspects
           → probes of the suspects (and short samples at high effort) → Analysis

An analysis never fails the answer: any error becomes the analysis' own `error`. Only the short samples
are random, and their seeds follow from the answer.
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
from mavera.analysis.emotion import MAX_SENTENCES, VERSION, EmotionModel, read_emotion
from mavera.core.analysis import (
    Analysis,
    AnalysisFailure,
    Emotion,
    Evidence,
    FailureCode,
    InsightSource,
    Method,
)
from mavera.core.events import RunCompleted, TextDelta, TextWasReasoning
from mavera.core.items import Message
from mavera.core.prompt import Prompt, Sampling, ToolChoice
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.models.model import Model
from mavera.reading.sentences import Sentence, split_sentences

log = structlog.get_logger()

METHOD_VERSION = "2"
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


class Analyst:
    """Analyses answers with one emotion model, which it loads when it is first needed."""

    def __init__(self) -> None:
        self._emotion: EmotionModel | None = None
        self._loading = threading.Lock()

    def start_reading(self) -> ReadAhead:
        """Return a reader to feed with the pieces of an answer that will be analysed at its end."""
        return ReadAhead(lambda sentences: self._emotions().rate([one.text for one in sentences]))

    async def analyse(self, model: Model | None, answered: AnsweredPrompt) -> AnalysisResult:
        """
        Return the analysis, or one with `error` set if it failed.

        Without a `model`, nothing is asked of one: the biases are those of the cues.
        """
        sentences = split_sentences(answered.text)
        if not sentences:
            return _report_failure("nothing_to_analyse", "The answer has no sentence to analyse.")
        try:
            async with asyncio.timeout(SECONDS):
                return await self._analyse(model, answered, sentences)
        except TimeoutError:
            return _report_failure("analysis_failed", f"The analysis took longer than {SECONDS:.0f} seconds.")
        except APIError as error:
            return _report_failure("analysis_failed", error.message)
        except Exception as error:
            # An error of concurrent probes arrives as a group. Either way the answer stands.
            log.exception("analysis failed", error=type(error).__name__)
            return _report_failure("analysis_failed", "Something went wrong while analysing.")

    async def _analyse(
        self, model: Model | None, answered: AnsweredPrompt, sentences: list[Sentence]
    ) -> AnalysisResult:
        asked = _question(answered.prompt)
        emotion, found, version = await asyncio.to_thread(self._read, sentences, asked)
        relevance = news.score_news(asked, answered.text)
        suspected = biases.find_suspects(sentences)[: biases.MAX_SUSPECTS]
        replies: list[probes.Reply] = []
        if model is not None and suspected and len(answered.text) <= MAX_PROBED_CHARACTERS:
            questions = [biases.build_question(one, sentences) for one in suspected[: biases.MAX_PROBES]]
            replies = await probes.ask_probes(model, answered.prompt, answered.text, questions)
        logits = [reply.logit for reply in replies] + [None] * (len(suspected) - len(replies))
        agreement, sampled = None, Usage()
        if model is not None:
            agreement, sampled = await _measure_agreement(model, answered)
        usage = sum((reply.usage for reply in replies), sampled)
        made = Analysis(
            confidence=confidence.estimate_confidence(answered.logprobs, agreement),
            emotion=emotion,
            biases=biases.report_biases(zip(suspected, logits, strict=True), sentences),
            key_insights=[text for text, _ in found],
            insight_sources=[InsightSource(sentences=numbers) for _, numbers in found],
            news_relevance=relevance,
            method=Method(
                version=METHOD_VERSION,
                emotion=version,
                confidence=_evidence(answered.logprobs, agreement),
                biases="cues+probes" if any(logit is not None for logit in logits) else "cues",
                sentences=min(len(sentences), MAX_SENTENCES),
                added_tokens=usage.total_tokens,
            ),
        )
        return AnalysisResult(made, usage)

    def _read(
        self, sentences: list[Sentence], question: str
    ) -> tuple[Emotion, list[tuple[str, list[int]]], str]:
        """Do the part that takes processor time and no language model. It runs in a thread."""
        return read_emotion(self._emotions(), sentences), insights.pick_insights(sentences, question), VERSION

    def _emotions(self) -> EmotionModel:
        with self._loading:
            if self._emotion is None:
                self._emotion = EmotionModel.load()
            return self._emotion


def _evidence(logprobs: Sequence[float], agreement: float | None) -> Evidence:
    if not logprobs:
        return "none"
    return "logprobs" if agreement is None else "logprobs+agreement"


def _report_failure(code: FailureCode, message: str) -> AnalysisResult:
    return AnalysisResult(Analysis(error=AnalysisFailure(code=code, message=message)))


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
        text, spent = await _draw_sample(model, sample)
        usage += spent
        shares.append(_measure_overlap(text, answered.text))
    return math.fsum(shares) / len(shares), usage


async def _draw_sample(model: Model, prompt: Prompt) -> tuple[str, Usage]:
    pieces, usage = [], Usage()
    async with aclosing(model.stream(prompt)) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    pieces.append(text)
                case TextWasReasoning():
                    pieces.clear()
                case RunCompleted(_, spent):
                    usage = spent
                case _:
                    pass
    return "".join(pieces), usage


def _measure_overlap(sample: str, answer: str) -> float:
    words = insights.find_words(sample)
    return len(words & insights.find_words(answer)) / len(words) if words else 0.0
