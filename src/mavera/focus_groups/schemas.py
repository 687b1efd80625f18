"""
Define the wire object of a study, as `GET /focus-groups/{id}` returns it.

    FocusGroupResults
    ├── sample, method, usage, notices
    ├── results: QuestionResult × n     estimates, intervals, by persona, by cell, baseline, flags
    └── tables: TableResult × n         a question by a banner, with letters
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

Range = tuple[float, float]


class Figures(msgspec.Struct, omit_defaults=True):
    """The estimates of a question, of a part of it, or of one persona or arm."""

    score: float | UnsetType = UNSET
    promoters: float | UnsetType = UNSET
    passives: float | UnsetType = UNSET
    detractors: float | UnsetType = UNSET
    mean: float | UnsetType = UNSET
    median: float | UnsetType = UNSET
    std_dev: float | UnsetType = UNSET
    distribution: dict[str, float] | UnsetType = UNSET
    boxes: dict[str, float] | UnsetType = UNSET
    nets: dict[str, float] | UnsetType = UNSET
    mean_rank: dict[str, float] | UnsetType = UNSET
    top_places: dict[str, float] | UnsetType = UNSET
    best: dict[str, float] | UnsetType = UNSET
    worst: dict[str, float] | UnsetType = UNSET
    best_minus_worst: dict[str, float] | UnsetType = UNSET
    chosen_when_shown: dict[str, float] | UnsetType = UNSET


class PersonaFigures(Figures, omit_defaults=True, kw_only=True):
    """The estimates of one persona; `n` counts its rows in the file."""

    persona_id: str
    n: int


class ArmFigures(Figures, omit_defaults=True, kw_only=True):
    """The estimates of one monadic cell; `n` counts its rows in the file."""

    cell: str
    n: int


class Baseline(msgspec.Struct, omit_defaults=True):
    """The answer without a persona, and how flat the personas' answers are (1 is uniform)."""

    no_persona: Figures | None
    entropy_ratio: float | UnsetType = UNSET


class PartResult(Figures, omit_defaults=True, kw_only=True):
    """One row of a matrix."""

    row_id: str
    text: str
    simulation_interval: Range | None
    flags: list[str]
    intervals: dict[str, Range | None] | UnsetType = UNSET
    baseline: Baseline | UnsetType = UNSET


class ReachResult(msgspec.Struct):
    """The best combination of a size: the share reached, and how many of its items a respondent ticks."""

    items: list[str]
    reach: float
    frequency: float


class ThemeResult(msgspec.Struct):
    """A theme of an open question. Each distinct verbatim counts once."""

    name: str
    words: list[str]
    verbatims: int
    share: float
    example: str


class Verbatim(msgspec.Struct, omit_defaults=True):
    """An answer in words. `repeated` says how often the same text occurs, if more than once."""

    text: str
    persona_id: str | None
    condition: str = ""
    cell: str | None = None
    repeated: int = 1


class TurnResult(msgspec.Struct, omit_defaults=True):
    """An answer in a round of a discussion. `name` is the persona's."""

    round: int
    persona_id: str
    name: str
    text: str
    condition: str = ""
    cell: str | None = None


class MoveResult(msgspec.Struct, omit_defaults=True):
    """
    Whether a persona changed its position from round 1 to `last_round`.

    `read_by` is "verdict" if `stances` decided, the positions of the two answers, and else "similarity".
    `similarity` is the cosine of both answers. `towards` is the persona that the last answer came close to.
    """

    persona_id: str
    moved: bool
    last_round: int
    read_by: str
    similarity: float
    stances: tuple[str, str] | UnsetType = UNSET
    towards: str | UnsetType = UNSET
    condition: str = ""
    cell: str | None = None


class DepartureResult(msgspec.Struct, omit_defaults=True):
    """The round in which a persona left a discussion, because its answer failed."""

    round: int
    persona_id: str
    name: str
    reason: str
    condition: str = ""
    cell: str | None = None


class QuestionResult(Figures, omit_defaults=True, kw_only=True):
    """
    Everything that is known of a question.

    `base` counts the rows that were shown it. `simulation_interval` belongs to the score, the mean or the
    first answer, as `interval_of` says; `intervals` has those of every answer. `assumed` lists the figures
    that rest on the assumed correlation. `transcript`, `moved` and `left_discussion` are those of a
    discussion; `moved_missing` says why nothing is known of moves.
    """

    question_id: str
    type: str
    text: str
    base: int
    answered: int
    failed: int
    skipped: int
    missing: int
    simulation_interval: Range | None
    flags: list[str]
    assumed: list[str]
    interval_of: str | UnsetType = UNSET
    interval_from: str | UnsetType = UNSET
    interval_missing: str | UnsetType = UNSET
    order_range: Range | UnsetType = UNSET
    intervals: dict[str, Range | None] | UnsetType = UNSET
    by_persona: list[PersonaFigures] | UnsetType = UNSET
    by_cell: list[ArmFigures] | UnsetType = UNSET
    rows: list[PartResult] | UnsetType = UNSET
    model: dict[str, Any] | UnsetType = UNSET
    turf: list[ReachResult] | UnsetType = UNSET
    verbatims: list[Verbatim] | UnsetType = UNSET
    themes: list[ThemeResult] | UnsetType = UNSET
    transcript: list[TurnResult] | UnsetType = UNSET
    moved: list[MoveResult] | UnsetType = UNSET
    moved_missing: str | UnsetType = UNSET
    left_discussion: list[DepartureResult] | UnsetType = UNSET
    baseline: Baseline | UnsetType = UNSET


class TableCell(msgspec.Struct, omit_defaults=True):
    """A value of a banner table. `letters` are the columns of the same banner that it exceeds."""

    kind: str
    row: str
    column: str
    letter: str
    value: float | None
    letters: str = ""


class TableResult(msgspec.Struct, omit_defaults=True):
    """A question by a banner. `bases` counts rows of the file by column. `letters` names the correction."""

    row: str
    banner: str
    letters: str | None
    bases: dict[str, int]
    cells: list[TableCell]
    row_id: str | None = None
    assumed: bool = False


class SampleResult(msgspec.Struct):
    """The rows of the file."""

    respondents: int
    personas: int
    screened_out: int
    weighting_efficiency: float


class MethodResult(msgspec.Struct, omit_defaults=True):
    """How the study was read, and what was assumed."""

    model: str
    elicitation: str
    reads_as: str
    wordings: int
    orders: int
    seed: int
    study_hash: str
    latent_correlation: float
    notes: list[str]
    details: dict[str, str] = msgspec.field(default_factory=dict)

    def list_details(self) -> dict[str, str]:
        """Return the further facts under names for readers, such as "Position prior"."""
        return {name.replace("_", " ").capitalize(): fact for name, fact in self.details.items()}


class UsageResult(msgspec.Struct):
    """The credits and the reads of the model that the study used."""

    credits_used: int
    model_reads: int


class FocusGroupResults(msgspec.Struct):
    """The results of a study, complete or so far."""

    id: str
    status: str
    sample: SampleResult
    method: MethodResult
    results: list[QuestionResult]
    tables: list[TableResult]
    usage: UsageResult
    notices: list[str]
    created_at: int
    name: str
    object: str = "focus_group"
    synthetic: bool = True
