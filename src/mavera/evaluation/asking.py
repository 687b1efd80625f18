"""
Ask the model one question after the other, and save each answer.

Each answer is written to a JSON-lines file at once, so an interrupted evaluation continues at the point
at which it stopped. Each model needs a file of its own.

A yes or no is read from the log-probabilities of the letters A and B, once with A for yes and once with
B for yes. The logarithms of the two odds are averaged. A small model prefers one letter by a constant
factor, which then cancels. In an average of probabilities near 0 and 1, it would drown the difference.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from mavera.core.events import Event, RunCompleted, RunFailed, TextDelta, TextWasReasoning, TokenLogprob
from mavera.core.items import make_message
from mavera.core.prompt import Sampling
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError

StreamTurn = Callable[[Turn], AsyncGenerator[Event, None]]

# A limit for answers that do not end. Few have more than 120.
ANSWER_TOKENS = 240
LIKELIEST = 20
LETTERS = ("A", "B")
# A logarithm. Some engines report -9999 for a token that they exclude.
MOST_ODDS = 30.0


class AnswerFile:
    """The file of answers. If `path` is None, the answers are in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path is not None and path.exists():
            self._known = dict(_lines(path))
            _cut_last_line(path)

    def get(self, key: str) -> Any:
        return self._known.get(key)

    def keep(self, key: str, value: Any) -> None:
        self._known[key] = value
        if self._path is not None:
            try:
                with self._path.open("ab") as file:
                    file.write(msgspec.json.encode([key, value]) + b"\n")
            except OSError as error:
                raise ConfigurationError(f"{self._path} cannot be written: {error.strerror}.") from error


def _lines(path: Path) -> list[tuple[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    try:
        # The last line has no end if the process was killed while it wrote.
        return [msgspec.json.decode(line, type=tuple[str, Any]) for line in lines[:-1] if line]
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is not a file of answers: {error}") from error


def _cut_last_line(path: Path) -> None:
    """Remove a line without an end, so that the next answer does not continue it."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        try:
            path.write_bytes(data[: data.rfind(b"\n") + 1])
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error


class Interviewer:
    """Asks questions with `stream`, which runs a turn, and reads `answers` first."""

    def __init__(self, stream: StreamTurn, answers: AnswerFile) -> None:
        self._stream = stream
        self._answers = answers

    async def ask_open(self, persona_id: str | None, question: str) -> str:
        """Return an answer in words, drawn with a fixed seed. Raises APIError."""
        key = f"open|{persona_id}|{question}"
        if self._answers.get(key) is None:
            turn = _turn(persona_id, question, ANSWER_TOKENS)
            text, _ = await self._ask(turn)
            self._answers.keep(key, text)
        return str(self._answers.get(key))

    async def ask_yes(self, persona_id: str | None, question: str) -> float:
        """
        Return the probability of yes, as a share of yes and no together.

        Raises APIError, and ConfigurationError if the model sends no log-probabilities.
        """
        key = f"odds|{persona_id}|{question}"
        if self._answers.get(key) is None:
            self._answers.keep(key, [await self._log_odds(persona_id, question, yes) for yes in LETTERS])
        odds = self._answers.get(key)
        return 1 / (1 + math.exp(-sum(odds) / len(odds)))

    async def _log_odds(self, persona_id: str | None, question: str, yes: str) -> float:
        """Return the logarithm of the odds of yes. The letter `yes` stands for it."""
        first, second = ("Yes", "No") if yes == LETTERS[0] else ("No", "Yes")
        asked = f"{question}\nA) {first}\nB) {second}\nAnswer with the letter alone."
        text, tokens = await self._ask(_turn(persona_id, asked, 1))
        if text and not tokens:
            raise ConfigurationError(
                "The model's server sends no log-probabilities. Use --pairs 0 to evaluate without them."
            )
        top = tokens[0].top if tokens else ()
        # A letter that is not among the likeliest is at most as likely as the last of them.
        logs = dict.fromkeys(LETTERS, min((token.logprob for token in top), default=0.0))
        for token in top:
            letter = token.token.strip().strip(")").upper()
            if letter in logs:
                logs[letter] = max(logs[letter], token.logprob)
        odds = 2 * logs[yes] - sum(logs.values())
        return max(-MOST_ODDS, min(MOST_ODDS, odds))

    async def _ask(self, turn: Turn) -> tuple[str, list[TokenLogprob]]:
        pieces: list[str] = []
        tokens: list[TokenLogprob] = []
        async with aclosing(self._stream(turn)) as events:
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
                    case RunCompleted():
                        break
        return "".join(pieces), tokens


def _turn(persona_id: str | None, question: str, most_tokens: int) -> Turn:
    letter = most_tokens == 1
    return Turn(
        model="mavera-1",
        items=(make_message("user", question),),
        persona_id=persona_id,
        max_output_tokens=most_tokens,
        # Answers in words are drawn as the model recommends, as those of a caller who sets nothing.
        sampling=Sampling(temperature=0.0 if letter else None, seed=7),
        top_logprobs=LIKELIEST if letter else None,
        preferences=frozenset({"temperature", "max_output_tokens"} if letter else {"max_output_tokens"}),
    )


async def run_at_once(jobs: Iterable[Coroutine[Any, Any, None]], at_once: int) -> None:
    """Do every job, `at_once` at a time. The first failure ends the others."""
    waiting = iter(list(jobs))

    async def work() -> None:
        for job in waiting:
            await job

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        for job in waiting:
            job.close()
