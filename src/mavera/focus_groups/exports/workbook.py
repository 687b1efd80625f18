"""
Write an Excel workbook: contents, banner tables, models of choices, verbatims and the method.

    Contents   what was asked, with a link to each table
    Tables     banner × question: bases, column per cents, nets, boxes, means, letters below the values
    Choices    utilities, part-worths, importance, willingness to pay (if the study has such questions)
    Verbatims  every answer in words, with its persona and theme
    Method     how the numbers came about, and what they are not

Per cents are numbers between 0 and 1 with a format, so that they can be computed with. No cell holds a
formula, and no text starts like one.
"""

import io
from collections.abc import Sequence
from typing import Any

import xlsxwriter

from mavera.core.text import escape_formula, format_count
from mavera.focus_groups.conditions import conditions_of, state_facts
from mavera.focus_groups.exports import ExportFile, name_file
from mavera.focus_groups.results import build_method, build_question
from mavera.focus_groups.schemas import QuestionResult
from mavera.focus_groups.shown_texts import describe_cells
from mavera.focus_groups.simulation import SYNTHETIC, Simulation
from mavera.focus_groups.study import Conjoint, MaxDiff, OpenEnded, Question, Study
from mavera.focus_groups.tabulate import TOTAL, Column, Line, Table

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_INK, _BRAND, _PALE, _GREY = "#1F2A37", "#1D4E6B", "#E8EFF4", "#6B7280"
_NAMES = {TOTAL: "Total", "persona": "Persona", "cell": "Cell"}
_LABELS = {
    "rank": "Mean rank: {}",
    "place": "Among the first: {}",
    "best": "Best: {}",
    "worst": "Worst: {}",
    "count": "Best minus worst: {}",
    "net": "Net: {}",
}


def build_xlsx(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return the workbook."""
    buffer = io.BytesIO()
    options = {
        "in_memory": True,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
        "strings_to_urls": False,
    }
    book = xlsxwriter.Workbook(buffer, options)
    book.set_properties(
        {
            "title": escape_formula(simulation.study.name),
            "subject": SYNTHETIC,
            "created": simulation.date.replace(tzinfo=None),
        }
    )
    _Workbook(book, simulation).write()
    book.close()
    return (ExportFile(name_file(simulation, ".xlsx"), MEDIA_TYPE, buffer.getvalue()),)


class _Workbook:
    """Writes the sheets of one workbook."""

    def __init__(self, book: Any, simulation: Simulation) -> None:
        self.book = book
        self.simulation = simulation
        self.formats = _make_formats(book)

    def write(self) -> None:
        """Write all sheets, the contents first."""
        contents = self.book.add_worksheet("Contents")
        tables = self.book.add_worksheet("Tables")
        places = self._write_tables(tables)
        self._write_contents(contents, places)
        if any(isinstance(one, MaxDiff | Conjoint) for one in self.simulation.study.questions):
            self._write_choices(self.book.add_worksheet("Choices"))
        if any(isinstance(one, OpenEnded) for one in self.simulation.study.questions):
            self._write_verbatims(self.book.add_worksheet("Verbatims"))
        self._write_method(self.book.add_worksheet("Method"))

    def _text(self, sheet: Any, row: int, column: int, text: str, style: str = "plain") -> None:
        sheet.write_string(row, column, escape_formula(text), self.formats[style])

    def _write_contents(self, sheet: Any, places: Sequence[tuple[Table, int]]) -> None:
        study = self.simulation.study
        sheet.hide_gridlines(2)
        sheet.set_column(0, 0, 14)
        sheet.set_column(1, 1, 90)
        self._text(sheet, 0, 0, study.name, "title")
        self._text(sheet, 1, 0, SYNTHETIC, "warning")
        count = len(self.simulation.draw.completes)
        facts = (
            f"{format_count(len(self.simulation.panel), 'persona')}, "
            f"{format_count(count, 'respondent')} drawn from their answers"
        )
        self._text(sheet, 2, 0, f"{facts}. {self.simulation.date.date().isoformat()}", "note")
        self._text(sheet, 4, 0, "Question", "head")
        self._text(sheet, 4, 1, "Table", "head")
        for at, (table, row) in enumerate(places, 5):
            target = f"internal:'Tables'!A{row + 1}"
            sheet.write_url(at, 0, target, self.formats["link"], escape_formula(table.question_id))
            self._text(sheet, at, 1, table.title)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)

    def _write_tables(self, sheet: Any) -> list[tuple[Table, int]]:
        sheet.hide_gridlines(2)
        sheet.set_column(0, 0, 44)
        sheet.set_column(1, 60, 11)
        sheet.set_landscape()
        sheet.set_paper(9)
        sheet.fit_to_pages(1, 0)
        self._text(sheet, 0, 0, self.simulation.study.name, "title")
        self._text(sheet, 1, 0, SYNTHETIC, "warning")
        self._text(sheet, 2, 0, "Column per cents. Letters: see the sheet Method.", "note")
        places = []
        row = 4
        for table in self.simulation.tables:
            places.append((table, row))
            row = self._write_table(sheet, row, table) + 2
        return places

    def _write_table(self, sheet: Any, row: int, table: Table) -> int:
        """Write a table from `row` on, and return the first row below it."""
        self._text(sheet, row, 0, f"{table.question_id}  {table.title}", "question")
        self._write_head(sheet, row + 1, table.columns)
        row += 4
        self._text(sheet, row, 0, "Base (rows of the file)", "base_label")
        for place, column in _place_columns(table.columns):
            sheet.write_number(row, place, column.base, self.formats["base"])
        row += 1
        for line in table.lines:
            row = self._write_line(sheet, row, line)
        return row

    def _write_head(self, sheet: Any, row: int, columns: Sequence[Column]) -> None:
        placed = _place_columns(columns)
        for variable in dict.fromkeys(column.variable for _, column in placed):
            places = [place for place, column in placed if column.variable == variable]
            name = escape_formula(_NAMES.get(variable, variable))
            if variable == TOTAL:
                sheet.merge_range(row, 1, row, 3, "", self.formats["head"])
                self._text(sheet, row, 1, name, "head")
            elif len(places) > 1:
                sheet.merge_range(row, places[0], row, places[-1], "", self.formats["head"])
                self._text(sheet, row, places[0], name, "head")
            else:
                self._text(sheet, row, places[0], name, "head")
        self._text(sheet, row + 1, 0, "", "column")
        self._text(sheet, row + 2, 0, "", "letter")
        for place, column in placed:
            self._text(sheet, row + 1, place, column.label, "column")
            self._text(sheet, row + 2, place, column.letter, "letter")
        for place, label in ((2, "Interval from"), (3, "Interval to")):
            self._text(sheet, row + 1, place, label, "column")
            self._text(sheet, row + 2, place, "", "letter")

    def _write_line(self, sheet: Any, row: int, line: Line) -> int:
        label = _LABELS.get(line.kind, "{}").format(line.label)
        strong = line.kind in ("net", "box", "mean", "score")
        name = f"{label} (assumed)" if line.assumed else label
        self._text(sheet, row, 0, name, "strong_label" if strong else "label")
        style = self.formats[("strong_" if strong else "") + ("share" if line.is_share else "number")]
        for at, entry in enumerate(line.entries):
            place = 1 if at == 0 else at + 3
            if entry.value is None:
                self._text(sheet, row, place, "–", "dash")
            else:
                sheet.write_number(row, place, entry.value, style)
        if line.interval is not None:
            small = self.formats["small_share" if line.is_share else "small_number"]
            sheet.write_number(row, 2, line.interval[0], small)
            sheet.write_number(row, 3, line.interval[1], small)
        if not any(entry.letters for entry in line.entries):
            return row + 1
        for at, entry in enumerate(line.entries):
            if entry.letters:
                self._text(sheet, row + 1, 1 if at == 0 else at + 3, entry.letters, "letters")
        return row + 2

    def _write_choices(self, sheet: Any) -> None:
        sheet.hide_gridlines(2)
        sheet.set_column(0, 0, 44)
        sheet.set_column(1, 8, 14)
        self._text(sheet, 0, 0, SYNTHETIC, "warning")
        row = 2
        for question in self.simulation.study.questions:
            if isinstance(question, MaxDiff | Conjoint):
                result = build_question(self.simulation, question)
                self._text(sheet, row, 0, f"{question.id}  {self.simulation.text_of(question)}", "question")
                row = self._write_model(sheet, row + 1, result) + 2

    def _write_model(self, sheet: Any, row: int, result: QuestionResult) -> int:
        if not isinstance(result.model, dict):
            self._text(sheet, row, 0, "The answers do not determine a model.", "note")
            return row + 1
        if "items" in result.model:
            rows = [
                (one["item"], [one["utility"], one["share_of_preference"]]) for one in result.model["items"]
            ]
            return self._write_worths(sheet, row, ("Item", "Utility", "Share of preference"), rows)
        for one in result.model["attributes"]:
            heads = (one["attribute"], "Part-worth", "Willingness to pay", "Importance")
            worths = [
                (level["level"], [level["part_worth"], level["willingness_to_pay"]])
                for level in one["levels"]
            ]
            worths[0] = (worths[0][0], [*worths[0][1], one["importance"]])
            row = self._write_worths(sheet, row, heads, worths) + 1
        demand = [(one["price"], [one["share"]]) for one in result.model["demand"]]
        if demand:
            row = self._write_worths(sheet, row, ("Price", "Share of an average product"), demand)
        return row

    def _write_worths(
        self, sheet: Any, row: int, heads: Sequence[str], rows: Sequence[tuple[str, list[Any]]]
    ) -> int:
        self._text(sheet, row, 0, heads[0], "head")
        for at, head in enumerate(heads[1:]):
            for place, text in enumerate((head, "from", "to")):
                self._text(sheet, row, 1 + 3 * at + place, text, "head")
        for label, worths in rows:
            row += 1
            self._text(sheet, row, 0, label, "label")
            for at, worth in enumerate(worths):
                if worth is None:
                    continue
                sheet.write_number(row, 1 + 3 * at, worth["value"], self.formats["worth"])
                for place, end in enumerate(worth["simulation_interval"] or ()):
                    sheet.write_number(row, 2 + 3 * at + place, end, self.formats["small_worth"])
        return row + 1

    def _write_verbatims(self, sheet: Any) -> None:
        for at, width in enumerate((12, 28, 12, 24, 90, 24)):
            sheet.set_column(at, at, width)
        self._text(sheet, 0, 0, SYNTHETIC, "warning")
        for at, head in enumerate(("Question", "Persona", "Cell", "Condition", "Answer", "Theme")):
            self._text(sheet, 1, at, head, "head")
        sheet.freeze_panes(2, 0)
        names = {one.id: one.name for one in self.simulation.panel}
        row = 2
        for question in self.simulation.study.questions:
            if not isinstance(question, OpenEnded):
                continue
            themes = {
                text: theme.name
                for theme in self.simulation.themes.get(question.id, ())
                for text in theme.verbatims
            }
            result = build_question(self.simulation, question)
            said = _state_conditions(self.simulation.study, question)
            for one in result.verbatims or ():
                persona = names.get(one.persona_id or "", "")
                cells = (
                    question.id,
                    persona,
                    one.cell or "",
                    said.get(one.condition, one.condition),
                    one.text,
                    themes.get(one.text, ""),
                )
                for at, text in enumerate(cells):
                    self._text(sheet, row, at, text, "wrapped")
                row += 1

    def _write_method(self, sheet: Any) -> None:
        sheet.hide_gridlines(2)
        sheet.set_column(0, 0, 28)
        sheet.set_column(1, 1, 110)
        method = build_method(self.simulation)
        self._text(sheet, 0, 0, SYNTHETIC, "warning")
        facts = {
            "Study": self.simulation.study.name,
            "Model": method.model,
            "Elicitation": method.elicitation,
            "Answers read as": method.reads_as,
            "Wordings": str(method.wordings),
            "Orders": str(method.orders),
            "Seed": str(method.seed),
            "Latent correlation": f"{method.latent_correlation:g} (assumed)",
            "Date": self.simulation.date.date().isoformat(),
            "Study hash": method.study_hash,
            **{f"Cell {name}": text for name, text in describe_cells(self.simulation.study).items()},
            **method.list_details(),
        }
        row = 2
        for name, fact in facts.items():
            self._text(sheet, row, 0, name, "strong_label")
            self._text(sheet, row, 1, fact, "wrapped")
            row += 1
        for text in (*self.simulation.list_notices(), *method.notes):
            self._text(sheet, row + 1, 1, text, "wrapped")
            row += 1


def _place_columns(columns: Sequence[Column]) -> list[tuple[int, Column]]:
    """Return the columns with their places. Two columns behind the total hold its interval."""
    return [(1 if at == 0 else at + 3, column) for at, column in enumerate(columns)]


def _make_formats(book: Any) -> dict[str, Any]:
    base = {"font_name": "Calibri", "font_size": 10, "font_color": _INK, "valign": "vcenter"}
    line = {"bottom": 1, "bottom_color": "#D1D5DB"}
    small = {"font_size": 9, "font_color": _GREY}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "title": {"bold": True, "font_size": 16, "font_color": _BRAND},
        "warning": {"bold": True, "font_color": "#9B1C1C"},
        "note": {"italic": True, "font_color": _GREY},
        "link": {"font_color": "#1D4ED8", "underline": 1},
        "question": {"bold": True, "font_size": 12, "font_color": _BRAND},
        "head": {"bold": True, "font_color": "#FFFFFF", "bg_color": _BRAND, "align": "center", "border": 1},
        "column": {"bold": True, "bg_color": _PALE, "align": "center", "text_wrap": True},
        "letter": {"bg_color": _PALE, "align": "center", "font_color": _GREY, **line},
        "base_label": {"italic": True},
        "base": {"italic": True, "num_format": "#,##0", "align": "center"},
        "label": {},
        "strong_label": {"bold": True},
        "share": {"num_format": "0%", "align": "center"},
        "strong_share": {"num_format": "0%", "align": "center", "bold": True},
        "number": {"num_format": "0.00", "align": "center"},
        "strong_number": {"num_format": "0.00", "align": "center", "bold": True},
        "small_share": {"num_format": "0%", "align": "center", **small},
        "small_number": {"num_format": "0.00", "align": "center", **small},
        "worth": {"num_format": "0.000", "align": "center"},
        "small_worth": {"num_format": "0.000", "align": "center", **small},
        "dash": {"align": "center", "font_color": _GREY},
        "letters": {"align": "center", "font_size": 8, "bold": True, "font_color": "#B45309"},
        "wrapped": {"text_wrap": True, "valign": "top"},
    }
    return {name: book.add_format({**base, **kind}) for name, kind in kinds.items()}


def _state_conditions(study: Study, question: Question) -> dict[str, str]:
    """Return what the prompt says about earlier answers in each condition, by the condition's key."""
    variables = {name: "…" for arm in study.cells for name in arm.vars}
    return {
        condition.key: " ".join(state_facts(study, condition, variables))
        for condition in conditions_of(study, question)
    }
