"""
Build the wire object of a study: estimates with intervals, tables, method and notices.

    Simulation  →  FocusGroupResults (msgspec), as in `GET /focus-groups/{id}`

Estimates are exact mixtures of elicited distributions. The counts beside them (`base`, `answered`, `n`) are
those of the rows of the file, and no estimate depends on them.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from scipy.special import expit, logit

from mavera.core.text import format_count
from mavera.focus_groups.choice_models import NotIdentified, find_reach
from mavera.focus_groups.choices import ConjointModel, Worth, fit_conjoint_model, fit_maxdiff_model
from mavera.focus_groups.grids import Grid
from mavera.focus_groups.intervals import FEWEST_PERSONAS
from mavera.focus_groups.measures import Measure
from mavera.focus_groups.mixtures import Truths, measure_entropy
from mavera.focus_groups.moves import Move
from mavera.focus_groups.raking import measure_efficiency
from mavera.focus_groups.respondents import Status
from mavera.focus_groups.schemas import (
    ArmFigures,
    Baseline,
    DepartureResult,
    Figures,
    FocusGroupResults,
    MethodResult,
    MoveResult,
    PartResult,
    PersonaFigures,
    QuestionResult,
    Range,
    ReachResult,
    SampleResult,
    TableCell,
    TableResult,
    ThemeResult,
    TurnResult,
    UsageResult,
    Verbatim,
)
from mavera.focus_groups.simulation import Discussion, Simulation
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    YesNo,
    has_scale,
    scale_of,
    type_of,
)
from mavera.focus_groups.tabulate import TOTAL, Table, list_banners, measure_any

# Figures are rounded, so that the last bits of the floating point do not show in files.
DIGITS = 6
HIGH_ENTROPY = 0.95
POINTS_OF_FLAT_SCALES = 5
TURF_SIZES = 4


METHOD_NOTES = (
    (
        "Estimates are weighted mixtures of the answers elicited for each persona. They do not depend on the "
        "number of respondents."
    ),
    (
        "The simulation interval says how far an estimate would move with other personas. It is no margin of "
        "error, because personas are chosen and not drawn."
    ),
    (
        "A letter marks a value that is larger than that of the column with this letter by more than the "
        "spread of personas explains: upper case at 95 %, lower case at 90 %, corrected by Holm's method "
        "within one row and banner. Cells are compared by a paired t test over personas, groups of personas "
        "by a t test with the variance pooled within columns, and single personas by the spread between the "
        "two orders of the answers. A banner by another question has no letters, because its joint "
        "distribution is assumed."
    ),
    "The correlation of one respondent's answers within a persona is assumed, not elicited.",
    (
        "The order of questions and blocks shapes the questionnaire and its codebook. It cannot change an "
        "answer here, because each question is asked apart. The same is true of matrix rows, and of options "
        "if there can be several answers."
    ),
)


def build_results(simulation: Simulation) -> FocusGroupResults:
    """Return the wire object of a study."""
    study = simulation.study
    draw = simulation.draw
    return FocusGroupResults(
        id=simulation.id,
        name=study.name,
        status=simulation.status,
        created_at=simulation.created_at,
        sample=SampleResult(
            respondents=len(draw.completes),
            personas=len(simulation.panel),
            screened_out=len(draw.screened),
            weighting_efficiency=round(measure_efficiency(simulation.case_weights), 4),
        ),
        method=build_method(simulation),
        results=[build_question(simulation, question) for question in study.questions],
        tables=[
            table
            for one in simulation.tables
            for table in _build_tables(one, simulation.study.questions, list_banners(study))
        ],
        usage=UsageResult(simulation.credits_used, simulation.model_reads),
        notices=list(simulation.list_notices()),
    )


def build_method(simulation: Simulation) -> MethodResult:
    """Return the statement of the method that every result and export carries."""
    study, method = simulation.study, simulation.method
    return MethodResult(
        model=method.model,
        elicitation=method.elicitation,
        reads_as=method.reads_as,
        wordings=study.wordings,
        orders=method.orders,
        seed=study.sample.seed,
        study_hash=method.study_hash,
        latent_correlation=study.latent_correlation,
        notes=list(METHOD_NOTES),
        details=dict(method.details),
    )


def build_question(simulation: Simulation, question: Question, mask: Truths | None = None) -> QuestionResult:
    """
    Return the estimates of one question, for everybody or for the personas and arms in `mask`.

    For a part of the audience there are no models, no themes and no reach of combinations.
    """
    result = _start_question(simulation, question, mask)
    match question:
        case OpenEnded():
            _add_verbatims(result, simulation, question)
            if mask is not None:
                _keep_verbatims(result, simulation, mask)
        case Matrix():
            result.rows = [_build_row(simulation, question, row.id, row.text, mask) for row in question.rows]
            result.interval_missing = "Each row has an interval of its own."
            result.interval_from = _name_source(simulation, mask=mask)
            result.flags = sorted({flag for row in result.rows for flag in row.flags})
        case _:
            _add_estimates(result, simulation, question, mask)
    if isinstance(question, MultipleChoice) and question.multiple and mask is None:
        result.turf = _find_turf(simulation, question)
    if isinstance(question, MaxDiff | Conjoint) and mask is None:
        result.model = _build_model(result, simulation, question)
    return result


def select_group(simulation: Simulation, personas: Sequence[str], arms: Sequence[str]) -> Truths:
    """
    Return the mask of the personas and arms with these ids. Without ids of a kind, all of it are in the mask.

    Raises ValueError for an id that the study lacks.
    """
    people = [one.id for one in simulation.panel]
    cells = [arm.id for arm in simulation.study.cells]
    unknown = [*({*personas} - {*people}), *({*arms} - {*cells})]
    if unknown:
        raise ValueError(f"This study has no persona or cell '{unknown[0]}'.")
    mask = np.zeros((len(people), len(simulation.grids.arms)), dtype=bool)
    rows = [people.index(one) for one in personas] or list(range(len(people)))
    columns = [cells.index(one) for one in arms] or list(range(mask.shape[1]))
    mask[np.ix_(rows, columns)] = True
    return mask


def _start_question(simulation: Simulation, question: Question, mask: Truths | None) -> QuestionResult:
    """Return a result with its counts of rows only."""
    rows = simulation.draw.completes
    answers = rows.answers.get(question.id)
    status = np.empty(0, dtype=np.uint8) if answers is None else answers.status
    if mask is not None and answers is not None:
        status = status[mask[rows.panelist, rows.arm]]
    counts = {one: int((status == one).sum()) for one in Status}
    return QuestionResult(
        question_id=question.id,
        type=type_of(question),
        text=simulation.text_of(question),
        base=counts[Status.ANSWERED] + counts[Status.MISSING] + counts[Status.FAILED],
        answered=counts[Status.ANSWERED],
        failed=counts[Status.FAILED],
        skipped=counts[Status.SKIPPED],
        missing=counts[Status.MISSING],
        simulation_interval=None,
        flags=[],
        assumed=[],
    )


def _add_estimates(
    result: QuestionResult, simulation: Simulation, question: Question, mask: Truths | None
) -> None:
    measures = measure_any(simulation.grids, question, None)
    _fill_figures(result, measures, mask)
    result.intervals = {one.label: _round_range(one.find_interval(mask)) for one in _list_answers(measures)}
    main = _find_main(measures)
    if main is not None:
        result.interval_of = main.label
        result.simulation_interval = _round_range(main.find_interval(mask))
        if result.simulation_interval is None:
            result.interval_missing = _explain_missing(main, mask)
            gaps = _find_gaps(simulation, question)
            if gaps and mask is None:
                result.order_range = _find_order_range(main, gaps)
        else:
            result.interval_from = _name_source(simulation, main, mask)
    result.by_persona = _list_personas(simulation, measures, mask)
    if simulation.study.cells:
        result.by_cell = _list_arms(simulation, measures, mask)
    result.baseline = _build_baseline(simulation, question, None, measures)
    result.flags = _list_flags(simulation, question, None)
    result.assumed = sorted({one.label for one in measures if one.assumed})


def _fill_figures(figures: Figures, measures: Sequence[Measure], mask: Any = None) -> None:
    """Set the members of `figures` from the measures of a question, for the personas and arms in `mask`."""
    groups: dict[str, dict[str, float]] = {}
    for one in measures:
        value = one.estimate(mask)
        if value is not None:
            groups.setdefault(_MEMBERS[one.kind], {})[one.label] = round(value, DIGITS)
    _set_members(figures, groups)


def _fill_baseline(figures: Figures, measures: Sequence[Measure]) -> None:
    groups: dict[str, dict[str, float]] = {}
    for one in measures:
        value = one.estimate_baseline()
        if value is not None:
            groups.setdefault(_MEMBERS[one.kind], {})[one.label] = round(value, DIGITS)
    _set_members(figures, groups)


_MEMBERS = {
    "answer": "distribution",
    "missing": "distribution",
    "net": "nets",
    "box": "boxes",
    "mean": "mean",
    "std_dev": "std_dev",
    "median": "median",
    "score": "score",
    "rank": "mean_rank",
    "place": "top_places",
    "best": "best",
    "worst": "worst",
    "count": "best_minus_worst",
    "level": "chosen_when_shown",
}
_SINGLE = frozenset({"mean", "std_dev", "median", "score"})


def _set_members(figures: Figures, groups: dict[str, dict[str, float]]) -> None:
    for member, values in groups.items():
        if member in _SINGLE:
            setattr(figures, member, next(iter(values.values())))
        elif member == "boxes" and "score" in groups:
            figures.promoters, figures.passives, figures.detractors = values.values()
        else:
            setattr(figures, member, values)


def _list_answers(measures: Sequence[Measure]) -> list[Measure]:
    return [one for one in measures if one.kind in ("answer", "missing", "net", "box", "best", "level")]


def _find_main(measures: Sequence[Measure]) -> Measure | None:
    """Return the measure that a question is known by: its score, else its mean, else its first answer."""
    for kind in ("score", "mean", "answer", "best", "level"):
        for one in measures:
            if one.kind == kind and one.label != "Answers per respondent":
                return one
    return None


def _explain_missing(measure: Measure, mask: Truths | None) -> str:
    _, weights = measure.read_personas(mask)
    count = int((weights > 0).sum())
    if count == 0:
        return "No cell of the question was answered."
    return f"An interval needs {FEWEST_PERSONAS} personas or more. The estimate rests on {count}."


def _find_gaps(simulation: Simulation, question: Question) -> tuple[float, ...]:
    if isinstance(question, MaxDiff | Conjoint):
        return ()
    return simulation.grids.grid(question).gaps


def _find_order_range(measure: Measure, gaps: Sequence[float]) -> Range:
    """
    Return how far the measure may move between the two orders, at the mean of their largest differences.

    If log-odds move by g, so does the logit of a mean that is scaled to 0 … 1.
    """
    value = measure.estimate() or 0.0
    width = measure.high - measure.low
    scaled = min(max((value - measure.low) / width, 1e-9), 1 - 1e-9)
    reach = float(np.mean(gaps)) / 2
    low, high = (float(expit(logit(scaled) + sign * reach)) for sign in (-1, 1))
    return round(measure.low + width * low, DIGITS), round(measure.low + width * high, DIGITS)


def _name_source(simulation: Simulation, measure: Measure | None = None, mask: Truths | None = None) -> str:
    count = len(simulation.panel) if mask is None else int(mask.any(axis=1).sum())
    if measure is not None:
        count = int((measure.read_personas(mask)[1] > 0).sum())
        if measure.by_wording is not None:
            return f"{format_count(count, 'persona')} and {simulation.study.wordings} wordings"
    return format_count(count, "persona")


def _round_range(found: Range | None) -> Range | None:
    return None if found is None else (round(found[0], DIGITS), round(found[1], DIGITS))


def _list_personas(
    simulation: Simulation, measures: Sequence[Measure], group: Truths | None
) -> list[PersonaFigures]:
    found = []
    rows = simulation.draw.completes
    for at, one in enumerate(simulation.panel):
        mask = np.zeros((len(simulation.panel), len(simulation.grids.arms)), dtype=bool)
        mask[at] = True if group is None else group[at]
        if not mask.any():
            continue
        figures = PersonaFigures(persona_id=one.id, n=int(mask[rows.panelist, rows.arm].sum()))
        _fill_figures(figures, measures, mask)
        found.append(figures)
    return found


def _list_arms(simulation: Simulation, measures: Sequence[Measure], group: Truths | None) -> list[ArmFigures]:
    found = []
    rows = simulation.draw.completes
    for at, arm in enumerate(simulation.study.cells):
        mask = np.zeros((len(simulation.panel), len(simulation.grids.arms)), dtype=bool)
        mask[:, at] = True if group is None else group[:, at]
        if not mask.any():
            continue
        figures = ArmFigures(cell=arm.id, n=int(mask[rows.panelist, rows.arm].sum()))
        _fill_figures(figures, measures, mask)
        found.append(figures)
    return found


def _build_baseline(
    simulation: Simulation, question: Question, part: str | None, measures: Sequence[Measure]
) -> Baseline:
    known = any(one.estimate_baseline() is not None for one in measures)
    figures = Figures() if known else None
    if figures is not None:
        _fill_baseline(figures, measures)
    baseline = Baseline(figures)
    if has_scale(question):
        ratio = _find_entropy(simulation.grids.grid(question, part))
        if ratio is not None:
            baseline.entropy_ratio = round(ratio, 4)
    return baseline


def _find_entropy(grid: Grid) -> float | None:
    """Return the mean entropy of the persona cells, as a fraction of a uniform answer's."""
    kept = grid.weights > 0
    return float(measure_entropy(grid.shares[kept]).mean()) if kept.any() else None


def _list_flags(simulation: Simulation, question: Question, part: str | None) -> list[str]:
    """Return marks that a reader has to see: gaps between orders, flat scales, failed cells."""
    flags = merge_flags(
        flag
        for cell, one in simulation.book.items()
        if cell.question == question.id and cell.persona is not None and part in (None, cell.part)
        for flag in one.flags
    )
    failed = sum(1 for one in simulation.failures if one.question == question.id and part in (None, one.part))
    is_flat_kind = has_scale(question) and not isinstance(question, YesNo | MultipleChoice)
    if is_flat_kind and len(scale_of(question).labels) >= POINTS_OF_FLAT_SCALES:
        ratio = _find_entropy(simulation.grids.grid(question, part))
        if ratio is not None and ratio > HIGH_ENTROPY:
            flags.append(f"flat {ratio:.2f}")
    if failed:
        flags.append(f"failed_cells {failed}")
    if not isinstance(question, MaxDiff | Conjoint) and not simulation.grids.grid(question, part).answered:
        flags.append("no_answered_cell")
    return flags


def merge_flags(flags: Iterable[str]) -> list[str]:
    """Return one flag of each name: with the largest of its numbers, or else with the number of cells."""
    values: dict[str, list[str]] = {}
    for flag in flags:
        name, _, value = flag.partition(" ")
        values.setdefault(name, []).append(value)
    merged = []
    for name, found in sorted(values.items()):
        if all(re.fullmatch(r"\d+(\.\d+)?", value) for value in found):
            merged.append(f"{name} {max(found, key=float)}")
        else:
            merged.append(f"{name} in {format_count(len(found), 'cell')}")
    return merged


def _build_row(
    simulation: Simulation, question: Matrix, row_id: str, text: str, mask: Truths | None
) -> PartResult:
    measures = measure_any(simulation.grids, question, row_id)
    main = _find_main(measures)
    result = PartResult(
        row_id=row_id,
        text=text,
        simulation_interval=_round_range(main.find_interval(mask)) if main is not None else None,
        intervals={one.label: _round_range(one.find_interval(mask)) for one in _list_answers(measures)},
        baseline=_build_baseline(simulation, question, row_id, measures),
        flags=_list_flags(simulation, question, row_id),
    )
    _fill_figures(result, measures, mask)
    return result


def _find_turf(simulation: Simulation, question: MultipleChoice) -> list[ReachResult]:
    """Return the combinations of options with the largest reach, from the reference draw."""
    rows = simulation.grids.reference.completes
    answers = rows.answers[question.id]
    kept = answers.status == Status.ANSWERED
    places = [at for at, option in enumerate(question.options) if not option.exclusive]
    if not kept.any() or not places:
        return []
    weights = simulation.grids.weigh_personas(question)[rows.panelist, rows.arm][kept]
    ticks = answers.choices[kept][:, places]
    return [
        ReachResult(
            [question.options[places[item]].text for item in one.items],
            round(one.reach, 4),
            round(one.frequency, 4),
        )
        for one in find_reach(ticks, weights, TURF_SIZES)
    ]


def _build_model(
    result: QuestionResult, simulation: Simulation, question: MaxDiff | Conjoint
) -> dict[str, Any] | UnsetType:
    try:
        if isinstance(question, MaxDiff):
            fitted = fit_maxdiff_model(simulation.grids, question)
            return {
                "items": [
                    {"item": item, "utility": _to_wire(utility), "share_of_preference": _to_wire(share)}
                    for item, utility, share in zip(
                        question.items, fitted.utilities, fitted.shares, strict=True
                    )
                ]
            }
        return _describe_conjoint(fit_conjoint_model(simulation.grids, question))
    except NotIdentified as error:
        result.flags = [*result.flags, f"no_model: {error}"]
        return UNSET


def _describe_conjoint(model: ConjointModel) -> dict[str, Any]:
    return {
        "attributes": [
            {
                "attribute": one.name,
                "importance": _to_wire(one.importance),
                "levels": [
                    {
                        "level": level.level,
                        "part_worth": _to_wire(level.part_worth),
                        "willingness_to_pay": None
                        if level.willingness_to_pay is None
                        else _to_wire(level.willingness_to_pay),
                    }
                    for level in one.levels
                ],
            }
            for one in model.attributes
        ],
        "price_slope": None if model.price_slope is None else _to_wire(model.price_slope),
        "none": None if model.none is None else _to_wire(model.none),
        "demand": [{"price": price, "share": _to_wire(share)} for price, share in model.demand],
    }


def _to_wire(worth: Worth) -> dict[str, Any]:
    return {"value": round(worth.value, DIGITS), "simulation_interval": _round_range(worth.interval)}


def _add_verbatims(result: QuestionResult, simulation: Simulation, question: OpenEnded) -> None:
    names = [one.id for one in simulation.panel]
    cells = [
        one
        for cell, one in simulation.book.items()
        if cell.question == question.id and cell.persona is not None
    ]
    cells.sort(key=lambda one: (names.index(str(one.cell.persona)), one.cell.arm or "", one.cell.condition))
    repeats: dict[str, int] = {}
    for one in cells:
        for text in one.texts:
            repeats[text] = repeats.get(text, 0) + 1
    result.verbatims = [
        Verbatim(text, one.cell.persona, one.cell.condition, one.cell.arm, repeats[text])
        for one in cells
        for text in one.texts
    ]
    result.themes = [
        ThemeResult(
            theme.name, list(theme.words), len(theme.verbatims), round(theme.share, 4), theme.verbatims[0]
        )
        for theme in simulation.themes.get(question.id, ())
    ]
    failed = sum(1 for one in simulation.failures if one.question == question.id)
    result.flags = [f"failed_cells {failed}"] if failed else []
    result.interval_missing = "Answers in words have no interval."
    if question.id in simulation.discussions:
        _add_discussion(result, simulation, simulation.discussions[question.id])


def _keep_verbatims(result: QuestionResult, simulation: Simulation, mask: Truths) -> None:
    """Keep the verbatims of the personas and arms in `mask`. Themes are those of all verbatims."""
    people = [one.id for one in simulation.panel]
    cells = [arm.id for arm in simulation.study.cells]
    kept = []
    for one in result.verbatims or ():
        at = people.index(one.persona_id or "")
        if mask[at].any() if one.cell is None else mask[at, cells.index(one.cell)]:
            kept.append(one)
    result.verbatims = kept
    result.themes = []


def _add_discussion(result: QuestionResult, simulation: Simulation, discussion: Discussion) -> None:
    names = {one.id: one.name for one in simulation.panel}
    result.transcript = [
        TurnResult(one.round, one.persona, names[one.persona], one.text, condition, arm)
        for one in discussion.statements
        for _, arm, condition in [one.discussion]
    ]
    if discussion.moves is None:
        result.moved_missing = discussion.moves_missing
    else:
        result.moved = [_describe_move(one) for one in discussion.moves]
    if discussion.departures:
        result.left_discussion = [
            DepartureResult(one.round, one.persona, names[one.persona], one.reason, condition, arm)
            for one in discussion.departures
            for _, arm, condition in [one.discussion]
        ]
        result.flags = [*result.flags, f"left_discussion {len(discussion.departures)}"]


def _describe_move(move: Move) -> MoveResult:
    _, arm, condition = move.discussion
    return MoveResult(
        persona_id=move.persona,
        moved=move.has_moved,
        last_round=move.last_round,
        read_by=move.read_by,
        similarity=move.similarity,
        stances=move.stances or UNSET,
        towards=move.towards or UNSET,
        condition=condition,
        cell=arm,
    )


def _build_tables(table: Table, questions: Sequence[Question], banners: Sequence[str]) -> list[TableResult]:
    """Return one wire table for each banner of a table. Every one of them starts with the total."""
    by_question = {one.id for one in questions}
    found = []
    for banner in banners:
        places = [at for at, one in enumerate(table.columns) if one.variable in (TOTAL, banner)]
        if len(places) < 2:
            continue
        columns = [table.columns[at] for at in places]
        cells = [
            TableCell(
                line.kind,
                line.label,
                table.columns[at].label,
                table.columns[at].letter,
                None if line.entries[at].value is None else round(float(line.entries[at].value or 0), DIGITS),
                line.entries[at].letters,
            )
            for line in table.lines
            for at in places
        ]
        found.append(
            TableResult(
                row=table.question_id,
                banner=banner,
                letters=None if banner in by_question else "holm",
                bases={column.label: column.base for column in columns},
                cells=cells,
                row_id=table.part,
                assumed=banner in by_question or any(line.assumed for line in table.lines),
            )
        )
    return found
