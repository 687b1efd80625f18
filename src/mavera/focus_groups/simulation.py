"""
Hold all data that results, tables and exports of a study are made from.

    study, panel, book, failures, draw, method  →  Simulation  →  grids, tables, results, files

The same simulation gives the same bytes: dates come from the study, or from SOURCE_DATE_EPOCH.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from mavera.focus_groups.discussion import Departure, Statement
from mavera.focus_groups.elicited import Book, Failures
from mavera.focus_groups.grids import Grids, ReferenceDraw
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.moves import Move
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.raking import rake_weights
from mavera.focus_groups.respondents import Draw
from mavera.focus_groups.shown_texts import show_text
from mavera.focus_groups.study import Question, Study
from mavera.focus_groups.tabulate import Table, tabulate_study
from mavera.focus_groups.themes import Theme

SYNTHETIC = "Simulated answers. Not a sample of people."


@dataclass(frozen=True, slots=True)
class Method:
    """
    The method of a study. `reads_as` is "this person" for letters, and "100 people" for shares.

    `details` are further facts about the method by name, as sentences or numbers.
    """

    model: str
    elicitation: str
    reads_as: str
    orders: int
    study_hash: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discussion:
    """
    The discussions of a question, in all arms and conditions.

    `moves` is None if the texts have no vectors. Then `moves_missing` says why.
    """

    statements: tuple[Statement, ...]
    departures: tuple[Departure, ...] = ()
    moves: tuple[Move, ...] | None = None
    moves_missing: str = ""


@dataclass(frozen=True)
class Simulation:
    """
    A study with all its answers. `created_at` and `ended_at` are Unix seconds.

    `draw_reference` draws the reference respondents; it is called only if a figure needs a joint
    distribution. `themes` has the themes of each open question, by its id, and `discussions` what was said in
    rounds.
    """

    id: str
    status: str
    created_at: int
    study: Study
    panel: Panel
    book: Book
    failures: Failures
    draw: Draw
    method: Method
    draw_reference: ReferenceDraw
    credits_used: int = 0
    model_reads: int = 0
    notices: tuple[str, ...] = ()
    themes: Mapping[str, tuple[Theme, ...]] = field(default_factory=dict)
    discussions: Mapping[str, Discussion] = field(default_factory=dict)
    source_date: int | None = None

    @cached_property
    def grids(self) -> Grids:
        """The distributions of the study by question."""
        return Grids(self.study, self.panel, self.book, self.failures, self.draw_reference)

    def text_of(self, question: Question) -> str:
        """Return the text of a question for readers, who see all cells at once."""
        return show_text(self.study, question.text)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The banner tables of the study."""
        return tabulate_study(self.grids, self.draw.completes)

    @cached_property
    def case_weights(self) -> Floats:
        """
        The weight of each respondent of the file, with the mean 1, raked to the targets of the study.

        Targets leave out values of attributes that no respondent has. Estimates still use them.
        """
        rows = self.draw.completes
        attributes = {
            name: [self.panel[at].attributes.get(name, "") for at in rows.panelist]
            for name in self.study.sample.weights
        }
        targets = {
            name: {value: goal for value, goal in goals.items() if value in set(attributes[name])}
            for name, goals in self.study.sample.weights.items()
        }
        if not targets or not len(rows):
            return np.ones(len(rows))
        return rake_weights(attributes, targets).weights

    @property
    def date(self) -> datetime:
        """The date in files: SOURCE_DATE_EPOCH, or the time when the study was created."""
        return datetime.fromtimestamp(self.created_at if self.source_date is None else self.source_date, UTC)

    def list_notices(self) -> tuple[str, ...]:
        """Return the notices for a reader. The first one says that the study is synthetic."""
        return tuple(dict.fromkeys((SYNTHETIC, *self.notices, *self.draw.notices)))
