"""
Compute the results, respondents, tables and files of a study. Pure, apart from the clock.

    Record (stored readings)  →  Simulation  →  results · rows · files

The work takes a second or more, so a server does it in a thread, one study at a time, and keeps the last few.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import msgspec

from mavera.errors import InvalidRequest, ValidationFailed
from mavera.focus_groups.calibration import describe_correction
from mavera.focus_groups.cells import list_places
from mavera.focus_groups.draw import draw_reference, draw_respondents
from mavera.focus_groups.exports import ExportFile, Format, build_export, pack_files
from mavera.focus_groups.human_answers import HumanAnswersError, read_human_answers, rectify_study
from mavera.focus_groups.moves import find_moves
from mavera.focus_groups.orders import find_places, list_shown
from mavera.focus_groups.plain_numbers import rebuild_plain, to_plain
from mavera.focus_groups.positions import digest_priors
from mavera.focus_groups.results import build_question, build_results, select_group
from mavera.focus_groups.rows import list_rows
from mavera.focus_groups.service import Record
from mavera.focus_groups.shown_texts import show_answers
from mavera.focus_groups.side_by_side import Comparison, compare_simulations
from mavera.focus_groups.similarity import describe_rating, digest_calibrations
from mavera.focus_groups.simulation import Discussion, Method, Simulation
from mavera.focus_groups.stop_words import list_stop_words
from mavera.focus_groups.study import OpenEnded, Study
from mavera.focus_groups.themes import Theme, find_themes
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.verdict import VerdictReader

MOST_SIMULATIONS = 4
_ENCODER = SentenceEncoder()
_VERDICTS = VerdictReader(_ENCODER)


@lru_cache(maxsize=MOST_SIMULATIONS)
def simulate(record: Record) -> Simulation:
    """
    Return the simulation that results, tables and files of a study are made from.

    Respondents are drawn once for a record, however many files are made of it.
    """
    row, study = record.row, record.row.study
    draw = draw_respondents(study, record.panel, record.book, record.failures)
    return Simulation(
        id=row.id,
        status=row.status,
        created_at=row.created_at,
        study=show_answers(study),
        panel=record.panel,
        book=record.book,
        failures=record.failures,
        draw=draw,
        method=_describe_method(record),
        draw_reference=partial(draw_reference, study, record.panel, record.book, record.failures),
        credits_used=row.credits_charged + row.credits_due,
        model_reads=count_model_reads(record),
        notices=(*(row.notices or row.method.notices), *_describe_calibration(record).values()),
        themes=_find_themes(record),
        discussions=_find_discussions(record),
        source_date=_read_source_date(),
    )


def compute_results(record: Record) -> dict[str, Any]:
    """Return the wire object of a study's results, with the answers of real people if there are any."""
    simulation = simulate(record)
    results: dict[str, Any] = to_plain(build_results(simulation))
    if record.row.human is not None:
        people = read_human_answers(simulation, record.row.human)
        estimates = to_plain(rectify_study(simulation, people))
        results["human"] = {"people": people.people, "estimates": estimates}
    return results


def compute_group(record: Record, personas: tuple[str, ...], cells: tuple[str, ...]) -> list[dict[str, Any]]:
    """
    Return the questions' results for some personas and monadic cells only.

    Raises InvalidRequest if the study lacks one of them.
    """
    simulation = simulate(record)
    try:
        mask = select_group(simulation, personas, cells)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    return [to_plain(build_question(simulation, question, mask)) for question in record.row.study.questions]


def check_human(record: Record, text: str) -> str:
    """
    Return the CSV text of real people's answers if it fits the study.

    Raises ValidationFailed if it does not, and InvalidRequest if the study has no answers to compare with.
    """
    if not record.book:
        raise InvalidRequest(f"{record.row.id} has no answers yet. Wait for its first cells.")
    try:
        read_human_answers(simulate(record), text)
    except HumanAnswersError as error:
        raise ValidationFailed(str(error), param="csv") from error
    return text


def export(record: Record, kind: Format) -> ExportFile:
    """Return a file of the study, or a ZIP archive if a format has several. Cells come with raw readings."""
    if kind == "cells":
        return _export_cells(record)
    return pack_files(build_export(simulate(record), kind), f"{record.row.id}-{kind}")


def _export_cells(record: Record) -> ExportFile:
    """Return the raw record: a JSON object in each line, beginning with the method."""
    simulation = simulate(record)
    first = build_export(simulation, "cells")[0]
    head = first.content.split(b"\n", 1)[0]
    lines = [head, *(msgspec.json.encode(cell) for cell in describe_cells(record))]
    return ExportFile(first.name, first.media_type, b"\n".join(lines) + b"\n")


def page_respondents(
    record: Record, screened: bool, start: int, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return up to `limit` of the drawn respondents from number `start` on, and the number of all."""
    simulation = simulate(record)
    total = len(simulation.draw.completes) + (len(simulation.draw.screened) if screened else 0)
    return list_rows(simulation, range(start, min(start + limit, total))), total


def compare(records: Sequence[Record]) -> Comparison:
    """Return the questions of several studies side by side. Raises InvalidRequest if one has no answers."""
    for record in records:
        if not record.book:
            raise InvalidRequest(
                f"{record.row.id} has no answers yet. Wait for its first cells.", param="ids"
            )
    return rebuild_plain(compare_simulations([simulate(record) for record in records]))


def describe_cells(record: Record) -> list[dict[str, Any]]:
    """Return the raw record of each cell, in the order in which they are asked."""
    described = []
    for row in record.rows:
        cell = record.cells[row.key]
        reading = None if row.reading is None else msgspec.to_builtins(row.reading)
        described.append(
            {
                "key": row.key,
                "status": row.status,
                "question_id": cell.id.question,
                "part": cell.id.part,
                "persona_id": cell.id.persona,
                "cell": cell.id.arm,
                "condition": cell.id.condition,
                "wording": cell.wording,
                "round": cell.round,
                "in_own_words": cell.shown.in_own_words,
                "reused": row.reused,
                "answered_at": row.answered_at,
                "error": row.error,
                **(reading or {}),
            }
        )
    return described


def count_model_reads(record: Record) -> int:
    """Return the reads of the model that this study made itself."""
    return sum(len(row.reading.reads) for row in record.rows if row.reading is not None and not row.reused)


def hash_study(record: Record) -> str:
    """Return a hash of the study, its personas, its model and the corrections of its readings."""
    parts = (
        msgspec.to_builtins(record.row.study),
        [(one.id, one.version, one.prompt_digest, one.weight) for one in record.panel],
        record.row.method.model_digest,
        record.row.method.elicitation,
        digest_priors(record.priors),
        *([digest_calibrations()] if record.row.method.rated else []),
    )
    return "sha256:" + hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _describe_method(record: Record) -> Method:
    method = record.row.method
    details: Mapping[str, str] = {
        "position_prior": _describe_priors(record),
        "semantic_similarity_rating": describe_rating(record.row.study, method.rated, method.unrated),
        **_describe_orders(record.row.study),
        **_describe_calibration(record),
    }
    return Method(
        model=method.record,
        elicitation=method.elicitation,
        reads_as="this person" if method.read == "letters" else "100 people",
        orders=2 if method.read == "letters" else 1,
        study_hash=hash_study(record),
        details=details,
    )


def _describe_calibration(record: Record) -> dict[str, str]:
    if record.correction is None:
        return {}
    return {"calibration": describe_correction(record.row.study, record.correction)}


def _describe_priors(record: Record) -> str:
    """Return the digest of the position priors, and the lists that were read without one."""
    if record.row.method.read != "letters" or not record.priors:
        return "none"
    digest = digest_priors(record.priors)
    missing = sorted(list_places(record.cells.values()) - record.priors.keys())
    if not missing:
        return digest
    return f"{digest}; lists without one: {', '.join(map(str, missing))}"


def _describe_orders(study: Study) -> dict[str, str]:
    """Return the facts about random orders. A study without random orders has none."""
    found = {}
    shown = [question.id for question in list_shown(study)]
    if shown != [question.id for question in study.questions]:
        found["question_order"] = ", ".join(shown)
    places = find_places(study)
    varying = [question.id for question in study.questions if places[question.id].varies]
    if varying:
        found["random_options"] = (
            f"{', '.join(varying)}: read in a shuffle for each persona and its reverse or rotations"
        )
    return found


def _find_themes(record: Record) -> dict[str, tuple[Theme, ...]]:
    """Return the themes of each open question. There are none in a language unknown to the encoder."""
    study = record.row.study
    if _explain_no_vectors(study):
        return {}
    themes = {}
    for question in study.questions:
        if isinstance(question, OpenEnded):
            texts = [
                text
                for cell, elicited in record.book.items()
                if cell.question == question.id and cell.persona is not None
                for text in elicited.texts
            ]
            vectors = _ENCODER.embed(texts)
            themes[question.id] = find_themes(texts, vectors, list_stop_words(study.language))
    return themes


def _find_discussions(record: Record) -> dict[str, Discussion]:
    """Return the statements and moves of each question that has a discussion."""
    missing = _explain_no_vectors(record.row.study)
    found = {}
    discussed = [*(one.discussion for one in record.statements)]
    discussed += [one.discussion for one in record.departures]
    for question_id in dict.fromkeys(question for question, _, _ in discussed):
        statements = tuple(one for one in record.statements if one.discussion[0] == question_id)
        departures = tuple(one for one in record.departures if one.discussion[0] == question_id)
        moves = None if missing else find_moves(statements, _ENCODER, _VERDICTS)
        found[question_id] = Discussion(statements, departures, moves, missing)
    return found


def _explain_no_vectors(study: Study) -> str:
    """Return the reason why the texts of a study get no vectors, or "" if they get them."""
    if study.language.split("-")[0].lower() not in _ENCODER.languages:
        return f"The sentence encoder does not know the language '{study.language}'."
    return "The sentence encoder is not available." if _ENCODER.find_problem() else ""


def _read_source_date() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isdecimal() else None
