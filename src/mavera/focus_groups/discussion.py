"""
Let personas discuss an open question: build the text that each persona reads before it answers again. Pure.

    round 1        the ordinary answers. The first answer of each persona opens the discussion
    rounds 2 to 4  the others' latest answers, quoted; the persona's own answer; the moderator's follow-up
                   →  one answer of each persona

A discussion belongs to one arm and one condition of its question. If an answer fails, its persona leaves the
discussion. The baseline without a persona and further wordings take no part.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mavera.core.quoting import defuse_line
from mavera.focus_groups.asks import Shown
from mavera.focus_groups.cells import Cell
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.phrases import phrases_of
from mavera.focus_groups.repository import CellRow
from mavera.focus_groups.study import OpenEnded

# A model may ignore its token limit. Quoted answers are cut, so that ten personas fit into a prompt.
_MOST_HEARD = 1_000
_MARKS = str.maketrans({"“": "'", "”": "'"})

# The question, the arm and the condition of a discussion.
DiscussionId = tuple[str, str | None, str]


class LeftDiscussion(Exception):
    """A persona cannot answer in this round. The message says why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An answer in a discussion. `asked` is the question as the personas read it."""

    discussion: DiscussionId
    persona: str
    round: int
    text: str
    asked: str


@dataclass(frozen=True, slots=True)
class Departure:
    """The round in which a persona left a discussion, and why."""

    discussion: DiscussionId
    persona: str
    round: int
    reason: str


def identify_discussion(cell: Cell) -> DiscussionId | None:
    """Return the discussion of a cell, or None."""
    question = cell.shown.question
    takes_part = isinstance(question, OpenEnded) and question.rounds > 1 and cell.wording == 0
    if not takes_part or cell.id.persona is None:
        return None
    return cell.id.question, cell.id.arm, cell.id.condition


def list_previous(cells: Iterable[Cell], cell: Cell) -> dict[str, str]:
    """Return the keys of the cells in the round before `cell`, by persona."""
    discussion = identify_discussion(cell)
    return {
        str(one.id.persona): one.key
        for one in cells
        if one.round == cell.round - 1 and identify_discussion(one) == discussion
    }


def quote_round(cell: Cell, said: Mapping[str, str], panel: Panel) -> Shown:
    """
    Return the text for the persona of `cell`. `said` has the texts of the round before by persona.

    Raises LeftDiscussion if the persona, or all other personas, have no text in that round.
    """
    persona = str(cell.id.persona)
    if persona not in said:
        raise LeftDiscussion(f"The persona left the discussion in round {cell.round - 1}.")
    others = [one for one in panel if one.id in said and one.id != persona]
    if not others:
        raise LeftDiscussion("Nobody else is left in the discussion.")
    phrases = phrases_of(cell.shown.language)
    lines = [f"- {defuse_line(one.name)}: “{_quote(said[one.id])}”" for one in others]
    own = phrases.own_answer.format(text=_quote(said[persona]))
    return replace(cell.shown, heard=(phrases.heard, *lines, own))


def _quote(text: str) -> str:
    return defuse_line(text)[:_MOST_HEARD].translate(_MARKS)


def list_turns(
    cells: Mapping[str, Cell], rows: Sequence[CellRow]
) -> tuple[tuple[Statement, ...], tuple[Departure, ...]]:
    """Return the statements of all discussions by round, and the personas that left."""
    discussed = {identify_discussion(cells[row.key]) for row in rows if cells[row.key].round > 1}
    statements = []
    departures: dict[tuple[DiscussionId, str], Departure] = {}
    for row in sorted(rows, key=lambda row: (cells[row.key].round, row.place)):
        cell = cells[row.key]
        discussion = identify_discussion(cell)
        if discussion is None or discussion not in discussed or cell.id.persona is None:
            continue
        persona = cell.id.persona
        if row.status == "answered" and row.reading is not None:
            text = row.reading.reads[0].text
            statements.append(Statement(discussion, persona, cell.round, text, cell.shown.text))
        elif row.status == "failed":
            reason = row.error or "The model gave no answer."
            # The later rounds fail too, and add nothing to the first failure.
            departures.setdefault((discussion, persona), Departure(discussion, persona, cell.round, reason))
    return tuple(statements), tuple(departures.values())


def keep_whole_discussions(cells: Sequence[Cell], reused: Mapping[str, CellRow]) -> dict[str, CellRow]:
    """Return the answers that a copy keeps. It keeps later rounds only if the whole discussion is known."""
    broken = {identify_discussion(cell) for cell in cells if cell.key not in reused}
    kept = dict(reused)
    for cell in cells:
        if cell.round > 1 and identify_discussion(cell) in broken:
            kept.pop(cell.key, None)
    return kept
