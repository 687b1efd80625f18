"""
Write a self-contained HTML report: summary, a section for each question, tables, the method.

The page loads nothing: styles, charts and the share simulator are in it, and a policy in its head forbids
everything else. It prints on A4 with a question never torn apart from its chart.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from mavera.focus_groups.explanations import TYPE_NAMES, describe_base, explain_flag
from mavera.focus_groups.exports import ExportFile, name_file
from mavera.focus_groups.exports.report_figures import draw_question
from mavera.focus_groups.headlines import describe_result
from mavera.focus_groups.results import build_method, build_question
from mavera.focus_groups.schemas import MoveResult, QuestionResult
from mavera.focus_groups.shown_texts import describe_cells, show_text
from mavera.focus_groups.simulation import SYNTHETIC, Simulation
from mavera.focus_groups.study import Question, Study
from mavera.focus_groups.tabulate import TOTAL, Line, Table

MOST_QUOTES = 6
_ROWS = {
    "rank": "Mean rank: {}",
    "place": "Among the first: {}",
    "best": "Best: {}",
    "worst": "Worst: {}",
    "count": "Best minus worst: {}",
    "net": "Net: {}",
}


def build_html(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return the report."""
    page = "".join(_write_page(simulation))
    return (ExportFile(name_file(simulation, ".html"), "text/html; charset=utf-8", page.encode()),)


def _read(name: str) -> str:
    return files("mavera.focus_groups.exports").joinpath(name).read_text(encoding="utf-8")


def _write_page(simulation: Simulation) -> Iterator[str]:
    study = simulation.study
    results = {question.id: build_question(simulation, question) for question in study.questions}
    yield "<!doctype html>\n"
    yield f'<html lang="{escape(study.language, quote=True)}"><head><meta charset="utf-8">'
    yield (
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
    )
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(study.name)}</title><style>{_read('report.css')}</style></head><body><main>"
    yield from _write_cover(simulation)
    yield from _write_summary(simulation, results)
    for number, question in enumerate(study.questions, 1):
        yield from _write_question(simulation, question, results[question.id], number)
    yield from _write_tables(simulation)
    yield from _write_method(simulation)
    yield f"</main><footer>{escape(SYNTHETIC)} {escape(simulation.id)}</footer>"
    yield f"<script>{_read('report.js')}</script></body></html>\n"


def _write_cover(simulation: Simulation) -> Iterator[str]:
    method = build_method(simulation)
    rows = len(simulation.draw.completes)
    yield f'<header><p class="kicker">Simulated study</p><h1>{escape(simulation.study.name)}</h1>'
    yield f'<p class="synthetic"><strong>Synthetic.</strong> {escape(SYNTHETIC)}</p><dl class="facts">'
    facts = {
        "Personas": str(len(simulation.panel)),
        "Respondents": f"{rows:,}",
        "Questions": str(len(simulation.study.questions)),
        "Model": method.model,
        "Date": simulation.date.date().isoformat(),
    }
    for name, fact in facts.items():
        yield f"<div><dt>{name}</dt><dd>{escape(fact)}</dd></div>"
    yield "</dl>"
    for notice in simulation.list_notices()[1:]:
        yield f'<p class="notice">{escape(notice)}</p>'
    yield from _write_stimulus(simulation.study)
    yield "</header>"


def _write_stimulus(study: Study) -> Iterator[str]:
    """Write what the personas were shown before the questions, and how the cells differ."""
    if study.stimulus is not None and study.stimulus.text:
        text = escape(show_text(study, study.stimulus.text))
        yield f'<p class="kicker">Shown before the questions</p><blockquote><p>{text}</p></blockquote>'
    if study.cells:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>"
            for name, text in describe_cells(study).items()
        )
        yield f"<table class='plain arms'><tr><th>Cell</th><th>Shown</th></tr>{rows}</table>"


def _write_summary(simulation: Simulation, results: dict[str, QuestionResult]) -> Iterator[str]:
    yield '<section class="summary"><h2>At a glance</h2><table class="glance"><thead><tr><th>Question</th>'
    yield "<th>Result</th><th>With other personas</th><th>Without personas</th></tr></thead><tbody>"
    for question in simulation.study.questions:
        result = results[question.id]
        headline = describe_result(result, question.missing)
        mark = ' <span class="flag" title="See the question">!</span>' if result.flags else ""
        yield (
            f'<tr><td><a href="#{escape(question.id, quote=True)}">{escape(result.text)}</a>{mark}</td>'
            f"<td><strong>{escape(headline.text)}</strong></td><td>{escape(headline.interval)}</td>"
            f"<td>{escape(headline.baseline)}</td></tr>"
        )
    yield "</tbody></table></section>"


def _write_question(
    simulation: Simulation, question: Question, result: QuestionResult, number: int
) -> Iterator[str]:
    yield f'<section class="question" id="{escape(question.id, quote=True)}">'
    yield f'<p class="kicker">{number} · {TYPE_NAMES[result.type]} · {escape(question.id)}</p>'
    yield f"<h2>{escape(result.text)}</h2>"
    if question.show_if:
        yield f'<p class="asked">Asked if {escape(question.show_if)}</p>'
    yield from draw_question(question, result)
    if isinstance(result.model, dict) and "attributes" in result.model:
        yield _write_simulator(result)
    if isinstance(result.verbatims, list):
        yield from _write_verbatims(simulation, result)
    if isinstance(result.transcript, list):
        yield from _write_discussion(simulation, result)
    yield f'<p class="base">{escape(describe_base(result))}</p>'
    for flag in result.flags:
        yield f'<p class="flagged">{escape(explain_flag(flag))}</p>'
    yield "</section>"


def _write_verbatims(simulation: Simulation, result: QuestionResult) -> Iterator[str]:
    names = {one.id: one.name for one in simulation.panel}
    if isinstance(result.themes, list) and result.themes:
        yield '<ul class="themes">'
        for theme in result.themes:
            yield (
                f"<li><strong>{escape(theme.name)}</strong> {theme.share:.0%} of the distinct verbatims "
                f"<q>{escape(theme.example)}</q></li>"
            )
        yield "</ul>"
    yield '<div class="quotes">'
    seen: set[str] = set()
    shown = 0
    # One quote of each persona first, so that the page is not one persona's.
    ordered = sorted(result.verbatims or (), key=lambda one: one.persona_id or "")
    rounds: dict[str, int] = {}
    ranked = []
    for one in ordered:
        rounds[one.persona_id or ""] = rounds.get(one.persona_id or "", 0) + 1
        ranked.append((rounds[one.persona_id or ""], one))
    for _, one in sorted(ranked, key=lambda pair: pair[0]):
        if one.text in seen or shown >= MOST_QUOTES:
            continue
        seen.add(one.text)
        shown += 1
        again = f" ({one.repeated}×)" if one.repeated > 1 else ""
        name = names.get(one.persona_id or "", "")
        yield f"<blockquote><p>{escape(one.text)}</p><cite>{escape(name)}{again}</cite></blockquote>"
    yield "</div>"


def _write_discussion(simulation: Simulation, result: QuestionResult) -> Iterator[str]:
    names = {one.id: one.name for one in simulation.panel}

    def name(persona: str, cell: str | None, condition: str) -> str:
        group = ", ".join(part for part in (cell, condition) if part)
        return escape(names.get(persona, persona) + (f" ({group})" if group else ""))

    yield "<h3>Discussion</h3>"
    for number, turns in groupby(result.transcript or (), key=lambda one: one.round):
        yield f"<details><summary>Round {number}</summary><dl class='discussion'>"
        for one in turns:
            yield f"<dt>{name(one.persona_id, one.cell, one.condition)}</dt><dd>{escape(one.text)}</dd>"
        yield "</dl></details>"
    if isinstance(result.moved_missing, str):
        yield f"<p>Who changed their position is unknown. {escape(result.moved_missing)}</p>"
    elif isinstance(result.moved, list):
        moved = [one for one in result.moved if one.moved]
        yield f"<p>{len(moved)} of {len(result.moved)} changed their position between their first answer "
        yield "and their last.</p>"
        if moved:
            yield "<ul>"
            for move in moved:
                yield f"<li>{name(move.persona_id, move.cell, move.condition)}"
                yield f"{escape(_describe_move(move, names))}</li>"
            yield "</ul>"
    if isinstance(result.left_discussion, list):
        yield "<ul class='left'>"
        for gone in result.left_discussion:
            yield f"<li>{name(gone.persona_id, gone.cell, gone.condition)} left in round {gone.round}: "
            yield f"{escape(gone.reason)}</li>"
        yield "</ul>"


def _describe_move(move: MoveResult, names: Mapping[str, str]) -> str:
    towards = f", towards {names.get(move.towards, move.towards)}" if isinstance(move.towards, str) else ""
    if move.read_by == "verdict" and isinstance(move.stances, tuple):
        return f"{towards}: from “{move.stances[0]}” to “{move.stances[1]}”"
    return f"{towards}: by the similarity of answers, {move.similarity:.2f} to the first one"


def _write_simulator(result: QuestionResult) -> str:
    """
    Return the share simulator: three products with a level for each attribute. Without script it is hidden.
    """
    model = result.model if isinstance(result.model, dict) else {}
    data = {
        "attributes": [
            {
                "name": one["attribute"],
                "levels": [[level["level"], level["part_worth"]["value"]] for level in one["levels"]],
            }
            for one in model["attributes"]
        ],
        "none": None if model["none"] is None else model["none"]["value"],
    }
    # "</" would end the script element.
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    return (
        '<div class="simulator" hidden><h3>Share simulator</h3>'
        f'<script type="application/json">{text}</script></div>'
    )


def _write_tables(simulation: Simulation) -> Iterator[str]:
    yield '<section class="tables"><h2>Tables</h2>'
    yield "<p>Column per cents. Letters below a value name the columns that it exceeds; see the method.</p>"
    for table in simulation.tables:
        yield from _write_table(table)
    yield "</section>"


def _write_table(table: Table) -> Iterator[str]:
    yield "<details><summary>"
    yield f"<b>{escape(table.question_id)}</b> {escape(table.title)}</summary>"
    yield "<div class='scroll'><table class='banner'>"
    yield "<thead><tr><th></th>"
    for variable in dict.fromkeys(column.variable for column in table.columns):
        count = sum(column.variable == variable for column in table.columns)
        name = "" if variable == TOTAL else variable
        yield f'<th colspan="{count}">{escape(name)}</th>'
    yield "</tr><tr><th></th>"
    for column in table.columns:
        letter = f"<small>{escape(column.letter)}</small>" if column.letter else ""
        yield f"<th>{escape(column.label)}{letter}</th>"
    yield "</tr></thead><tbody><tr class='bases'><th>Base (rows)</th>"
    for column in table.columns:
        yield f"<td>{column.base:,}</td>"
    yield "</tr>"
    for line in table.lines:
        yield from _write_line(line)
    yield "</tbody></table></div></details>"


def _write_line(line: Line) -> Iterator[str]:
    strong = ' class="strong"' if line.kind in ("net", "box", "mean", "score") else ""
    label = _ROWS.get(line.kind, "{}").format(line.label)
    yield f"<tr{strong}><th>{escape(label)}{' *' if line.assumed else ''}</th>"
    for entry in line.entries:
        if entry.value is None:
            yield "<td>–</td>"
            continue
        value = f"{entry.value:.0%}" if line.is_share else f"{entry.value:.2f}"
        letters = f"<small>{escape(entry.letters)}</small>" if entry.letters else ""
        yield f"<td>{value}{letters}</td>"
    yield "</tr>"


def _write_method(simulation: Simulation) -> Iterator[str]:
    method = build_method(simulation)
    yield '<section class="method"><h2>Method</h2>'
    for text in method.notes:
        yield f"<p>{escape(text)}</p>"
    yield "<p>A row marked * rests on the assumed correlation.</p><dl>"
    facts = {
        "Model": method.model,
        "Elicitation": f"{method.elicitation}, read as {method.reads_as}, {method.orders} orders",
        "Wordings": str(method.wordings),
        "Seed": str(method.seed),
        "Latent correlation": f"{method.latent_correlation:g}, assumed",
        "Personas": ", ".join(one.name for one in simulation.panel),
        "Weights": _describe_weights(simulation),
        **{f"Cell {name}": text for name, text in describe_cells(simulation.study).items()},
        "Study": method.study_hash,
        **method.list_details(),
    }
    for name, fact in facts.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>"
    yield "</dl></section>"


def _describe_weights(simulation: Simulation) -> str:
    targets = simulation.study.sample.weights
    if not targets:
        return "none"
    parts: Sequence[str] = [
        f"{name} ({', '.join(f'{value} {goal:g}' for value, goal in goals.items())})"
        for name, goals in targets.items()
    ]
    return "raked to " + "; ".join(parts)
