"""
Rate sentences on a scale by their similarity to its labels: semantic similarity rating.

    sentence, labels → cosines (stored with the cell) → sharpness → shares → mixed with the shares by letters

A sharpness belongs to an encoder, a form of the anchors and a number of points. It was fitted to the answers
of real people (`evals/similarity`), and ships in `sharpness.json`. Without one, a scale is not rated: cosines
lie close together, so the shares would be flat, and a flat answer is a bias and no caution.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from mavera.focus_groups.asks import Shown
from mavera.focus_groups.readings import Read
from mavera.focus_groups.study import (
    NPS,
    Likert,
    Matrix,
    Question,
    Rating,
    SemanticDifferential,
    Slider,
    Study,
    type_of,
)
from mavera.focus_groups.wording import words_of
from mavera.reading.anchors import AnchoredScale, measure_similarity
from mavera.reading.encoder import LANGUAGES, VERSION, SentenceEncoder

# The version of the form of the anchors.
ANCHORS = "question-label@1"
_FILE = Path(__file__).with_name("sharpness.json")
_DIGITS = 5


class Sharpness(msgspec.Struct, frozen=True, kw_only=True):
    """
    The calibration for scales of `points` points.

    `weight` is the share of the rating in the mix with the letters, from 0 to 1. `helps` says whether the mix
    came nearer to people than the letters, on items that it was not fitted to. `auto` rates only then.
    `items` counts the questions of `surveys` that it was fitted to.
    """

    encoder: str
    anchors: str
    points: int
    sharpness: float
    weight: float
    helps: bool
    items: int
    surveys: tuple[str, ...]


@cache
def list_calibrated() -> dict[int, Sharpness]:
    """Return the calibrations of this encoder and form of anchors, by their number of points."""
    found = msgspec.json.decode(_FILE.read_bytes(), type=tuple[Sharpness, ...])
    return {one.points: one for one in found if (one.encoder, one.anchors) == (VERSION, ANCHORS)}


def list_labels(question: Question, language: str) -> tuple[str, ...] | None:
    """Return the words of each point of an ordered scale, or None if its points are numbers."""
    match question:
        case Matrix(labels=(), points=points) if points == len(words_of(language).agreement):
            return words_of(language).agreement
        case Likert() | Rating() | Matrix():
            return question.labels if len(question.labels) == question.points else None
        case _:
            return None


def is_ordered(question: Question) -> bool:
    """Return whether a question has an ordered scale, which similarity might rate."""
    return isinstance(question, Likert | Rating | Matrix) or is_numbered(question)


def is_numbered(question: Question) -> bool:
    """Return whether a question has an ordered scale whose points are always numbers."""
    return isinstance(question, NPS | SemanticDifferential | Slider)


def explain_unrated(question: Question, language: str) -> str | None:
    """Return why an ordered question cannot be rated by similarity, or None if it can."""
    labels = list_labels(question, language)
    if is_numbered(question):
        return f"The points of a {type_of(question)} question are numbers, which cannot be rated."
    if labels is None:
        return "Only scales with words for each point can be rated. Add 'labels'."
    if len(labels) not in list_calibrated():
        known = ", ".join(map(str, sorted(list_calibrated()))) or "none"
        return f"No sharpness is calibrated for {len(labels)} points. Calibrated are: {known}."
    return None


def knows_language(language: str) -> bool:
    """Return whether the encoder knows the language of a study."""
    return language.lower().partition("-")[0] in LANGUAGES


def choose_rated(study: Study) -> tuple[tuple[str, ...], str]:
    """Return the ids of the questions that a study rates by similarity, or none and the reason."""
    if study.ssr == "off":
        return (), "the study file says so"
    if not knows_language(study.language):
        return (), f"the encoder does not know the language '{study.language}'"
    found = [
        question
        for question in study.questions
        if is_ordered(question) and explain_unrated(question, study.language) is None
    ]
    if not found:
        return (), "no question has a scale with words for each point and a calibrated number of points"
    if study.ssr == "auto":
        found = [one for one in found if _find(one, study.language).helps]
    rated = tuple(question.id for question in found)
    return rated, "" if rated else "it came no nearer to people than the letters when it was calibrated"


def _find(question: Question, language: str) -> Sharpness:
    return list_calibrated()[len(list_labels(question, language) or ())]


def list_anchors(shown: Shown) -> tuple[tuple[str, ...], ...]:
    """Return the sets of anchors for a scale: a sentence for each of its points. Raises ValueError."""
    labels = list_labels(shown.question, shown.language)
    if labels is None:
        raise ValueError("the scale has no words for its points")
    return build_anchors(" ".join((shown.text, *([shown.row] if shown.row else []))), labels)


def build_anchors(asked: str, labels: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """
    Return the sets of anchors for the labels of a scale.

    Each is the question with its label behind it. A label alone says too little about what a sentence is
    about: "Often." is near to every sentence with a frequency.
    """
    return (tuple(f"{asked} {label}" for label in labels),)


def add_cosines(encoder: SentenceEncoder, shown: Shown, reads: Sequence[Read]) -> tuple[Read, ...]:
    """Return the reads with the cosines of their texts. Takes processor time. Raises NoEncoder."""
    found = measure_similarity(encoder, [read.text for read in reads], AnchoredScale(list_anchors(shown)))
    return tuple(
        msgspec.structs.replace(
            read, cosines=tuple(tuple(round(float(one), _DIGITS) for one in row) for row in cosines)
        )
        for read, cosines in zip(reads, found, strict=True)
    )


def digest_calibrations() -> list[tuple[int, float, float]]:
    """Return what is applied to the cosines, for the hash of a study."""
    return [(one.points, one.sharpness, one.weight) for _, one in sorted(list_calibrated().items())]


def describe_rating(study: Study, rated: Sequence[str], unrated: str) -> str:
    """Return the sentence about similarity rating in the method of a study."""
    if not rated:
        return f"off: {unrated}" if unrated else "off"
    used = {
        len(list_labels(question, study.language) or ())
        for question in study.questions
        if question.id in rated
    }
    applied = "; ".join(
        f"{points} points: sharpness {one.sharpness:g}, weight {one.weight:g}, fitted to {one.items} items "
        f"of {', '.join(one.surveys)}"
        for points, one in sorted(list_calibrated().items())
        if points in used
    )
    return f"on for {', '.join(rated)}: one sentence in each cell, {VERSION}, anchors {ANCHORS}; {applied}"
