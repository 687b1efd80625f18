"""
Define the respondents of a study as columns, one row for each respondent.

    Respondents   panelist, arm, and for each question Answers
    Answers       status · choices · probability · numbers (sliders) · texts (open ends)

The shape of `choices`, for n respondents, depends on the type of the question. A row without an answer has −1
everywhere, and False for several answers.

    one answer, scales, nps, slider   (n,)           index into `scale_of(question).answers`
    matrix                            (n, rows)      the same for each row
    several answers                   (n, options)   bool: ticked or not
    ranking                           (n, items)     the items in order, the best one first
    maxdiff                           (n, sets, 2)   the places of best and worst within the set
    conjoint                          (n, tasks)     the place of the alternative; "none" is the last place
    open_ended                        (n,)           index into `texts`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Status(IntEnum):
    """
    The reason why a respondent has an answer, or has none.

    SKIPPED: the respondent was not shown the question. SCREENED: an earlier question screened the respondent
    out. MISSING: the answer is one of the `missing` answers. FAILED: the model did not answer the cell.
    """

    ANSWERED = 0
    SKIPPED = 1
    SCREENED = 2
    MISSING = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """
    The answers of all respondents to one question.

    `probability` is the elicited probability of the respondent's answer, or NaN. For matrices it has a column
    for each row. `numbers` are the values of a slider, and `texts` the verbatims that `choices` point
    to. `status` of a matrix is MISSING only if every row is missing.
    """

    status: NDArray[np.uint8]
    choices: NDArray[np.int64] | NDArray[np.bool_]
    probability: NDArray[np.float64]
    numbers: NDArray[np.float64] | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Respondents:
    """
    Rows of respondents. `panelist` and `arm` are indexes into the panel and into `study.cells`.

    `arm` is all 0 if the study has no cells. `condition` has, for each question, the index of the condition
    in `conditions_of(study, question)` that a row belongs to, and −1 if the question was not asked.
    """

    panelist: NDArray[np.int64]
    arm: NDArray[np.int64]
    answers: Mapping[str, Answers]
    condition: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.panelist)


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """
    The drawn file: `completes`, and the screened-out respondents, who count in no base.

    `notices` are sentences about unmet requirements, such as a quota that nobody fits.
    """

    completes: Respondents
    screened: Respondents
    notices: tuple[str, ...] = ()
