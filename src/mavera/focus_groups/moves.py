"""
Find the personas that changed their position in a discussion, between their first and last answers.

    a yes/no question          the stances of both answers (`VerdictReader`); moved if they differ
    any other question         the cosines of sentence vectors; moved if the last answer is closer to
                               another persona's first answer than to the persona's own

If a stance is "none", the vectors decide. No threshold is tuned: the persona moved towards the persona with
the closest first answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from mavera.focus_groups.discussion import DiscussionId, Statement
from mavera.focus_groups.mixtures import Floats
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.verdict import Stance, VerdictReader
from mavera.reading.words import is_closed

ReadBy = Literal["verdict", "similarity"]


@dataclass(frozen=True, slots=True)
class Move:
    """
    The first and the last position of a persona in a discussion.

    `similarity` is the cosine of the first and the last answer: about .75 for texts that have nothing in
    common, and 1 for the same text. `towards` is the persona whose first answer is closest to the last
    answer, if there was a move and a first answer with that position.
    """

    discussion: DiscussionId
    persona: str
    last_round: int
    has_moved: bool
    read_by: ReadBy
    similarity: float
    stances: tuple[Stance, Stance] | None = None
    towards: str | None = None


def find_moves(
    statements: Sequence[Statement], encoder: SentenceEncoder, reader: VerdictReader
) -> tuple[Move, ...]:
    """Return a move for each persona that answered in more than one round. Raises NoEncoder."""
    found: list[Move] = []
    ordered = sorted(
        statements, key=lambda one: (one.discussion[0], one.discussion[1] or "", one.discussion[2])
    )
    for _, group in groupby(ordered, key=lambda one: one.discussion):
        found += _compare_ends(list(group), encoder, reader)
    return tuple(found)


def _compare_ends(
    statements: Sequence[Statement], encoder: SentenceEncoder, reader: VerdictReader
) -> list[Move]:
    firsts = {one.persona: one for one in statements if one.round == 1}
    lasts = {one.persona: one for one in sorted(statements, key=lambda one: one.round)}
    people = list(firsts)
    vectors = np.asarray(encoder.embed([firsts[one].text for one in people]), dtype=np.float64)
    stances: dict[str, Stance] = {}
    if statements and is_closed(statements[0].asked):
        stances = {one: reader.read(firsts[one].asked, firsts[one].text).stance for one in people}
    found = []
    for at, persona in enumerate(people):
        last = lasts[persona]
        if last.round == 1:
            continue
        cosines = vectors @ np.asarray(encoder.embed([last.text])[0], dtype=np.float64)
        similarity = round(float(cosines[at]), 4)
        ends: tuple[Stance, Stance] | None = None
        if persona in stances:
            ends = stances[persona], reader.read(last.asked, last.text).stance
        if ends is not None and "none" not in ends:
            like = [n for n, one in enumerate(people) if n != at and stances[one] == ends[1]]
            has_moved = ends[0] != ends[1]
            towards = _find_nearest(cosines, like) if has_moved else None
            read_by: ReadBy = "verdict"
        else:
            towards = _find_nearest(cosines, [n for n in range(len(people)) if n != at])
            has_moved = towards is not None and bool(cosines[towards] > cosines[at])
            towards = towards if has_moved else None
            read_by = "similarity"
        found.append(
            Move(
                last.discussion,
                persona,
                last.round,
                has_moved,
                read_by,
                similarity,
                ends,
                None if towards is None else people[towards],
            )
        )
    return found


def _find_nearest(cosines: Floats, among: Sequence[int]) -> int | None:
    return max(among, key=lambda at: float(cosines[at])) if among else None
