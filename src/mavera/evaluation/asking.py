"""
Ask the model one question after the other, and save each answer.

Each answer is written to a JSON-lines file at once, so an interrupted evaluation continues at the point
at which it stopped. Each model needs a file of its own.

A yes or no is read by `focus_groups.elicit`, once with A for yes and once with B for yes. The logarithms of
the two odds are averaged. A small model prefers one letter by a constant factor, which then cancels. In an
average of probabilities near 0 and 1, it would drown the difference.
"""

import asyncio
import math
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from mavera.core.items import make_message
from mavera.core.prompt import Sampling
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError
from mavera.focus_groups.asks import Shown
from mavera.focus_groups.elicit import Elicitor, NoLogprobs, StreamTurn, UnusableAnswer, collect_answer
from mavera.focus_groups.readings import Read
from mavera.focus_groups.study import YesNo
from mavera.models.config import DEFAULT_NAME

# A limit for answers that do not end. Few have more than 120.
ANSWER_TOKENS = 240
SEED = 7
# A logarithm. No read counts for more than this.
MOST_ODDS = 30.0
LEAST_SHARE = 1e-4


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
    """
    Asks questions with `stream`, which runs a turn, and reads `answers` first.

    A yes or no is elicited as the studies elicit it.
    """

    def __init__(self, stream: StreamTurn, answers: AnswerFile) -> None:
        self._stream = stream
        self._answers = answers
        self._elicitor = Elicitor(stream, model=DEFAULT_NAME)

    async def ask_open(self, persona_id: str | None, question: str) -> str:
        """Return an answer in words, drawn with a fixed seed. Raises APIError."""
        key = f"open|{persona_id}|{question}"
        if self._answers.get(key) is None:
            turn = Turn(
                model=DEFAULT_NAME,
                items=(make_message("user", question),),
                persona_id=persona_id,
                max_output_tokens=ANSWER_TOKENS,
                # Answers in words are drawn as the model recommends, as those of a caller who sets nothing.
                sampling=Sampling(seed=SEED),
                preferences=frozenset({"max_output_tokens"}),
            )
            text, _, _ = await collect_answer(self._stream, turn)
            self._answers.keep(key, text)
        return str(self._answers.get(key))

    async def ask_yes(self, persona_id: str | None, question: str) -> float:
        """
        Return the probability of yes, as a share of yes and no together.

        An answer that is neither counts as undecided. Raises APIError, and ConfigurationError if the model
        sends no log-probabilities.
        """
        key = f"odds|{persona_id}|{question}"
        if self._answers.get(key) is None:
            self._answers.keep(key, await self._elicit_odds(persona_id, question))
        odds = self._answers.get(key)
        return 1 / (1 + math.exp(-sum(odds) / len(odds)))

    async def _elicit_odds(self, persona_id: str | None, question: str) -> list[float]:
        """Return the logarithm of the odds of yes in each read."""
        shown = Shown(YesNo(id="item", text=question), question, "en")
        try:
            reading = await self._elicitor.elicit(shown, persona_id, "letters")
        except NoLogprobs as error:
            raise ConfigurationError(
                "The model's server sends no log-probabilities. Use --pairs 0 to evaluate without them."
            ) from error
        except UnusableAnswer:
            return [0.0]
        return [_find_odds(read) for read in reading.reads]


def _find_odds(read: Read) -> float:
    if read.kind == "shares":
        yes, no = (math.log(max(share, LEAST_SHARE)) for share in read.shares)
    else:
        yes, no = (read.logprobs[read.order.index(answer)] for answer in (0, 1))
    return max(-MOST_ODDS, min(MOST_ODDS, yes - no))


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
