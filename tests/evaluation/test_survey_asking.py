"""Ask the questions of a survey: position priors, cells that fail, servers without log-probabilities."""

import asyncio
import math
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from mavera.core.events import Event, RunCompleted, TextDelta, TokenLogprob
from mavera.core.items import Message
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import ConfigurationError
from mavera.evaluation.asking import AnswerFile
from mavera.evaluation.survey_asking import SurveyInterviewer, count_steps, simulate
from mavera.evaluation.survey_data import AgeGroup, Item, Survey
from mavera.focus_groups.elicit import Elicitor
from mavera.personas.builtin import PersonaLibrary

ITEM = Item("tea", "How often do you drink tea?", ("Never", "Sometimes", "Often", "Always"), ordered=True)
EMPTY = np.empty(0, dtype=np.int64)
SURVEY = Survey("tea", "en", (ITEM,), np.empty((0, 1), dtype=np.int64), (AgeGroup(18, 200),), EMPTY, EMPTY)
BOOMER = PersonaLibrary.load().find("Boomer")
CAST = {"tea": (BOOMER,)}
LIKED = {"Never": 0.1, "Sometimes": 0.2, "Often": 0.3, "Always": 0.4}


class Habit:
    """A model that likes answers as LIKED says, and prefers the first place by a factor of e²."""

    def __init__(self, mass: float = 1.0, sends_logprobs: bool = True) -> None:
        self.asked = 0
        self._mass = mass
        self._sends_logprobs = sends_logprobs

    async def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        self.asked += 1
        message = turn.items[-1]
        assert isinstance(message, Message)
        lines = [line for line in message.text.splitlines() if line[1:3] == ") "]
        weights = [LIKED.get(line[3:], 1.0) * (math.e**2 if not n else 1) for n, line in enumerate(lines)]
        top = tuple(
            TokenLogprob(line[0], math.log(self._mass * weight / sum(weights)))
            for line, weight in zip(lines, weights, strict=True)
        )
        if not top:
            yield TextDelta("No idea.")
        elif self._sends_logprobs:
            yield TextDelta("A", (TokenLogprob("A", top[0].logprob, top=top),))
        else:
            yield TextDelta("A")
        yield RunCompleted("stop", Usage())


def make_interviewer(model: Habit) -> SurveyInterviewer:
    elicitor = Elicitor(model.run, model="mavera-1")
    return SurveyInterviewer(elicitor, AnswerFile(None), model="habit", method="letters")


def test_the_habit_of_a_place_is_taken_away() -> None:
    model = Habit()
    interviewer = make_interviewer(model)
    steps: list[int] = []
    expected = count_steps(interviewer, [SURVEY], CAST, 8)

    found = asyncio.run(simulate(interviewer, [SURVEY], CAST, lambda: steps.append(1), tasks=8))

    assert found.shares["tea", "tea", None].tolist() == pytest.approx(list(LIKED.values()), abs=1e-5)
    assert found.shares["tea", "tea", BOOMER.id].tolist() == pytest.approx(list(LIKED.values()), abs=1e-5)
    assert len(steps) == expected == 12 * 4 + 2
    assert model.asked == 12 * 4 + 2 * 2


def test_a_cell_without_an_answer_fails_with_its_reason() -> None:
    interviewer = make_interviewer(Habit(mass=0.3))

    found = asyncio.run(simulate(interviewer, [SURVEY], CAST, lambda: None, tasks=8))

    assert found.shares == {}
    assert set(found.failures) == {("tea", "tea", None), ("tea", "tea", BOOMER.id)}
    assert all("JSON" in reason for reason in found.failures.values())


def test_a_server_without_log_probabilities_is_an_error_that_names_the_setting() -> None:
    interviewer = make_interviewer(Habit(sends_logprobs=False))

    with pytest.raises(ConfigurationError, match="MAVERA_UPSTREAM_LOGPROBS=false"):
        asyncio.run(simulate(interviewer, [SURVEY], CAST, lambda: None, tasks=8))
