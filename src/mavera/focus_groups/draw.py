"""
Draw respondents that agree with the elicited distributions.

    study, panel, book  →  draw_respondents  →  Draw(completes, screened)

A *group* is the set of respondents that share persona, arm and condition. For each question:

    1. `rounding.py` turns the expected counts of all groups into whole ones, such that every entry, every net
       that a later condition uses, and every total is rounded down or up.
    2. `scores.py` gives each respondent a score, with the assumed latent correlation.
    3. Within each group the lowest scores get the lowest answers until the counts are used up.

Completes are drawn as people who pass: their screening answers never end the interview. Screened-out
respondents come from separate interviews, which end at a screener. The same seed gives the same rows.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mavera.focus_groups.allocation import INTERVIEWS_MAX, allocate_completes, allocate_interviews
from mavera.focus_groups.assumed import REFERENCE_ROWS, REFERENCE_SEED, build_reference_study
from mavera.focus_groups.conditions import conditions_of, list_references, list_screening_answers
from mavera.focus_groups.elicited import Book, CellId, Failures
from mavera.focus_groups.interview import Interview
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.respondents import Draw, Respondents
from mavera.focus_groups.study import MultipleChoice, Question, Study, question_of
from mavera.focus_groups.study_checks import list_notices

# The interviews of each persona and arm that measure passing if there is no formula.
_PILOT_ROWS = 1_000


def draw_respondents(study: Study, panel: Panel, book: Book, failures: Failures | None = None) -> Draw:
    """
    Return `study.sample.size` completes, and the respondents that were screened out on the way.

    Rows whose cell is not in `book` have the status FAILED.
    """
    passing = measure_passing(study, panel, book)
    generator = np.random.default_rng([study.sample.seed, 1])
    counts, expected = allocate_completes(study, panel, passing, generator)
    notices: list[str] = []
    if not counts.sum():
        notices.append("Everybody is screened out, so the study has no respondents.")
    completes = Interview(study, panel, book, counts, study.sample.seed, expected=expected, passes=True)
    completes.ask(study.questions)
    screened = _draw_screened(study, panel, book, passing, expected, notices)
    notices = [*list_notices(study), *completes.list_notices(), *notices]
    return Draw(completes.respondents(), screened, tuple(notices))


def draw_reference(
    study: Study,
    panel: Panel,
    book: Book,
    failures: Failures | None = None,
    questions: Collection[str] | None = None,
) -> Draw:
    """
    Return the reference draw: 20,000 rows a persona, whatever the sample of the study is.

    Figures that need two answers of one respondent come from it, so that they do not depend on the sample.
    With `questions`, only these and the questions they depend on are asked. The rows are the same as in a
    whole draw.
    """
    reference, _ = build_reference_study(study, panel)
    wanted = _add_references(study, questions) if questions is not None else None
    asked = [one for one in study.questions if wanted is None or one.id in wanted]
    counts = np.full((len(panel), max(1, len(study.cells))), REFERENCE_ROWS // max(1, len(study.cells)))
    completes = Interview(reference, panel, book, counts, REFERENCE_SEED, passes=True)
    completes.ask(asked)
    nobody = Interview(reference, panel, book, counts * 0, REFERENCE_SEED)
    nobody.ask(asked)
    return Draw(completes.respondents(), nobody.respondents())


def _add_references(study: Study, questions: Collection[str]) -> set[str]:
    """Return the questions, and all questions that their conditions and piped answers need."""
    found, left = set(questions), list(questions)
    while left:
        for name in list_references(study, question_of(study, left.pop())):
            if name not in found:
                found.add(name)
                left.append(name)
    return found


def measure_passing(study: Study, panel: Panel, book: Book) -> NDArray[np.float64]:
    """
    Return the probability that a persona in an arm passes all screeners, (personas, arms).

    If a screener depends on earlier answers or has several answers, 1,000 interviews measure it. People whose
    screening cell failed pass.
    """
    arms: list[str | None] = [arm.id for arm in study.cells] or [None]
    passing = np.ones((len(panel), len(arms)))
    screeners = [question for question in study.questions if question.screen_out]
    if not all(_is_plain(study, question) for question in screeners):
        return _measure_in_interviews(study, panel, book, passing)
    for question in screeners:
        screened = sorted(list_screening_answers(question))
        for p, one in enumerate(panel):
            for a, arm in enumerate(arms):
                cell = book.get(CellId(question.id, None, one.id, arm))
                if cell is not None:
                    passing[p, a] *= max(0.0, 1 - float(cell.shares[screened].sum()))
    return passing


def _is_plain(study: Study, question: Question) -> bool:
    has_several = isinstance(question, MultipleChoice) and question.multiple
    return not has_several and [one.key for one in conditions_of(study, question)] == [""]


def _measure_in_interviews(
    study: Study, panel: Panel, book: Book, passing: NDArray[np.float64]
) -> NDArray[np.float64]:
    counts = np.full(passing.shape, _PILOT_ROWS)
    pilot = Interview(study, panel, book, counts, REFERENCE_SEED)
    pilot.ask(study.questions[: _count_until_screened(study)])
    passed = np.zeros(passing.shape)
    np.add.at(passed, (pilot.panelist, pilot.arm), pilot.screened_at < 0)
    return passed / _PILOT_ROWS


def _count_until_screened(study: Study) -> int:
    """Return the number of questions up to the last screener."""
    return max((n + 1 for n, question in enumerate(study.questions) if question.screen_out), default=0)


def _draw_screened(
    study: Study,
    panel: Panel,
    book: Book,
    passing: NDArray[np.float64],
    completes: NDArray[np.float64],
    notices: list[str],
) -> Respondents:
    """Interview as many people as the completes need, and return the screened-out ones."""
    last = _count_until_screened(study)
    counts = (
        allocate_interviews(study, panel, passing, completes)
        if last
        else np.zeros(passing.shape, dtype=np.int64)
    )
    if counts.sum() >= INTERVIEWS_MAX:
        notices.append(f"Screened-out respondents are drawn from {INTERVIEWS_MAX:,} interviews only.")
    interview = Interview(study, panel, book, counts, study.sample.seed + 1)
    interview.ask(study.questions[:last])
    is_screened = interview.screened_at >= 0
    interview.stop()
    interview.ask(study.questions[last:])
    return interview.respondents(is_screened)
