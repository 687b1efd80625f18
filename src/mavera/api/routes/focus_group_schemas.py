"""The bodies of /focus-groups: what a request may say, and the objects that describe a study."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mavera.api.http.bounds import Identifier, Name, OpaqueObject

Raw = dict[str, Any]
Url = Annotated[str, Meta(max_length=2048)]
StimulusText = Annotated[str, Meta(max_length=100_000)]


class StudyMembers(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """
    The study, in short members or whole in `study`, as in a study file.

    With `dry_run` nothing is started, and the answer says what the study would cost and how long it takes.
    """

    study: (
        Annotated[OpaqueObject, Meta(description="A whole study, with the fields of a study file.")] | None
    ) = None
    name: Annotated[str, Meta(max_length=200)] | None = None
    language: Annotated[str, Meta(max_length=35)] | None = None
    model: Annotated[str, Meta(max_length=64)] | None = None
    persona_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=10)] | None = None
    questions: Annotated[list[OpaqueObject], Meta(min_length=1, max_length=20)] | None = None
    sample_size: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    stimulus: OpaqueObject | StimulusText | None = None
    cells: Annotated[list[OpaqueObject], Meta(max_length=100)] | None = None
    weights: OpaqueObject | None = None
    banner: Annotated[list[Name], Meta(max_length=100)] | None = None
    dry_run: bool = False
    webhook: Annotated[Url, Meta(description="Called once, signed, when the study ends.")] | None = None


class CreateFocusGroup(StudyMembers, kw_only=True, forbid_unknown_fields=True):
    """A study to run."""


class CopyFocusGroup(StudyMembers, kw_only=True, forbid_unknown_fields=True):
    """The changes. What is left out stays as in the source."""


class ImportStudy(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A questionnaire of another program. `auto` finds out which."""

    content: Annotated[str, Meta(max_length=2_000_000)]
    format: Literal["auto", "surveyjs", "qsf", "csv"] = "auto"


class AddHumanAnswers(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """
    Answers of real people, as CSV with a header: one column for each question, named by its id.

    A column `persona_id`, or columns with attributes that lead to one persona, let the simulation be combined
    with them. The people must be a random sample of the audience.
    """

    csv: Annotated[str, Meta(min_length=1, max_length=4_000_000)]


class ProgressObject(msgspec.Struct, kw_only=True):
    """Cells of the study. `eta_seconds` is null unless it runs and some are done."""

    done: int
    total: int
    failed: int
    eta_seconds: int | None = None


class FocusGroupObject(msgspec.Struct, kw_only=True):
    """
    A study. Lists leave out `study`, `results` and `tables`, which also come empty before the first answers.
    """

    id: str
    object: Literal["focus_group"] = "focus_group"
    name: str
    status: Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]
    synthetic: bool = True
    created_at: int
    started_at: int | None
    ended_at: int | None
    progress: ProgressObject
    error: str | None = None
    limit_reached: str | None = None
    source_id: str | None = None
    webhook_secret: str | UnsetType = UNSET
    study: Raw | UnsetType = UNSET
    sample: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    results: list[Raw] | UnsetType = UNSET
    tables: list[Raw] | UnsetType = UNSET
    human: Raw | UnsetType = UNSET
    usage: Raw
    notices: list[str]


class QuoteObject(msgspec.Struct, kw_only=True):
    """The cost of a study. Nothing was started."""

    object: Literal["focus_group.quote"] = "focus_group.quote"
    credits: int
    model_reads: int
    prior_reads: int
    reused_cells: int
    tokens: int
    seconds: tuple[float, float]


class FocusGroupList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[FocusGroupObject]
    has_more: bool
    next_cursor: str | None


class RawList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Raw]
    has_more: bool
    next_cursor: str | None


class DeletedFocusGroup(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["focus_group.deleted"] = "focus_group.deleted"
    deleted: bool = True


class ImportedStudy(msgspec.Struct, kw_only=True):
    """The study, and what could not be carried over."""

    object: Literal["focus_group.import"] = "focus_group.import"
    format: str
    study: Raw
    report: list[str]


class ComparisonObject(msgspec.Struct, kw_only=True):
    """Studies side by side, by question. Letters name the studies that a figure exceeds."""

    object: Literal["focus_group.comparison"] = "focus_group.comparison"
    synthetic: bool = True
    studies: list[Raw]
    test: Literal["paired", "pooled"]
    questions: list[Raw]
    not_compared: list[str]
    notices: list[str]
