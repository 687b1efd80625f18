"""
Learn from the items of a past survey how the simulation errs, and correct its other answers.

    logit(p')  =  a · log p  +  b · z  +  δ[list of answers]

    a   a temperature: below 1, the personas are too sure of their answers
    b   a shift along the scale, whose places z run from −1 to 1; yes is the upper end
    δ   an offset for each answer of a list that calibration items have

All three are shrunk towards no correction, so that a few items change little and many change more. The
correction acts on the distribution of each persona, so that estimates, intervals, tables and respondents
agree. It makes the mixture of personas fit, and it cannot make personas differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from mavera.focus_groups.allocation import share_sample
from mavera.focus_groups.elicited import Book, CellId, Elicited
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.study import MultipleChoice, Question, Study, YesNo, has_scale, scale_of

# An item counts as this many people. Fitted to two surveys, as the standard deviations below:
# `python -m evals.calibration`.
PEOPLE_AN_ITEM = 5.0
SPREAD_OF_TEMPERATURE, SPREAD_OF_SHIFT, SPREAD_OF_OFFSETS = 0.5, 1.0, 0.25
CALIBRATED = "calibrated"
_LEAST_SHARE = 1e-6

# The answers of a question: two questions with the same answers share their offsets.
AnswerList = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationItem:
    """
    A question whose answer by people is known.

    `shares` (personas, answers) were simulated, `weights` (personas,) add up to 1, and `people` (answers,)
    are the shares of the survey. `places` (answers,) run from −1 to 1, or are all 0 for answers without an
    order.
    """

    answers: AnswerList
    shares: Floats
    weights: Floats
    people: Floats
    places: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A correction. It changes nothing with `temperature` 1, `shift` 0 and no `offsets`."""

    temperature: float
    shift: float
    offsets: Mapping[AnswerList, Floats]
    items: int

    def apply(self, shares: Floats, answers: AnswerList, places: Floats) -> Floats:
        """Return corrected shares. The last axis of `shares` has the answers, with the sum 1."""
        offset = self.offsets.get(answers, np.zeros(len(answers)))
        return _tilt(np.log(np.maximum(shares, _LEAST_SHARE)), self.temperature, self.shift * places + offset)


def fit_correction(items: Sequence[CalibrationItem]) -> Correction:
    """Return the correction that fits `items`, shrunk towards none."""
    lists = list(dict.fromkeys(item.answers for item in items))
    starts = dict(zip(lists, np.cumsum([2, *map(len, lists)]).tolist(), strict=False))
    size = 2 + sum(map(len, lists))
    spreads = np.full(size, SPREAD_OF_OFFSETS, dtype=np.float64)
    spreads[:2] = SPREAD_OF_TEMPERATURE, SPREAD_OF_SHIFT
    centre = np.zeros(size)
    centre[0] = 1.0
    logs = [np.log(np.maximum(item.shares, _LEAST_SHARE)) for item in items]

    def lose(at: Floats) -> tuple[float, Floats]:
        """Return the penalised loss and its gradient."""
        loss = float((((at - centre) / spreads) ** 2).sum() / 2)
        gradient = (at - centre) / spreads**2
        for item, log in zip(items, logs, strict=True):
            span = slice(starts[item.answers], starts[item.answers] + len(item.answers))
            tilted = _tilt(log, at[0], at[1] * item.places + at[span])
            mixture = np.maximum(item.weights @ tilted, _LEAST_SHARE)
            loss -= PEOPLE_AN_ITEM * float(item.people @ np.log(mixture))
            pull = item.people / mixture
            inner = tilted * (pull - (tilted @ pull)[:, None]) * item.weights[:, None]
            gradient[0] -= PEOPLE_AN_ITEM * float((inner * log).sum())
            gradient[1] -= PEOPLE_AN_ITEM * float(inner.sum(axis=0) @ item.places)
            gradient[span] -= PEOPLE_AN_ITEM * inner.sum(axis=0)
        return loss, gradient

    bounds = [(0.0, 3.0), *[(None, None)] * (size - 1)]
    found = minimize(lose, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
    offsets = {one: found[starts[one] : starts[one] + len(one)] for one in lists}
    return Correction(float(found[0]), float(found[1]), offsets, len(items))


def _tilt(logs: Floats, temperature: float, offset: Floats) -> Floats:
    tilted = temperature * logs + offset
    odds = np.exp(tilted - tilted.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def place_answers(question: Question) -> Floats:
    """Return the place of each answer on its scale from −1 to 1, or zeros for answers without an order."""
    count = len(scale_of(question).labels)
    match question:
        case YesNo():
            return np.array([1.0, -1.0])
        case MultipleChoice():
            return np.zeros(count)
        case _:
            return np.linspace(-1, 1, count)


def find_correction(study: Study, panel: Panel, book: Book) -> Correction | None:
    """Return the correction that the study's `calibration` teaches, or None without answers for it."""
    items = [
        item
        for name, people in study.calibration.items()
        if (item := _make_item(study, panel, book, name, people)) is not None
    ]
    return fit_correction(items) if items else None


def _make_item(
    study: Study, panel: Panel, book: Book, name: str, people: Mapping[str, float]
) -> CalibrationItem | None:
    question, row = find_item(study, name)
    labels = scale_of(question).labels
    arms: list[str | None] = [arm.id for arm in study.cells] or [None]
    shares, kept = [], []
    for one, weight in zip(panel, share_sample(study, panel).tolist(), strict=True):
        for arm in arms:
            found = book.get(CellId(question.id, row, one.id, arm))
            if found is not None and weight > 0:
                shares.append(_keep_valid(found.shares, len(labels)))
                kept.append(weight)
    if not shares:
        return None
    known = np.array([people.get(label, 0.0) for label in labels])
    return CalibrationItem(
        labels,
        np.array(shares),
        np.array(kept) / sum(kept),
        known / known.sum(),
        place_answers(question),
    )


def find_item(study: Study, name: str) -> tuple[Question, str | None]:
    """Return the question, and the row of a matrix, that `q4` or `q4.r1` names. Raises KeyError."""
    first, _, row = name.partition(".")
    question = next((one for one in study.questions if one.id == first), None)
    if question is None or not has_scale(question):
        raise KeyError(name)
    rows = [one.id for one in getattr(question, "rows", ())]
    if (row or None) not in (rows or [None]):
        raise KeyError(name)
    return question, row or None


def _keep_valid(shares: Floats, points: int) -> Floats:
    valid = np.maximum(shares[:points], _LEAST_SHARE)
    return np.asarray(valid / valid.sum())


def correct_book(study: Study, book: Book, correction: Correction) -> dict[CellId, Elicited]:
    """
    Return the distributions with those of the personas corrected, for questions with one answer on a list.

    Missing answers keep their shares. The baseline without a persona stays as it was read.
    """
    questions = {one.id: one for one in study.questions if has_scale(one)}
    corrected = dict(book)
    for cell, found in book.items():
        question = questions.get(cell.question)
        if question is not None and cell.persona is not None:
            corrected[cell] = replace(
                found,
                shares=_correct(found.shares, question, correction),
                by_wording=tuple(_correct(one, question, correction) for one in found.by_wording),
                flags=(*found.flags, CALIBRATED),
            )
    return corrected


def _correct(shares: Floats, question: Question, correction: Correction) -> Floats:
    labels = scale_of(question).labels
    valid = float(shares[: len(labels)].sum())
    found = np.array(shares, dtype=np.float64)
    found[: len(labels)] = valid * correction.apply(
        _keep_valid(shares, len(labels)), labels, place_answers(question)
    )
    return found


def describe_correction(study: Study, correction: Correction) -> str:
    """Return the statement about a calibration for the method of a study."""
    changed = [one.id for one in study.questions if has_scale(one)]
    others = [one.id for one in study.questions if not has_scale(one)]
    left = (
        f" Not corrected: {', '.join(others)} and the baseline."
        if others
        else " The baseline is not corrected."
    )
    return (
        f"{', '.join(changed)} are corrected by {correction.items} items of a past survey "
        f"({', '.join(study.calibration)}): temperature {correction.temperature:.2f}, shift "
        f"{correction.shift:+.2f}, and offsets for {len(correction.offsets)} lists of answers.{left} The "
        "interval does not include the error of the correction."
    )
