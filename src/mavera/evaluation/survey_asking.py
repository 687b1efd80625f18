"""
Ask a model the questions of surveys, with the elicitation of studies.

    position priors that are not known → each persona, then nobody: its items → Simulation

Every reading is written to the file of answers at once, so an interrupted evaluation goes on where it
stopped. The key of a reading is a hash of everything that shapes it: model, elicitation, persona and texts.
A cell that the model did not answer is not written. It is in no figure, and the next run asks for it again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from mavera.errors import ConfigurationError
from mavera.evaluation.asking import AnswerFile, run_at_once
from mavera.evaluation.survey_choices import ChoiceSurvey, draw_tasks
from mavera.evaluation.survey_data import Item, Survey
from mavera.evaluation.survey_measures import Floats
from mavera.focus_groups.asks import MOST_LETTERS, Ask, Method, Shown, plan_asks
from mavera.focus_groups.elicit import Elicitor, NoLogprobs, UnusableAnswer
from mavera.focus_groups.elicited import CellId
from mavera.focus_groups.positions import compute_prior, count_prior_reads, plan_prior
from mavera.focus_groups.readings import ELICITATION, PRIOR, PositionPrior, Read, Reading
from mavera.focus_groups.resolve import resolve
from mavera.focus_groups.shipped_priors import find_shipped_priors
from mavera.focus_groups.study import Conjoint, MultipleChoice, Option
from mavera.personas.catalogue import build_prefix
from mavera.personas.persona import Persona

Progress = Callable[[], None]
AnySurvey = Survey | ChoiceSurvey
# A survey, an item or the number of a task, and a persona. None is the baseline without a persona.
Cell = tuple[str, str, str | None]

_NO_LOGPROBS = (
    "The model's server sends no log-probabilities. Set MAVERA_UPSTREAM_LOGPROBS=false, and the model is "
    "asked for shares."
)


@dataclass(slots=True)
class Simulation:
    """The distribution of each cell, and the reason for each cell without one."""

    shares: dict[Cell, Floats] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)


class SurveyInterviewer:
    """Asks with `elicitor`. `model` is the digest of the model, and `method` how it is read."""

    def __init__(self, elicitor: Elicitor, answers: AnswerFile, *, model: str, method: Method) -> None:
        self._elicitor = elicitor
        self._answers = answers
        self._model = model
        self._method = method
        self._priors: dict[str, dict[int, PositionPrior]] = {}

    def list_unknown_priors(self, surveys: Iterable[AnySurvey]) -> list[tuple[str, int]]:
        """Return the languages and numbers of places whose position prior does not ship with mavera."""
        if self._method != "letters":
            return []
        wanted = {
            (language, places)
            for survey in surveys
            for language, places in _list_places(survey)
            if places <= MOST_LETTERS
        }
        return sorted(
            (language, places)
            for language, places in wanted
            if places not in find_shipped_priors(self._model, language)
        )

    async def measure_priors(self, surveys: Iterable[AnySurvey], progress: Progress) -> None:
        """Read the position priors that the items need. A prior that cannot be read is left out."""
        for language, places in self.list_unknown_priors(surveys):
            prior = await self._measure_prior(language, places, progress)
            if prior is not None:
                self._priors.setdefault(language, {})[places] = prior

    async def ask(self, survey: Survey, item: Item, persona: Persona | None) -> Floats:
        """Return the shares of the options. Raises UnusableAnswer, ConfigurationError and APIError."""
        question = MultipleChoice(
            id=item.id, text=item.text, options=tuple(Option(text=text) for text in item.options)
        )
        shown = Shown(question, item.text, survey.language, options=item.options)
        return await self._ask(survey.name, shown, persona)

    async def ask_choice(self, survey: ChoiceSurvey, task: int, persona: Persona | None) -> Floats:
        """Return the shares of the alternatives of a task. Raises as `ask` does."""
        declaration = survey.declaration
        price = next((one.name for one in declaration.attributes if one.is_price), None)
        question = Conjoint(id=str(task), text=declaration.question, attributes=(), price=price)
        alternatives = survey.word_alternatives(task)
        shown = Shown(question, question.text, declaration.language, alternatives=alternatives)
        return await self._ask(survey.name, shown, persona)

    async def _ask(self, survey: str, shown: Shown, persona: Persona | None) -> Floats:
        question = shown.question
        persona_id = persona.id if persona is not None else None
        key = self._make_key(survey, question.id, persona, plan_asks(shown, self._method))
        kept = self._answers.get(key)
        if kept is None:
            try:
                reading = await self._elicitor.elicit(shown, persona_id, self._method)
            except NoLogprobs as error:
                raise ConfigurationError(_NO_LOGPROBS) from error
            self._answers.keep(key, msgspec.to_builtins(reading))
        else:
            reading = msgspec.convert(kept, Reading)
        priors = {
            **find_shipped_priors(self._model, shown.language),
            **self._priors.get(shown.language, {}),
        }
        shares: Floats = resolve(
            CellId(question.id, None, persona_id, None), question, reading, priors
        ).shares
        return shares

    async def _measure_prior(self, language: str, places: int, progress: Progress) -> PositionPrior | None:
        reads = []
        for number, ask in enumerate(plan_prior(places, language)):
            key = f"prior|{self._model}|{PRIOR}|{language}|{places}|{number}"
            kept = self._answers.get(key)
            if kept is None:
                try:
                    read, _ = await self._elicitor.read(ask)
                except UnusableAnswer:
                    return None
                except NoLogprobs as error:
                    raise ConfigurationError(_NO_LOGPROBS) from error
                self._answers.keep(key, msgspec.to_builtins(read))
            else:
                read = msgspec.convert(kept, Read)
            reads.append(read)
            progress()
        return compute_prior(self._model, language, reads)

    def _make_key(self, survey: str, question: str, persona: Persona | None, asks: Sequence[Ask]) -> str:
        prompt = msgspec.json.encode(build_prefix(persona)) if persona is not None else b""
        shaping = (self._model, ELICITATION, self._method, prompt, [ask.text for ask in asks])
        digest = hashlib.sha256(msgspec.json.encode(shaping)).hexdigest()[:32]
        return f"survey|{survey}|{question}|{persona.name if persona is not None else ''}|{digest}"


def _list_places(survey: AnySurvey) -> Iterator[tuple[str, int]]:
    if isinstance(survey, ChoiceSurvey):
        yield survey.declaration.language, survey.designs.shape[1]
    else:
        yield from ((survey.language, len(item.options)) for item in survey.items)


def count_steps(
    interviewer: SurveyInterviewer,
    surveys: Sequence[AnySurvey],
    cast: Mapping[str, Sequence[Persona]],
    tasks: int,
) -> int:
    """Return how often `simulate` reports progress: once for each cell and each read of a prior."""
    cells = sum(
        (len(draw_tasks(survey, tasks)) if isinstance(survey, ChoiceSurvey) else len(survey.items))
        * (1 + len(cast[survey.name]))
        for survey in surveys
    )
    unknown = interviewer.list_unknown_priors(surveys)
    return cells + sum(count_prior_reads(places) for _, places in unknown)


async def simulate(
    interviewer: SurveyInterviewer,
    surveys: Sequence[AnySurvey],
    cast: Mapping[str, Sequence[Persona]],
    progress: Progress,
    *,
    tasks: int,
    at_once: int = 1,
) -> Simulation:
    """
    Ask every item of each survey, and `tasks` tasks of each survey of choices.

    The personas of `cast`, by the survey's name, answer, and the model without a persona. `at_once` personas
    are asked at a time, each of them all its items, because a model then reads a persona once. Raises
    APIError and ConfigurationError.
    """
    found = Simulation()
    await interviewer.measure_priors(surveys, progress)

    async def ask_everything(persona: Persona | None) -> None:
        for survey in surveys:
            if persona is not None and persona not in cast[survey.name]:
                continue
            for name, ask in _list_cells(interviewer, survey, tasks):
                cell = survey.name, name, persona.id if persona is not None else None
                try:
                    found.shares[cell] = await ask(persona)
                except UnusableAnswer as error:
                    found.failures[cell] = str(error)
                progress()

    people = {persona.id: persona for personas in cast.values() for persona in personas}
    await run_at_once([ask_everything(one) for one in (None, *people.values())], at_once)
    return found


def _list_cells(
    interviewer: SurveyInterviewer, survey: AnySurvey, tasks: int
) -> Iterator[tuple[str, Callable[[Persona | None], Awaitable[Floats]]]]:
    """Yield the name of each item or task of a survey, and what asks a persona for it."""
    if isinstance(survey, ChoiceSurvey):
        for task in draw_tasks(survey, tasks):
            yield str(task), partial(interviewer.ask_choice, survey, task)
    else:
        for item in survey.items:
            yield item.id, partial(interviewer.ask, survey, item)
