"""
Plan the cells of a study: what has to be elicited from the model, one cell for each distribution.

    persona (or none) × question × part × arm × condition × wording  →  Cell
    the same, for a scale that is rated by similarity                →  Cell in the persona's own words
    persona × discussion × round above the first                     →  Cell

The key of a cell is a hash of everything that shapes its answer. Two studies that share a key share the
answer: a copy, a wave, a study with more respondents. The order of the cells keeps a persona's together,
because the model then reads the persona once. Later rounds of discussions come last, round by round: what
they show depends on the answers before. Their keys hash what is known of the whole discussion when the study
is planned, so they are shared with a study that plans the same discussion.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from mavera.focus_groups.asks import MOST_LETTERS, Shown, plan_asks
from mavera.focus_groups.asks import Method as ReadMethod
from mavera.focus_groups.conditions import Condition, conditions_of, fill_question_text, state_facts
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.elicited import CellId
from mavera.focus_groups.orders import shuffle_for_cell
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.repository import Method
from mavera.focus_groups.similarity import list_anchors
from mavera.focus_groups.study import (
    ROUNDS_MAX,
    Arm,
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Stimulus,
    Study,
)
from mavera.focus_groups.wording import fill_names
from mavera.reading.encoder import VERSION as ENCODER

FEWEST_SPEAKERS = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """
    One elicitation. `key` is the hash of everything that shapes the answer.

    `images` are shown with the question. `round` is above 1 for an answer to what others said.
    """

    id: CellId
    wording: int
    shown: Shown
    images: tuple[str, ...]
    key: str
    round: int = 1


def plan_cells(study: Study, panel: Panel, method: Method) -> tuple[Cell, ...]:
    """
    Return the cells of a checked study: those of a persona together, then the baseline, then later rounds.
    """
    prompts = {one.id: one.prompt_digest for one in panel}
    asked = list(_list_asked(study, method.rated))
    cells = [
        _make_cell(study, method, persona, prompts.get(persona or "", ""), *one)
        for persona in (*prompts, None)
        for one in asked
    ]
    return (*cells, *_plan_rounds(cells, panel, method))


def _plan_rounds(cells: Sequence[Cell], panel: Panel, method: Method) -> Iterator[Cell]:
    """Yield the cells of later rounds. A persona alone has nobody to discuss with."""
    if len(panel) < FEWEST_SPEAKERS:
        return
    openings: dict[tuple[str, str | None, str], list[Cell]] = {}
    for cell in cells:
        question = cell.shown.question
        if isinstance(question, OpenEnded) and cell.id.persona is not None and cell.wording == 0:
            openings.setdefault((cell.id.question, cell.id.arm, cell.id.condition), []).append(cell)
    names = [one.name for one in panel]
    for number in range(2, ROUNDS_MAX + 1):
        for group in openings.values():
            question = group[0].shown.question
            if isinstance(question, OpenEnded) and question.rounds >= number:
                known = ([one.key for one in group], names, question.rounds)
                yield from (_make_later(one, number, method, known) for one in group)


def _make_later(opening: Cell, number: int, method: Method, known: object) -> Cell:
    shown = replace(opening.shown, round=number)
    asks = [ask.text for ask in plan_asks(shown, method.read)]
    key = hashlib.sha256(msgspec.json.encode((known, asks, opening.id.persona, number))).hexdigest()
    return Cell(opening.id, opening.wording, shown, opening.images, key, number)


def count_reads(cell: Cell, read: ReadMethod) -> int:
    """Return how often the model is asked for a cell, if the letters hold."""
    return len(plan_asks(cell.shown, read))


def list_places(cells: Iterable[Cell]) -> set[int]:
    """Return the numbers of places of the lists by letters, for which a position prior is needed."""
    return {
        len(ask.order)
        for cell in cells
        for ask in plan_asks(cell.shown, "letters")
        if ask.kind == "letters" and len(ask.order) <= MOST_LETTERS
    }


_Asked = tuple[Question, str | None, Arm | None, Condition, int, bool]


def _list_asked(study: Study, rated: Collection[str]) -> Iterator[_Asked]:
    arms: tuple[Arm | None, ...] = study.cells or (None,)
    for arm in arms:
        for question in study.questions:
            for condition in conditions_of(study, question):
                for part in list_parts(study, question):
                    for wording in range(study.wordings):
                        yield question, part, arm, condition, wording, False
                        if question.id in rated:
                            yield question, part, arm, condition, wording, True


def list_parts(study: Study, question: Question) -> tuple[str | None, ...]:
    """Return the parts of a question that are elicited apart: rows, sets or tasks."""
    match question:
        case Matrix():
            return tuple(row.id for row in question.rows)
        case MaxDiff():
            return tuple(str(number + 1) for number in range(len(list_sets(study, question))))
        case Conjoint():
            return tuple(str(number + 1) for number in range(len(list_tasks(study, question))))
        case _:
            return (None,)


def _make_cell(
    study: Study,
    method: Method,
    persona: str | None,
    prompt_digest: str,
    question: Question,
    part: str | None,
    arm: Arm | None,
    condition: Condition,
    wording: int,
    in_own_words: bool,
) -> Cell:
    names = dict(arm.vars) if arm else {}
    stimulus = (arm.stimulus if arm else None) or study.stimulus or Stimulus()
    stimulus_text = (fill_names(stimulus.text, names),) if stimulus.text else ()
    shown = Shown(
        question=question,
        text=fill_question_text(question, condition, names),
        language=study.language,
        wording=wording,
        before=(*stimulus_text, *state_facts(study, condition, names)),
        row=_find_row(question, part, names),
        alternatives=_list_alternatives(study, question, part, names),
        options=_list_options(question, names),
        first_order=shuffle_for_cell(question, persona, wording),
        in_own_words=in_own_words,
    )
    identity = CellId(question.id, part, persona, arm.id if arm else None, condition.key)
    shaping = (
        method.model_digest,
        method.read,
        method.elicitation,
        prompt_digest,
        [ask.text for ask in plan_asks(shown, method.read)],
        stimulus.images,
        study.sample.seed if isinstance(question, OpenEnded) or in_own_words else 0,
        # The cosines are stored, so they belong to the key. Their sharpness is applied later.
        *([(ENCODER, list_anchors(shown))] if in_own_words else []),
        # Two cells with the same words stay two cells: each is a row of the record.
        (identity.question, part, identity.arm, identity.condition, persona, wording),
    )
    key = hashlib.sha256(msgspec.json.encode(shaping)).hexdigest()
    return Cell(identity, wording, shown, tuple(stimulus.images), key)


def _find_row(question: Question, part: str | None, names: dict[str, str]) -> str | None:
    if not isinstance(question, Matrix):
        return None
    return next(fill_names(row.text, names) for row in question.rows if row.id == part)


def _list_options(question: Question, names: dict[str, str]) -> tuple[str, ...]:
    match question:
        case MultipleChoice(options=entries) | Ranking(items=entries):
            return tuple(fill_names(entry.text, names) for entry in entries)
        case _:
            return ()


def _list_alternatives(
    study: Study, question: Question, part: str | None, names: dict[str, str]
) -> tuple[str, ...]:
    match question:
        case MaxDiff():
            chosen = list_sets(study, question)[int(part or 1) - 1]
            return tuple(fill_names(question.items[number], names) for number in chosen)
        case Conjoint():
            return tuple(
                ", ".join(
                    f"{attribute.name}: {attribute.levels[level]}"
                    for attribute, level in zip(question.attributes, levels, strict=True)
                )
                for levels in list_tasks(study, question)[int(part or 1) - 1]
            )
        case _:
            return ()
