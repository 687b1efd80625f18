"""
Read and check the shares of a past survey, from which a study learns a correction.

    CSV with question, answer, share  →  read_past_survey  →  {question: {answer: share}}
    the `calibration` of a study      →  check_calibration →  faults

A question is named by its id, and a row of a matrix as in `q4.r1`. Each answer of its list has a share in per
cent or as a fraction, and the shares of a question add up. Answers that are missing values take no part.
"""

import csv
import io
import math
from collections.abc import Mapping

from mavera.focus_groups.faults import Fault, Faults, StudyError
from mavera.focus_groups.study import Question, Study, has_scale, scale_of

FEWEST_ITEMS = 3
BYTES_MAX = 1_000_000
LINES_MAX = 5_000
# Published shares are rounded, so they add up to 100 only about.
_CENT_TOLERANCE, _TOLERANCE = 2.0, 0.02
_COLUMNS = ("question", "answer", "share")
# A file may be wrong in every line.
_FAULTS_MAX = 20


def read_past_survey(data: bytes, study: Study) -> dict[str, dict[str, float]]:
    """Return the shares of a CSV file, checked against `study`. Raises StudyError, which lists the faults."""
    faults = Faults()
    found: dict[str, dict[str, float]] = {}
    lines: dict[str, int] = {}
    for number, row in _read_rows(data):
        name, answer, share = (row[column].strip() for column in _COLUMNS)
        path = f"calibration.{name}"
        lines.setdefault(path, number)
        lines[f"{path}.{answer}"] = number
        value = _read_share(share)
        if value is None:
            faults.found.append(Fault("share", number, f"'{share[:40]}' is not a share. Write a number."))
        elif answer in found.setdefault(name, {}):
            faults.found.append(Fault("answer", number, f"'{answer[:40]}' has a share already."))
        else:
            found[name][answer] = value
    if not faults.found:
        faults = Faults(lines)
        _check(study, found, faults)
    if len(faults.found) > _FAULTS_MAX:
        more = len(faults.found) - _FAULTS_MAX
        faults.found = [*faults.found[:_FAULTS_MAX], Fault("", None, f"There are {more} more faults.")]
    faults.raise_any()
    return found


def _read_rows(data: bytes) -> list[tuple[int, dict[str, str]]]:
    if len(data) > BYTES_MAX:
        raise _fail(f"The file has {len(data):,} bytes. The limit is {BYTES_MAX:,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fail("The file is not UTF-8. Save it as UTF-8.") from error
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if first.count(";") > 1 else ",")
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise _fail(f"The file is not CSV: {error}.", reader.line_num) from error
    if not rows:
        raise _fail("The file is empty. Its first line is: question,answer,share")
    head = [name.strip().casefold() for name in rows[0][1]]
    lacking = [name for name in _COLUMNS if head.count(name) != 1]
    if lacking:
        raise _fail(f"The column '{lacking[0]}' is missing or repeated. Begin with: question,answer,share", 1)
    if len(rows) > LINES_MAX:
        raise _fail(f"The file has {len(rows):,} lines. The limit is {LINES_MAX:,}.")
    for number, row in rows:
        if len(row) != len(head):
            raise _fail(f"The line has {len(row)} values, and the first line has {len(head)}.", number)
    return [(number, dict(zip(head, row, strict=True))) for number, row in rows[1:]]


def _read_share(text: str) -> float | None:
    try:
        value = float(text.rstrip("%").strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _fail(message: str, line: int | None = None) -> StudyError:
    return StudyError([Fault("", line, message)])


def check_calibration(study: Study, faults: Faults) -> None:
    """Add a fault for each mistake in the `calibration` of a study."""
    _check(study, study.calibration, faults)


def _check(study: Study, calibration: Mapping[str, Mapping[str, float]], faults: Faults) -> None:
    for name, shares in calibration.items():
        _check_item(study, name, shares, faults)
    if len(calibration) < FEWEST_ITEMS:
        faults.add(
            "calibration",
            f"There are {len(calibration)} items of a past survey, and a correction needs {FEWEST_ITEMS} or "
            "more.",
        )


def _check_item(study: Study, name: str, shares: Mapping[str, float], faults: Faults) -> None:
    path = f"calibration.{name}"
    first, _, row = name.partition(".")
    question = next((one for one in study.questions if one.id == first), None)
    if question is None:
        known = ", ".join(one.id for one in study.questions)
        faults.add(path, f"The study has no question '{first[:40]}'. It has {known}.")
        return
    if not has_scale(question):
        faults.add(path, f"'{first}' has no list with one answer, so it cannot calibrate. Leave it out.")
        return
    rows = [one.id for one in getattr(question, "rows", ())]
    if (row or None) not in (rows or [None]):
        hint = f"Write one of {', '.join(f'{first}.{one}' for one in rows)}." if rows else f"Write {first}."
        faults.add(path, f"'{name[:60]}' names no row of a matrix. {hint}")
        return
    if question.show_if is not None:
        faults.add(path, f"'{first}' is not asked of everybody, so it cannot calibrate. Leave it out.")
        return
    _check_shares(question, path, shares, faults)


def _check_shares(question: Question, path: str, shares: Mapping[str, float], faults: Faults) -> None:
    labels = scale_of(question).labels
    for answer, share in shares.items():
        if answer not in labels:
            listed = ", ".join(labels[:12])
            faults.add(
                f"{path}.{answer}",
                f"'{answer[:40]}' is no answer of this question. Its answers are {listed}.",
            )
        elif not share >= 0:
            faults.add(f"{path}.{answer}", f"{share:g} is below 0. Write a share.")
    lacking = [label for label in labels if label not in shares]
    if lacking:
        faults.add(path, f"The answer '{lacking[0]}' has no share. Write 0 if nobody gave it.")
        return
    total = sum(shares.values())
    if not (math.isclose(total, 100, abs_tol=_CENT_TOLERANCE) or math.isclose(total, 1, abs_tol=_TOLERANCE)):
        faults.add(path, f"The shares add up to {total:g}. They must add up to 100 (per cent) or to 1.")
