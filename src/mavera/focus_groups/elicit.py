"""
Ask the model for the reads of a cell. No other module of this package asks a model.

    letters   one token, and the log-probabilities of the letters A to T in its place
    shares    a JSON object: for each answer, how many of 100 people give it
    words     a sentence or two; for a scale, with its similarity to the anchors of each point

If the letters hold less than half of the probability, the model did not choose among them, and the cell is
asked for shares instead.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from mavera.core.events import Event, RunCompleted, RunFailed, TextDelta, TextWasReasoning, TokenLogprob
from mavera.core.items import Image, Message, Part, Text
from mavera.core.prompt import OutputFormat, Sampling
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.focus_groups.asks import LETTERS, Ask, Method, Shown, plan_asks
from mavera.focus_groups.readings import Read, Reading
from mavera.focus_groups.similarity import add_cosines
from mavera.reading.encoder import NoEncoder, SentenceEncoder

StreamTurn = Callable[[Turn], AsyncGenerator[Event, None]]

LIKELIEST = 20
LEAST_MASS = 0.5
WORDS_TOKENS = 160
SHARES_TOKENS = 400
# A letter outside the likeliest tokens counts as this much less likely than the last of them.
UNSEEN = math.log(0.5)
# The logarithm of a probability is cut here, because some engines report -9999 for a token that they exclude.
LEAST_LOGPROB = -30.0


class UnusableAnswer(Exception):
    """The model's answer is not one of the offered answers. The message says why."""


class NoLogprobs(Exception):
    """The model's server sends no log-probabilities, so it has to be asked for shares."""


class Elicitor:
    """
    Asks with `stream`, which runs a turn. `model` is the name of the model in turns.

    `encoder` measures the similarity of sentences to the anchors of scales.
    """

    def __init__(
        self, stream: StreamTurn, *, model: str, seed: int = 0, encoder: SentenceEncoder | None = None
    ) -> None:
        self._stream = stream
        self._model = model
        self._seed = seed
        self._encoder = encoder or SentenceEncoder()

    async def elicit(
        self, shown: Shown, persona_id: str | None, method: Method, images: Sequence[str] = ()
    ) -> Reading:
        """
        Return the readings of one cell.

        Raises UnusableAnswer, NoLogprobs if `method` is letters and the server sends none, and APIError.
        """
        asks = plan_asks(shown, method)
        began = time.perf_counter()
        try:
            reads, usage = await self._read_all(asks, persona_id, images)
        except UnusableAnswer:
            if method == "shares" or not any(ask.kind == "letters" for ask in asks):
                raise
            asks = plan_asks(shown, "shares")
            reads, usage = await self._read_all(asks, persona_id, images)
        if shown.in_own_words:
            reads = await self._measure(shown, reads)
        return Reading(
            reads,
            prompt=asks[0].text,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            milliseconds=round((time.perf_counter() - began) * 1000),
        )

    async def read(
        self, ask: Ask, persona_id: str | None = None, images: Sequence[str] = ()
    ) -> tuple[Read, Usage]:
        """Return one read, and its tokens. Raises UnusableAnswer, NoLogprobs and APIError."""
        match ask.kind:
            case "letters":
                text, tokens, usage = await collect_answer(
                    self._stream, self._letter_turn(ask, persona_id, images)
                )
                return _read_letters(ask, text, tokens), usage
            case "shares":
                text, _, usage = await collect_answer(
                    self._stream, self._shares_turn(ask, persona_id, images)
                )
                return Read("shares", ask.about, ask.order, shares=_read_shares(ask, text)), usage
            case "words":
                text, _, usage = await collect_answer(self._stream, self._words_turn(ask, persona_id, images))
                if not text.strip():
                    raise UnusableAnswer("The model's answer has no words.")
                return Read("words", ask.about, text=text.strip()), usage

    async def _read_all(
        self, asks: Sequence[Ask], persona_id: str | None, images: Sequence[str]
    ) -> tuple[tuple[Read, ...], Usage]:
        reads: list[Read] = []
        total = Usage()
        for ask in asks:
            read, usage = await self.read(ask, persona_id, images)
            reads.append(read)
            total = Usage(
                input_tokens=total.input_tokens + usage.input_tokens,
                output_tokens=total.output_tokens + usage.output_tokens,
            )
        return tuple(reads), total

    async def _measure(self, shown: Shown, reads: Sequence[Read]) -> tuple[Read, ...]:
        """Return the reads with their cosines. Raises UnusableAnswer if the encoder cannot run here."""
        try:
            return await asyncio.to_thread(add_cosines, self._encoder, shown, reads)
        except NoEncoder as error:
            raise UnusableAnswer(str(error)) from error

    def _turn(self, ask: Ask, persona_id: str | None, images: Sequence[str], **more: Any) -> Turn:
        parts: tuple[Part, ...] = (*map(Image, images), Text(ask.text))
        return Turn(
            model=self._model,
            items=(Message("user", parts),),
            persona_id=persona_id,
            speaks_for_nobody=persona_id is None,
            operation="focus_groups",
            **more,
        )

    def _letter_turn(self, ask: Ask, persona_id: str | None, images: Sequence[str]) -> Turn:
        return self._turn(
            ask,
            persona_id,
            images,
            max_output_tokens=1,
            sampling=Sampling(temperature=0.0, seed=self._seed),
            top_logprobs=LIKELIEST,
            preferences=frozenset({"temperature", "max_output_tokens"}),
        )

    def _shares_turn(self, ask: Ask, persona_id: str | None, images: Sequence[str]) -> Turn:
        names = [f"answer_{place + 1}" for place in range(len(ask.order))]
        number = {"type": "integer", "minimum": 0, "maximum": 100}
        schema = {
            "type": "object",
            "properties": dict.fromkeys(names, number),
            "required": names,
            "additionalProperties": False,
        }
        return self._turn(
            ask,
            persona_id,
            images,
            max_output_tokens=SHARES_TOKENS,
            sampling=Sampling(temperature=0.0, seed=self._seed),
            format=OutputFormat("json_schema", "shares", schema=schema, strict=True),
            preferences=frozenset({"temperature"}),
        )

    def _words_turn(self, ask: Ask, persona_id: str | None, images: Sequence[str]) -> Turn:
        return self._turn(
            ask,
            persona_id,
            images,
            max_output_tokens=WORDS_TOKENS,
            sampling=Sampling(seed=self._seed + int(ask.about or 0)),
        )


async def collect_answer(stream: StreamTurn, turn: Turn) -> tuple[str, list[TokenLogprob], Usage]:
    """Run `turn`, and return its text, the log-probabilities of its tokens and its usage. Raises APIError."""
    pieces: list[str] = []
    tokens: list[TokenLogprob] = []
    usage = Usage()
    async with aclosing(stream(turn)) as events:
        async for event in events:
            match event:
                case TextDelta(text, logprobs):
                    pieces.append(text)
                    tokens += logprobs
                case TextWasReasoning():
                    pieces.clear()
                    tokens.clear()
                case RunFailed(error):
                    raise error
                case RunCompleted(_, spent):
                    usage = spent
    return "".join(pieces), tokens, usage


def _read_letters(ask: Ask, text: str, tokens: Sequence[TokenLogprob]) -> Read:
    if not tokens:
        raise NoLogprobs(f"The model answered {text[:20]!r} without log-probabilities.")
    top = tokens[0].top or (tokens[0],)
    letters = LETTERS[: len(ask.order)]
    found: dict[str, float] = {}
    for token in top:
        # " A", "A" and "A)" are three tokens for one letter.
        letter = token.token.strip().rstrip(").:").upper()
        if len(letter) == 1 and letter in letters:
            found[letter] = float(_add_logs(found.get(letter), max(token.logprob, LEAST_LOGPROB)))
    mass = sum(math.exp(logprob) for logprob in found.values())
    if mass < LEAST_MASS:
        raise UnusableAnswer(f"The letters have only {mass:.0%} of the probability.")
    unseen = max(LEAST_LOGPROB, min(token.logprob for token in top) + UNSEEN)
    logprobs = tuple(found.get(letter, unseen) for letter in letters)
    return Read("letters", ask.about, ask.order, logprobs, round(min(1.0, mass), 6))


def _add_logs(first: float | None, second: float) -> float:
    if first is None:
        return second
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high))


def _read_shares(ask: Ask, text: str) -> tuple[float, ...]:
    """Return the share of each answer, in the order of the answers and not of their places."""
    try:
        said = msgspec.json.decode(text, type=dict[str, float])
    except msgspec.DecodeError as error:
        raise UnusableAnswer("The model's shares are not a JSON object of numbers.") from error
    shares = [0.0] * len(ask.order)
    for place, number in enumerate(ask.order):
        shares[number] = max(0.0, said.get(f"answer_{place + 1}", 0.0))
    total = sum(shares)
    if not math.isfinite(total) or total <= 0:
        raise UnusableAnswer("The model's shares add up to 0.")
    return tuple(share / total for share in shares)
