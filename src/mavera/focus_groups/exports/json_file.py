"""
Write the wire object as one JSON document, and the raw record of the cells as JSON lines.

A line of `cells` has the corrected shares of a cell, or the reason why it failed. The server adds the raw
readings, which it keeps beside them.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from mavera.focus_groups.elicited import CellId
from mavera.focus_groups.exports import ExportFile, name_file
from mavera.focus_groups.plain_numbers import replace_number
from mavera.focus_groups.results import build_results
from mavera.focus_groups.simulation import SYNTHETIC, Simulation


def build_json(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return the results of the study, as `GET /focus-groups/{id}` gives them."""
    content = (
        msgspec.json.format(msgspec.json.encode(build_results(simulation), enc_hook=replace_number), indent=2)
        + b"\n"
    )
    return (ExportFile(name_file(simulation, ".json"), "application/json", content),)


def build_cells(simulation: Simulation) -> tuple[ExportFile, ...]:
    """Return one JSON object for each cell, the method first."""
    lines = b"".join(
        msgspec.json.encode(line, enc_hook=replace_number) + b"\n" for line in _list_lines(simulation)
    )
    return (ExportFile(name_file(simulation, "-cells.jsonl"), "application/x-ndjson", lines),)


def _list_lines(simulation: Simulation) -> Iterator[dict[str, Any]]:
    method = simulation.method
    yield {
        "object": "focus_group.method",
        "notice": SYNTHETIC,
        "synthetic": True,
        "study": simulation.study.name,
        "model": method.model,
        "elicitation": method.elicitation,
        "seed": simulation.study.sample.seed,
        "study_hash": method.study_hash,
        "details": dict(method.details),
        "date": simulation.date.date().isoformat(),
    }
    order = {question.id: at for at, question in enumerate(simulation.study.questions)}
    personas = {one.id: at for at, one in enumerate(simulation.panel)}

    def place(cell: CellId) -> tuple[Any, ...]:
        persona = personas.get(cell.persona or "", len(personas))
        # Set 10 stands behind set 9.
        part = (cell.part or "").zfill(4) if (cell.part or "").isdigit() else cell.part or ""
        return order.get(cell.question, len(order)), part, persona, cell.arm or "", cell.condition

    for cell in sorted({*simulation.book, *simulation.failures}, key=place):
        found = simulation.book.get(cell)
        line: dict[str, Any] = {
            "object": "focus_group.cell",
            "question_id": cell.question,
            "part": cell.part,
            "persona_id": cell.persona,
            "cell": cell.arm,
            "condition": cell.condition,
        }
        if found is None:
            yield {**line, "status": "failed", "error": simulation.failures[cell]}
        else:
            shares = [round(float(share), 9) for share in found.shares.ravel()]
            yield {
                **line,
                "status": "answered",
                "shares": shares,
                "order_gap": None if found.order_gap is None else round(found.order_gap, 9),
                "flags": list(found.flags),
                "texts": list(found.texts),
            }
