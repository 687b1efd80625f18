"""
Compare the part-worths that simulated choices show with those of real people.

    DIR/NAME/*.csv, a row for each alternative → ChoiceSurvey → the tasks that are asked
    choices of people, expected shares of a simulation → conditional logit → part-worths side by side

A part-worth is compared per standard deviation of its column, because dollars and seconds have no common
unit. The module is pure, except that it reads the file.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from mavera.errors import ConfigurationError
from mavera.evaluation.measures import Share, measure_direction
from mavera.evaluation.survey_measures import SEED, Floats
from mavera.focus_groups.choice_models import NotIdentified, fit_conditional_logit

# The size of z above which a part-worth of people is significant at p < .01.
SIGNIFICANT_Z = 2.5758


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a declaration."""


class ChoiceAttribute(_Part, frozen=True, kw_only=True):
    """
    An attribute: either `columns` of 0 and 1 with the level of each, or a `number`.

    `base` is the level if all columns are 0. `text` words a number and has `{value}` in it.
    """

    name: str
    base: str = ""
    columns: dict[str, str] = {}
    number: str | None = None
    text: str = "{value}"
    is_price: bool = False


class ChoiceDeclaration(_Part, frozen=True, kw_only=True):
    """
    A file of stated choices, with a row for each alternative of each task.

    `respondent`, `task` and `choice` are columns. `choice` is 1 for the alternative that was chosen.
    """

    file: str
    question: str
    respondent: str
    task: str
    choice: str
    attributes: tuple[ChoiceAttribute, ...]
    encoding: str = "utf-8"
    language: str = "en"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The columns that have a part-worth, in the order of the attributes."""
        return tuple(
            column
            for attribute in self.attributes
            for column in (attribute.columns if attribute.number is None else (attribute.number,))
        )


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceSurvey:
    """
    The tasks of all respondents: `designs` by task, alternative and column, `chosen` by task and alternative.

    `respondents` has the respondent of each task.
    """

    name: str
    declaration: ChoiceDeclaration
    designs: Floats
    chosen: Floats
    respondents: Sequence[str]

    def word_alternatives(self, task: int) -> tuple[str, ...]:
        """Return the alternatives of a task as the model reads them."""
        return tuple(", ".join(self._word(row)) for row in self.designs[task])

    def _word(self, row: Floats) -> Iterator[str]:
        values = dict(zip(self.declaration.parameters, row, strict=True))
        for attribute in self.declaration.attributes:
            if attribute.number is not None:
                level = attribute.text.replace("{value}", f"{values[attribute.number]:g}")
            else:
                on = (level for column, level in attribute.columns.items() if values[column] > 0)
                level = next(on, attribute.base)
            yield f"{attribute.name}: {level}"


@dataclass(frozen=True, slots=True)
class ChoiceReport:
    """
    Part-worths per standard deviation of their columns, by source, "people" among them.

    `errors` are the standard errors of the people. `failures` say why a source has no part-worths.
    """

    survey: str
    tasks: int
    parameters: tuple[str, ...]
    worths: Mapping[str, Floats]
    errors: Floats
    halves: float
    failures: Mapping[str, str]

    def correlate(self, source: str) -> float:
        """Return the correlation of a source's part-worths with those of the people. NaN without them."""
        if source not in self.worths:
            return math.nan
        return float(np.corrcoef(self.worths[source], self.worths["people"])[0, 1])

    def count_signs(self, source: str) -> Share:
        """Return how many of the people's significant part-worths have the same sign."""
        people = self.worths["people"]
        significant = np.flatnonzero(np.abs(people) > SIGNIFICANT_Z * self.errors)
        if source not in self.worths:
            return Share(0, 0)
        found = self.worths[source]
        return measure_direction([(float(found[at]), int(np.sign(people[at]))) for at in significant])


def load_choices(folder: Path, declaration: ChoiceDeclaration) -> ChoiceSurvey:
    """Return the choices of a folder. Raises ConfigurationError if its CSV file does not fit."""
    path = folder / declaration.file
    try:
        text = path.read_bytes().decode(declaration.encoding)
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        names = declaration.parameters
        tasks: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            tasks.setdefault(row[declaration.task], []).append(row)
        sizes = set(map(len, tasks.values()))
        if len(sizes) != 1:
            raise ConfigurationError(f"{path} needs tasks with the same number of alternatives.")
        designs = [[[float(row[name]) for name in names] for row in task] for task in tasks.values()]
        chosen = [[float(row[declaration.choice]) for row in task] for task in tasks.values()]
        respondents = [task[0][declaration.respondent] for task in tasks.values()]
    except (OSError, UnicodeDecodeError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} does not fit its declaration: {error!r}") from error
    survey = ChoiceSurvey(folder.name, declaration, np.array(designs), np.array(chosen), respondents)
    if not np.all(survey.chosen.sum(axis=1) == 1):
        raise ConfigurationError(f"{path} needs one chosen alternative in each task.")
    return survey


def draw_tasks(survey: ChoiceSurvey, most: int) -> tuple[int, ...]:
    """Return the numbers of the tasks that are asked, drawn by a fixed seed."""
    count = len(survey.designs)
    drawn = np.random.default_rng(SEED).permutation(count)[: min(most, count)]
    return tuple(sorted(map(int, drawn)))


def compare_choices(
    survey: ChoiceSurvey, tasks: Sequence[int], simulated: Mapping[str, Mapping[int, Floats]]
) -> ChoiceReport:
    """
    Return the part-worths of the people, and of the expected shares of each source, by task.

    The people's come from all their tasks. Raises ConfigurationError if they are not determined.
    """
    scale = survey.designs.reshape(-1, survey.designs.shape[2]).std(axis=0)
    try:
        people = fit_conditional_logit(survey.designs, survey.chosen)
    except NotIdentified as error:
        raise ConfigurationError(f"The choices of {survey.name} show no part-worths: {error}.") from error
    worths, failures = {"people": people.parameters * scale}, {}
    for source, shares in simulated.items():
        numbers = [task for task in tasks if task in shares]
        if not numbers:
            continue
        try:
            fit = fit_conditional_logit(survey.designs[numbers], np.array([shares[one] for one in numbers]))
        except NotIdentified as error:
            failures[source] = str(error)
        else:
            worths[source] = fit.parameters * scale
    return ChoiceReport(
        survey.name,
        len(tasks),
        survey.declaration.parameters,
        worths,
        people.errors * scale,
        _correlate_halves(survey, scale),
        failures,
    )


def _correlate_halves(survey: ChoiceSurvey, scale: Floats) -> float:
    """Return the correlation of the part-worths of one half of the people with those of the other half."""
    people = sorted(set(survey.respondents))
    drawn = np.random.default_rng(SEED).permutation(len(people))[: len(people) // 2]
    first = {people[number] for number in drawn}
    is_first = np.array([one in first for one in survey.respondents])
    try:
        halves = [
            fit_conditional_logit(survey.designs[side], survey.chosen[side]).parameters * scale
            for side in (is_first, ~is_first)
        ]
    except NotIdentified:
        return math.nan
    return float(np.corrcoef(halves[0], halves[1])[0, 1])
