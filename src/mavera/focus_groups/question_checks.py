"""
Check the questions of a study, one by one and against those before them.

    check_questions(study, faults)   sizes, labels, options, designs, screeners, piped names, conditions
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import assert_never

import msgspec

from mavera.core.text import format_count
from mavera.focus_groups.conditions import LEVELS_MAX, conditions_of, level_of, list_screening_answers
from mavera.focus_groups.expressions import (
    KEYWORDS,
    ConditionError,
    Expression,
    list_answers,
    list_matches,
    parse_condition,
)
from mavera.focus_groups.faults import Faults
from mavera.focus_groups.study import (
    NPS,
    QUESTIONS_MAX,
    ROUNDS_MAX,
    Conjoint,
    Likert,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Rating,
    SemanticDifferential,
    Slider,
    Study,
    YesNo,
    has_scale,
    scale_of,
    type_of,
)
from mavera.focus_groups.wording import find_names

ID = re.compile(r"[^\W\d]\w{0,39}")
# Names of columns in the files and banners.
RESERVED = frozenset({"persona", "cell", "weight", "respondent_id"})
TEXT_MAX = 4_000


def check_questions(study: Study, faults: Faults) -> None:
    questions = study.questions
    faults.check_count("questions", len(questions), 1, QUESTIONS_MAX, "questions")
    faults.check_ids("questions", (question.id for question in questions), "question")
    faults.check_ids("blocks", (block.id for block in study.blocks), "block")
    unsound: set[str] = set()
    blocks = {block.id for block in study.blocks}
    is_unique = len({question.id for question in questions}) == len(questions)
    for n, question in enumerate(questions):
        path = f"questions[{n}]"
        if not ID.fullmatch(question.id) or question.id in KEYWORDS or question.id in RESERVED:
            faults.add(
                f"{path}.id",
                f"'{question.id}' cannot be an id. Use letters, digits and '_', and begin with a letter.",
            )
        faults.check_text(f"{path}.text", question.text, TEXT_MAX)
        if question.block is not None and question.block not in blocks:
            faults.add(f"{path}.block", f"The block '{question.block}' is not listed. Add it to 'blocks'.")
        before = len(faults.found)
        _check_type(faults, path, question)
        _check_missing(faults, path, question)
        _check_screen_out(faults, path, question)
        _check_names(study, faults, path, n)
        if len(faults.found) == before and is_unique:
            _check_condition(study, faults, path, n, unsound)
        if len(faults.found) > before:
            unsound.add(question.id)


def _check_type(faults: Faults, path: str, question: Question) -> None:
    match question:
        case NPS() | Slider():
            _check_scale_labels(faults, path, question.labels, None)
        case Likert() | Rating() | Matrix():
            faults.check_range(f"{path}.points", question.points, 2, 11)
            _check_scale_labels(faults, path, question.labels, question.points)
            if isinstance(question, Matrix):
                _check_rows(faults, path, question)
        case SemanticDifferential():
            faults.check_range(f"{path}.points", question.points, 2, 11)
            faults.check_labels(f"{path}.poles", question.poles)
        case YesNo():
            faults.check_labels(f"{path}.labels", question.labels)
        case MultipleChoice():
            _check_choice(faults, path, question)
        case Ranking():
            _check_ranking(faults, path, question)
        case MaxDiff():
            _check_maxdiff(faults, path, question)
        case Conjoint():
            _check_conjoint(faults, path, question)
        case OpenEnded():
            faults.check_range(f"{path}.verbatims", question.verbatims, 1, 10)
            faults.check_range(f"{path}.rounds", question.rounds, 1, ROUNDS_MAX)
        case _:
            assert_never(question)


def _check_ranking(faults: Faults, path: str, question: Ranking) -> None:
    faults.check_count(f"{path}.items", len(question.items), 2, 20, "items")
    faults.check_labels(f"{path}.items", [item.text for item in question.items])
    for n, item in enumerate(question.items):
        if item.exclusive or item.specify:
            faults.add(f"{path}.items[{n}]", "The only setting of a ranking item is 'fixed'.")


def _check_scale_labels(faults: Faults, path: str, labels: Sequence[str], points: int | None) -> None:
    allowed = (0, 2) if points is None else (0, 2, points)
    if len(labels) not in allowed:
        each = "" if points is None else f"a label for each of the {points} points, or "
        faults.add(f"{path}.labels", f"There are {len(labels)} labels. Give {each}two for the ends.")
    faults.check_labels(f"{path}.labels", labels)


def _check_rows(faults: Faults, path: str, question: Matrix) -> None:
    faults.check_count(f"{path}.rows", len(question.rows), 1, 30, "rows")
    faults.check_ids(f"{path}.rows", (row.id for row in question.rows), "row")
    faults.check_labels(f"{path}.rows", [row.text for row in question.rows])
    for n, row in enumerate(question.rows):
        if not re.fullmatch(r"\w{1,40}", row.id):
            faults.add(f"{path}.rows[{n}].id", f"'{row.id}' is not an id. Use letters, digits and '_'.")


def _check_choice(faults: Faults, path: str, question: MultipleChoice) -> None:
    options = question.options
    faults.check_count(f"{path}.options", len(options), 2, 100, "options")
    faults.check_labels(f"{path}.options", [option.text for option in options])
    for n, option in enumerate(options):
        if option.exclusive and not question.multiple:
            faults.add(
                f"{path}.options[{n}].exclusive",
                "Only a question with several answers has exclusive options. Add 'multiple: true'.",
            )
    if question.max is not None:
        _check_max(faults, f"{path}.max", question)
    texts = {option.text for option in options}
    for name, members in question.nets.items():
        if not members:
            faults.add(f"{path}.nets.{name}", "The net has no options. List some, or remove the net.")
        for n, member in enumerate(members):
            if member not in texts:
                faults.add(
                    f"{path}.nets.{name}[{n}]", f"'{member}' is not an option. Write an option's whole text."
                )


def _check_max(faults: Faults, path: str, question: MultipleChoice) -> None:
    together = sum(not option.exclusive for option in question.options)
    if not question.multiple:
        faults.add(path, "Only a question with several answers has a maximum. Add 'multiple: true'.")
    elif question.max is not None and question.max < 1:
        faults.add(path, f"{question.max} is below 1. Raise it, or leave 'max' out.")
    elif question.max is not None and question.max > together:
        faults.add(path, f"{question.max} is more than the {together} options that go together. Lower it.")


def _check_maxdiff(faults: Faults, path: str, question: MaxDiff) -> None:
    items, size = len(question.items), question.per_set
    faults.check_labels(f"{path}.items", question.items)
    faults.check_range(f"{path}.per_set", size, 3, 8)
    if items <= size:
        faults.add(
            f"{path}.items",
            f"{format_count(items, 'item')} cannot fill sets of {size}. "
            f"Give {size + 1} or more, or lower 'per_set'.",
        )
    elif items > 40:
        faults.add(f"{path}.items", f"There are {items} items, and 40 are the most.")
    if question.sets is not None and not math.ceil(items / size) <= question.sets <= 40:
        faults.add(
            f"{path}.sets",
            f"{question.sets} sets are not possible. Give {math.ceil(items / size)} (every item once) to 40.",
        )


def _check_conjoint(faults: Faults, path: str, question: Conjoint) -> None:
    attributes = question.attributes
    before = len(faults.found)
    faults.check_count(f"{path}.attributes", len(attributes), 1, 8, "attributes")
    faults.check_range(f"{path}.tasks", question.tasks, 1, 30)
    faults.check_range(f"{path}.alternatives", question.alternatives, 2, 6)
    for one in attributes:
        at = f"{path}.attributes.{one.name}"
        faults.check_text(at, one.name)
        if one.name != question.price or len(one.levels) > 2:
            faults.check_count(at, len(one.levels), 2, 12, "levels")
        faults.check_labels(at, one.levels)
    _check_price(faults, path, question)
    profiles = math.prod(len(one.levels) for one in attributes)
    if len(faults.found) == before and profiles < question.alternatives:
        faults.add(
            f"{path}.alternatives", f"Only {profiles} products can be built from the levels. Lower it."
        )
    parameters = sum(len(one.levels) - 1 for one in attributes) + question.none
    places = question.tasks * (question.alternatives - 1 + question.none)
    if places < parameters:
        faults.add(
            f"{path}.tasks",
            f"{question.tasks} tasks cannot tell {parameters} effects apart. Add tasks or alternatives.",
        )


def _check_price(faults: Faults, path: str, question: Conjoint) -> None:
    if question.price is None:
        return
    price = next((one for one in question.attributes if one.name == question.price), None)
    if price is None:
        faults.add(f"{path}.price", f"No attribute is called '{question.price}'. Name an attribute.")
    elif len(set(price.prices)) < max(2, len(price.levels)):
        faults.add(
            f"{path}.attributes.{price.name}",
            "The price needs at least two levels that are different numbers, such as 3.49 and $4.49. "
            "If it is not a price, write 'price: null'.",
        )


def _check_missing(faults: Faults, path: str, question: Question) -> None:
    if not question.missing:
        return
    if isinstance(question, MultipleChoice) and question.multiple:
        faults.add(f"{path}.missing", "Of several answers, 'don't know' is an option with 'exclusive: true'.")
    elif not has_scale(question):
        faults.add(f"{path}.missing", f"A question of type {type_of(question)} has no missing answers.")
    else:
        faults.check_count(f"{path}.missing", len(question.missing), 0, 5, "missing answers")
        labels = [label.casefold() for label in scale_of(question).labels]
        for n, answer in enumerate(question.missing):
            if answer.casefold() in labels:
                faults.add(f"{path}.missing[{n}]", f"'{answer}' is an answer of the scale too. Remove one.")
        faults.check_labels(f"{path}.missing", question.missing)


def _check_screen_out(faults: Faults, path: str, question: Question) -> None:
    if not question.screen_out:
        return
    at = f"{path}.screen_out"
    if isinstance(question, Matrix | Ranking) or not list_answers(question):
        faults.add(at, f"A question of type {type_of(question)} cannot screen out. Use one with one answer.")
        return
    try:
        screened = list_screening_answers(question)
    except ConditionError as error:
        faults.add(at, str(error))
        return
    if len(screened) == len(list_answers(question)) + len(question.missing):
        faults.add(at, "Every answer is screened out, so nobody is left. Remove some of them.")


def _check_names(study: Study, faults: Faults, path: str, number: int) -> None:
    """Check the names in braces: variables of the arms everywhere, earlier answers in the question's text."""
    questions = study.questions
    known = {name for arm in study.cells for name in arm.vars}
    earlier = {question.id for question in questions[:number]}
    ids = {question.id for question in questions}
    for where, text in _list_texts(questions[number]):
        for name in find_names(text):
            at = f"{path}.{where}"
            if name in known or (name in earlier and where == "text"):
                continue
            if name == questions[number].id:
                faults.add(at, f"The question pipes its own answer, {{{name}}}. Pipe an earlier one.")
            elif name in earlier:
                faults.add(at, f"{{{name}}} can only be piped into the text of a question. Remove it here.")
            elif name in ids:
                faults.add(at, f"{{{name}}} is not asked before this question. Move it up.")
            else:
                faults.add(
                    at,
                    f"{{{name}}} is neither an earlier question nor a variable of the cells. "
                    "For literal braces, write {{ and }}.",
                )


def _list_texts(question: Question) -> Iterator[tuple[str, str]]:
    yield "text", question.text
    match question:
        case MultipleChoice():
            yield from ((f"options[{n}]", one.text) for n, one in enumerate(question.options))
        case Ranking():
            yield from ((f"items[{n}]", one.text) for n, one in enumerate(question.items))
        case MaxDiff():
            yield from ((f"items[{n}]", one) for n, one in enumerate(question.items))
        case Matrix():
            yield from ((f"rows[{n}]", one.text) for n, one in enumerate(question.rows))
            yield from ((f"labels[{n}]", one) for n, one in enumerate(question.labels))
        case Conjoint():
            for one in question.attributes:
                yield from ((f"attributes.{one.name}[{n}]", level) for n, level in enumerate(one.levels))
        case NPS() | Likert() | Rating() | Slider() | YesNo():
            yield from ((f"labels[{n}]", one) for n, one in enumerate(question.labels))
        case SemanticDifferential():
            yield from ((f"poles[{n}]", one) for n, one in enumerate(question.poles))
        case OpenEnded():
            pass
        case _:
            assert_never(question)


def _check_condition(study: Study, faults: Faults, path: str, number: int, unsound: Collection[str]) -> None:
    """Check `show_if` and piped answers, unless an earlier question that they need has a fault."""
    question = study.questions[number]
    words = {*re.findall(r"\w+", question.show_if or ""), *find_names(question.text)}
    if words & set(unsound):
        return
    before = [one for one in study.questions[:number] if one.id not in unsound]
    sound = msgspec.structs.replace(study, questions=(*before, question))
    later = {one.id for one in study.questions[number:]}
    try:
        if question.show_if is not None:
            earlier = {one.id: one for one in before}
            _refuse_screened(parse_condition(question.show_if, earlier, later), earlier)
        conditions_of(sound, question)
        if level_of(sound, question) > LEVELS_MAX:
            raise ConditionError(
                f"This is a condition of more than {LEVELS_MAX} levels. The questions it depends on have "
                "conditions that depend on conditions. Depend on an earlier question."
            )
    except ConditionError as error:
        faults.add(f"{path}.show_if" if question.show_if is not None else f"{path}.text", str(error))


def _refuse_screened(expression: Expression, earlier: Mapping[str, Question]) -> None:
    for matches in list_matches(expression):
        screened = list_screening_answers(earlier[matches.question])
        if matches.answers and matches.answers <= screened and not matches.is_negated:
            raise ConditionError(
                f"Everybody who gives this answer to '{matches.question}' is screened out. "
                "Ask for an answer that goes on."
            )
