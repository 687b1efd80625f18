"""
Check the rules that types cannot express: sizes, names, and the relations between parts.

    check_study(study, faults)   all rules that need only the file
    list_notices(study)          allowed facts that a reader of the results should know

Each fault says what to do. `question_checks.py` checks the questions.
"""

import base64
import binascii
import math
import re
from itertools import chain

from mavera.focus_groups.calibration_checks import check_calibration
from mavera.focus_groups.faults import Faults
from mavera.focus_groups.question_checks import ID, RESERVED, check_questions
from mavera.focus_groups.similarity import (
    explain_unrated,
    is_numbered,
    is_ordered,
    knows_language,
    list_labels,
)
from mavera.focus_groups.study import (
    PERSONAS_MAX,
    RESPONDENTS_MAX,
    Conjoint,
    Matrix,
    OpenEnded,
    Stimulus,
    Study,
    has_scale,
)
from mavera.focus_groups.wording import is_known_language
from mavera.reading.encoder import LANGUAGES

# An attribute of a conjoint with one of these names is the price unless the file says otherwise.
PRICE_NAMES = frozenset({"price", "preis", "precio", "prix", "preço", "preco"})

WEIGHT_MIN, WEIGHT_MAX = 1e-6, 1_000_000

_ARM_ID = re.compile(r"[\w.-]{1,40}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_PRICE = re.compile(r"[^\d\s]{0,4}\s*(\d{1,3}(?:[ ,.]\d{3})+|\d+)(?:([.,])(\d{1,2}))?\s*[^\d\s]{0,4}")
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,(.*)", re.DOTALL)
_IMAGE_STARTS = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}


def check_study(study: Study, faults: Faults) -> None:
    """Add a fault for every mistake of a study, except mistakes that only its panel shows."""
    _check_head(study, faults)
    _check_sample(study, faults)
    _check_arms(study, faults)
    check_questions(study, faults)
    if study.ssr == "on":
        _check_rating(study, faults)
    if study.calibration:
        check_calibration(study, faults)
    _check_banner(study, faults)


def list_notices(study: Study) -> tuple[str, ...]:
    """Return sentences about a checked study that its results have to carry."""
    found = []
    if not is_known_language(study.language):
        found.append(
            f"The language '{study.language}' is not known. Prompts are framed in English, and semantic "
            "similarity rating is off."
        )
    for question in study.questions:
        if isinstance(question, OpenEnded) and question.rounds > 1:
            found.append(_describe_discussion(study, question))
        if isinstance(question, Conjoint) and question.price is None:
            found.append(f"'{question.id}' has no price attribute, so there is no willingness to pay.")
    return tuple(found)


def _describe_discussion(study: Study, question: OpenEnded) -> str:
    if len(study.personas) < 2:
        return f"'{question.id}' is asked once: one persona has nobody to discuss with."
    return (
        f"'{question.id}' is discussed in {question.rounds} rounds. Its verbatims, its themes and the "
        "respondents have the answers of round 1, because later ones depend on each other."
    )


def read_price(level: str) -> float | None:
    """Return the number in a price, such as "$3.49" or "3,49 €", or None if the text is not a price."""
    found = _PRICE.fullmatch(level.strip())
    if found is None:
        return None
    whole = re.sub(r"\D", "", found[1])
    return float(f"{whole}.{found[3] or 0}")


def _check_rating(study: Study, faults: Faults) -> None:
    """Refuse a study that wants every ordered scale rated by similarity if one of them cannot be."""
    if not knows_language(study.language):
        faults.add(
            "ssr",
            f"The sentence encoder does not know the language '{study.language}', only "
            f"{', '.join(LANGUAGES)}. Write 'ssr: off'.",
        )
        return
    ordered = [(n, one) for n, one in enumerate(study.questions) if is_ordered(one)]
    if not ordered:
        faults.add("ssr", "No question has an ordered scale. Write 'ssr: off'.")
    for n, question in ordered:
        reason = explain_unrated(question, study.language)
        if reason is not None:
            has_labels = list_labels(question, study.language) is not None
            field = "type" if is_numbered(question) else "points" if has_labels else "labels"
            faults.add(
                f"questions[{n}].{field}",
                f"{reason} Or write 'ssr: auto', which rates only the questions that it can.",
            )


# The head


def _check_head(study: Study, faults: Faults) -> None:
    if study.study != 1:
        faults.add("study", f"The format {study.study} is unknown. Write 'study: 1'.")
    faults.check_text("name", study.name, 200)
    if not _LANGUAGE.fullmatch(study.language):
        faults.add("language", f"'{study.language}' is not a language. Write a code such as en or pt-BR.")
    faults.check_range("wordings", study.wordings, 1, 10)
    faults.check_range("latent_correlation", study.latent_correlation, 0, 0.95)
    faults.check_count("personas", len(study.personas), 1, PERSONAS_MAX, "personas")
    faults.check_ids("personas", (one.id for one in study.personas), "persona")
    for n, one in enumerate(study.personas):
        # Weights are added up and divided, so their range keeps sums finite and shares above 0.
        if not WEIGHT_MIN <= one.weight <= WEIGHT_MAX:
            faults.add(
                f"personas[{n}].weight",
                f"{one.weight:g} is not a weight. Write a number from {WEIGHT_MIN:g} to {WEIGHT_MAX:,}.",
            )
        for name, value in one.attributes.items():
            faults.check_text(f"personas[{n}].attributes.{name}", value)
    limits = study.limits
    faults.check_range("limits.model_reads", limits.model_reads, 1, 10**9)
    faults.check_range("limits.minutes", limits.minutes, 0.1, 10**6)
    faults.check_range("limits.credits", limits.credits, 0, 10**9)
    if study.stimulus is not None:
        _check_stimulus(faults, "stimulus", study.stimulus)


def _check_stimulus(faults: Faults, path: str, stimulus: Stimulus) -> None:
    if not stimulus.text and not stimulus.images:
        faults.add(path, "The stimulus is empty. Give it a text or images, or leave it out.")
    if len(stimulus.text) > 20_000:
        faults.add(f"{path}.text", f"The text has {len(stimulus.text):,} characters. The limit is 20,000.")
    faults.check_count(f"{path}.images", len(stimulus.images), 0, 10, "images")
    for n, image in enumerate(stimulus.images):
        if not _is_image(image):
            faults.add(
                f"{path}.images[{n}]",
                f"'{image[:40]}' is not an image. "
                "Give an http(s) URL, or a data URL of PNG, JPEG, GIF or WebP.",
            )


def _is_image(text: str) -> bool:
    if re.fullmatch(r"https?://[^\s/]+\S*", text):
        return True
    found = _IMAGE.fullmatch(text)
    if found is None:
        return False
    try:
        data = base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError):
        return False
    return data.startswith(_IMAGE_STARTS[found[1]])


# Sample, arms, banner


def _check_sample(study: Study, faults: Faults) -> None:
    sample = study.sample
    faults.check_range("sample.size", sample.size, 1, RESPONDENTS_MAX)
    faults.check_range("sample.seed", sample.seed, 0, 2**53)
    for name, targets in sample.weights.items():
        path = f"sample.weights.{name}"
        if any(not 0 <= share < math.inf for share in targets.values()):
            faults.add(path, "A share is below 0. Write per cents.")
        total = sum(targets.values())
        if not (math.isclose(total, 100, abs_tol=0.5) or math.isclose(total, 1, abs_tol=0.005)):
            faults.add(path, f"The shares add up to {total:g}. They must add up to 100 (per cent) or to 1.")
    wheres = []
    for n, quota in enumerate(sample.quotas):
        path = f"sample.quotas[{n}]"
        faults.check_range(f"{path}.size", quota.size, 0, RESPONDENTS_MAX)
        if not quota.where:
            faults.add(f"{path}.where", "The quota names no attribute. Write it as in: where: {age: 18-34}")
        if quota.where in wheres:
            faults.add(path, "This group has a quota already. Remove one of them.")
        wheres.append(quota.where)


def _check_arms(study: Study, faults: Faults) -> None:
    arms = study.cells
    faults.check_count("cells", len(arms), 0, 20, "cells")
    faults.check_ids("cells", (arm.id for arm in arms), "cell")
    names = dict.fromkeys(chain.from_iterable(arm.vars for arm in arms))
    questions = {question.id for question in study.questions}
    for name in names:
        if not ID.fullmatch(name) or name in questions or name in RESERVED:
            at = next(n for n, arm in enumerate(arms) if name in arm.vars)
            faults.add(f"cells[{at}].vars.{name}", f"'{name}' cannot name a variable. Choose another name.")
    for n, arm in enumerate(arms):
        if not _ARM_ID.fullmatch(arm.id):
            faults.add(f"cells[{n}].id", f"'{arm.id}' is not an id. Use letters, digits, '-', '_' and '.'.")
        lacking = [name for name in names if name not in arm.vars]
        if lacking:
            faults.add(f"cells[{n}].vars", f"'{lacking[0]}' is missing. Other cells give it a value.")
        if arm.stimulus is not None:
            _check_stimulus(faults, f"cells[{n}].stimulus", arm.stimulus)


def _check_banner(study: Study, faults: Faults) -> None:
    """Refuse open questions and repetitions. `panel_checks.py` checks attributes, which the panel has."""
    questions = {question.id: question for question in study.questions}
    seen = set()
    for n, name in enumerate(study.banner):
        path = f"banner[{n}]"
        if name in seen:
            faults.add(path, f"'{name}' is in the banner twice. Remove one of them.")
        if name == "cell" and not study.cells:
            faults.add(path, "The study has no cells. Remove 'cell', or add cells.")
        question = questions.get(name)
        if question is not None and (isinstance(question, Matrix) or not has_scale(question)):
            faults.add(path, f"'{name}' has no single answer to group by. Use a question with one answer.")
        seen.add(name)
