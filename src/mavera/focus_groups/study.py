"""
Define a study: the questionnaire, its audience and its limits, as a checked study file describes them.

    Study
    ├── PersonaChoice × 1–10    personas, with weights and attributes
    ├── Sample                  respondents, seed, targets for weights, quotas
    ├── Limits                  the points at which a study stops
    ├── Stimulus, Arm           the material; an arm is one monadic cell of the file (`cells:`)
    └── Question × 1–20         one class for each of the twelve types, told apart by `type`

`study_file.py` reads files and fills in defaults. The classes here hold checked values, and a study
survives `msgspec.json.encode` and `decode` unchanged. `scale_of` gives the ordered answers of a closed
question, in the order in which its distribution lists them.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

PERSONAS_MAX = 10
QUESTIONS_MAX = 20
RESPONDENTS_MAX = 100_000
ROUNDS_MAX = 4

Order = Literal["fixed", "random"]
Direction = Literal["normal", "reversed", "none"]
Ssr = Literal["auto", "on", "off"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a study file."""


class PersonaChoice(_Part, frozen=True, kw_only=True):
    """
    One persona of the panel. Weights are relative: 1 and 2 mean a third and two thirds.

    `attributes` add to those of the persona's file, or replace them: `{region: North}`.
    """

    id: str
    weight: float = 1.0
    attributes: dict[str, str] = {}


class Quota(_Part, frozen=True, kw_only=True):
    """A group of exactly `size` respondents: those whose personas have all attributes of `where`."""

    where: dict[str, str]
    size: int


class Sample(_Part, frozen=True, kw_only=True):
    """
    The respondents of the file. Estimates do not depend on `size`.

    `weights` are the targets of raking: the percentage of each value of each attribute.
    """

    size: int = 200
    seed: int = 0
    weights: dict[str, dict[str, float]] = {}
    quotas: tuple[Quota, ...] = ()


class Limits(_Part, frozen=True, kw_only=True):
    """A study stops cleanly at the first of these limits. None means no limit."""

    model_reads: int | None = None
    minutes: float | None = None
    credits: int | None = None


class Stimulus(_Part, frozen=True, kw_only=True):
    """The material that every question is about. An image is an http(s) URL or a data URL."""

    text: str = ""
    images: tuple[str, ...] = ()


class Arm(_Part, frozen=True, kw_only=True):
    """A monadic cell. Each respondent sees one; `vars` replace `{name}` in all texts of the study."""

    id: str
    vars: dict[str, str] = {}
    stimulus: Stimulus | None = None


class Block(_Part, frozen=True, kw_only=True):
    """A group of questions that stay together, in the file's order or in random order."""

    id: str
    order: Order = "fixed"


class Option(_Part, frozen=True, kw_only=True):
    """
    An answer that can be chosen, or an item of a list. Its text is its name in `show_if` and in nets.

    A `fixed` option keeps its place when the order is random. An `exclusive` one rules out all others.
    `specify` asks for the respondent's own words.
    """

    text: str
    fixed: bool = False
    exclusive: bool = False
    specify: bool = False


class Row(_Part, frozen=True, kw_only=True):
    """A row of a matrix. `id` is its name in `show_if`, as in `q4.r1 >= 5`."""

    id: str
    text: str
    fixed: bool = False
    direction: Direction = "normal"


class Attribute(_Part, frozen=True, kw_only=True):
    """An attribute of a conjoint. `prices` has the number of each level of the price attribute."""

    name: str
    levels: tuple[str, ...]
    prices: tuple[float, ...] = ()


class _Asked(_Part, frozen=True, kw_only=True):
    """
    The members of every question.

    `screen_out` are answers that end the interview. `missing` answers (don't know, prefer not to say)
    do not count in means and boxes. `direction` says whether favourable people give high answers; None is the
    type's own direction.
    """

    id: str
    text: str
    show_if: str | None = None
    block: str | None = None
    screen_out: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    direction: Direction | None = None


class NPS(_Asked, frozen=True, kw_only=True, tag_field="type", tag="nps"):
    """0 to 10. `labels` name the two ends."""

    labels: tuple[str, ...] = ()


class Likert(_Asked, frozen=True, kw_only=True, tag_field="type", tag="likert"):
    """Agreement in `points` steps from 1. There is one label for each point, or labels for the two ends."""

    points: int = 5
    labels: tuple[str, ...] = ()


class Rating(_Asked, frozen=True, kw_only=True, tag_field="type", tag="rating"):
    """A rating from 1 to `points`. `labels` are as in a likert question."""

    points: int = 5
    labels: tuple[str, ...] = ()


class YesNo(_Asked, frozen=True, kw_only=True, tag_field="type", tag="yes_no"):
    """Yes or no. The labels are the words of the study's language, yes first."""

    labels: tuple[str, str] = ("Yes", "No")


class MultipleChoice(_Asked, frozen=True, kw_only=True, tag_field="type", tag="multiple_choice"):
    """
    One answer of `options`, or up to `max` of them if `multiple`.

    `nets` name groups of options. A net counts a respondent once.
    """

    options: tuple[Option, ...]
    multiple: bool = False
    max: int | None = None
    order: Order = "fixed"
    nets: dict[str, tuple[str, ...]] = {}


class Slider(_Asked, frozen=True, kw_only=True, tag_field="type", tag="slider"):
    """A number from 0 to 100. `labels` name the two ends."""

    labels: tuple[str, ...] = ()


class Matrix(_Asked, frozen=True, kw_only=True, tag_field="type", tag="matrix"):
    """One scale of `points` for several rows. `labels` are as in a likert question."""

    rows: tuple[Row, ...]
    points: int = 5
    labels: tuple[str, ...] = ()
    order: Order = "fixed"


class SemanticDifferential(_Asked, frozen=True, kw_only=True, tag_field="type", tag="semantic_differential"):
    """A point between two opposite words. 1 is the left pole."""

    poles: tuple[str, str]
    points: int = 7


class Ranking(_Asked, frozen=True, kw_only=True, tag_field="type", tag="ranking"):
    """All `items` in order of preference."""

    items: tuple[Option, ...]
    order: Order = "fixed"


class MaxDiff(_Asked, frozen=True, kw_only=True, tag_field="type", tag="maxdiff"):
    """The best and the worst of each of `sets` sets of `per_set` items. Without `sets` the design decides."""

    items: tuple[str, ...]
    per_set: int = 4
    sets: int | None = None


class Conjoint(_Asked, frozen=True, kw_only=True, tag_field="type", tag="conjoint"):
    """
    Choices among `alternatives` products in each of `tasks` tasks; `none` adds "none of these".

    `price` names the attribute for the willingness to pay. It is None if there is no such attribute.
    """

    attributes: tuple[Attribute, ...]
    tasks: int = 10
    alternatives: int = 3
    none: bool = False
    price: str | None = None


class OpenEnded(_Asked, frozen=True, kw_only=True, tag_field="type", tag="open_ended"):
    """An answer in words. `rounds` from 2 to 4 make it a discussion among the personas."""

    verbatims: int = 5
    rounds: int = 1


Question = (
    NPS
    | Likert
    | MultipleChoice
    | OpenEnded
    | Rating
    | YesNo
    | Ranking
    | Slider
    | Matrix
    | SemanticDifferential
    | Conjoint
    | MaxDiff
)
# Types in which a respondent gives one answer on one list. `scale_of` takes these and Matrix.
OneAnswer = NPS | Likert | Rating | YesNo | MultipleChoice | Slider | SemanticDifferential


class Study(_Part, frozen=True, kw_only=True):
    """
    A checked study. `study` is the version of the file format.

    `wordings` above 1 asks paraphrases. `ssr` mixes in semantic similarity rating. `latent_correlation` is
    the assumed correlation of a respondent's answers within a persona. `block_order` shuffles the blocks.
    `calibration` has the shares of a past survey, by question or row (`q4.r1`) and by answer.
    """

    study: int = 1
    name: str
    language: str = "en"
    model: str | None = None
    personas: tuple[PersonaChoice, ...]
    sample: Sample = Sample()
    limits: Limits = Limits()
    wordings: int = 1
    ssr: Ssr = "auto"
    latent_correlation: float = 0.3
    calibration: dict[str, dict[str, float]] = {}
    stimulus: Stimulus | None = None
    cells: tuple[Arm, ...] = ()
    blocks: tuple[Block, ...] = ()
    block_order: Order = "fixed"
    questions: tuple[Question, ...]
    banner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """
    The answers of a closed question: `labels` in order, then the `missing` ones.

    `values` are the numbers for means, one for each label. They are None if the answers are only names.
    """

    labels: tuple[str, ...]
    values: tuple[float, ...] | None
    missing: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """All answers, in the order of a distribution: the labels, then the missing ones."""
        return self.labels + self.missing


def type_of(question: Question) -> str:
    """Return the name of a question's type, as in files."""
    return str(question.__struct_config__.tag)


def has_scale(question: Question) -> bool:
    """Return whether `scale_of` takes the question: one answer of a list, or a matrix of such lists."""
    if isinstance(question, MultipleChoice):
        return not question.multiple
    return isinstance(question, OneAnswer | Matrix)


def scale_of(question: Question) -> Scale:
    """
    Return the answers of a question with one answer, or of each row of a matrix.

    A point without a label of its own is named by its number. Raises TypeError for other types.
    """
    match question:
        case NPS():
            return _number_points(0, 11, 1, question.missing)
        case Slider():
            return _number_points(0, 11, 10, question.missing)
        case SemanticDifferential():
            return _number_points(1, question.points, 1, question.missing)
        case Likert() | Rating() | Matrix():
            if len(question.labels) != question.points:
                return _number_points(1, question.points, 1, question.missing)
            values = tuple(float(point) for point in range(1, question.points + 1))
            return Scale(question.labels, values, question.missing)
        case YesNo():
            return Scale(question.labels, None, question.missing)
        case MultipleChoice(multiple=False):
            return Scale(tuple(option.text for option in question.options), None, question.missing)
        case _:
            raise TypeError(f"A question of type {type_of(question)} has no scale.")


def _number_points(first: int, points: int, step: int, missing: tuple[str, ...]) -> Scale:
    numbers = range(first, first + points * step, step)
    return Scale(tuple(map(str, numbers)), tuple(map(float, numbers)), missing)


def direction_of(question: Question, row: Row | None = None) -> Direction:
    """
    Return how answers go with a respondent's latent score, in the order of `scale_of`.

    With `normal`, the lowest scores get the first answers. Yes comes first, so yes/no is reversed. A choice
    among names has no direction unless the file gives one.
    """
    if row is not None:
        return row.direction
    match question:
        case YesNo():
            return _reverse(question.direction or "normal")
        case MultipleChoice(multiple=False):
            return question.direction or "none"
        case _:
            return question.direction or "normal"


def _reverse(direction: Direction) -> Direction:
    match direction:
        case "normal":
            return "reversed"
        case "reversed":
            return "normal"
        case "none":
            return "none"


def ends_of(question: Question) -> tuple[str, str] | None:
    """Return the words at the two ends of a scale, or None if it has no labels or one for each point."""
    match question:
        case SemanticDifferential():
            return question.poles
        case NPS() | Slider() if len(question.labels) == 2:
            return question.labels[0], question.labels[1]
        case Likert() | Rating() | Matrix() if len(question.labels) == 2 != question.points:
            return question.labels[0], question.labels[1]
        case _:
            return None


def question_of(study: Study, question_id: str) -> Question:
    """Return a question. Raises KeyError."""
    for question in study.questions:
        if question.id == question_id:
            return question
    raise KeyError(question_id)
