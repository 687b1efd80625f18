"""
List the conditions in which a question is asked.

    show_if: "q1 >= 7"     the prompt states "you answered: 7 or more"
    "Why {q1}?"            one condition for each group of earlier answers: promoters, passives, detractors
    an earlier screener    the prompt states the answer that passed it; no condition of its own
        →  conditions_of(study, question)  →  Condition × n

Conditions may depend on questions with conditions, up to two levels. A question that pipes an answer of a
conditional question states that question's `show_if` too, but not the groups that it was itself asked in.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

from mavera.focus_groups.expressions import (
    AllOf,
    AnyOf,
    ConditionError,
    Expression,
    Matches,
    all_of,
    find_answer,
    is_possible,
    list_answers,
    list_matches,
    parse_condition,
)
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Study,
    YesNo,
    question_of,
    scale_of,
    type_of,
)
from mavera.focus_groups.wording import describe_answers, fill_names, find_names, state_match, words_of

LEVELS_MAX = 2
CONDITIONS_MAX = 12
# This many options of a choice make a group of their own if the answer is piped.
_PIPED_OPTIONS = 5


@dataclass(frozen=True, slots=True)
class Condition:
    """
    One way in which a question is asked.

    `key` is "" if everybody is asked in the same way. `expression` says who belongs here; None is everybody
    who was not screened out. `facts` are the earlier answers that the prompt states, in the order of the
    questions. `words` replace the `{q1}` of the question's text.
    """

    key: str
    expression: Expression | None
    facts: tuple[Expression, ...]
    words: tuple[tuple[str, str], ...] = ()


def conditions_of(study: Study, question: Question) -> tuple[Condition, ...]:
    """
    Return the conditions in which a question of a checked study is asked: at least one.

    Raises ConditionError if `show_if` or a piped answer cannot be used.
    """
    earlier = _list_earlier(study, question)
    shown = _parse_show_if(study, question)
    piped = [name for name in find_names(question.text) if name in earlier]
    needed = [*([shown] if shown else []), *(Matches(name, None, frozenset()) for name in piped)]
    stated = [*_state_screeners(earlier.values())]
    stated += [part for one in needed for part in _list_requirements(study, one)]
    found = []
    for groups in product(*(_list_groups(earlier[name], shown) for name in piped)):
        parts = [Matches(name, None, answers) for name, answers in zip(piped, groups, strict=True)]
        expression = all_of([*([shown] if shown else []), *parts])
        facts = _sort_facts(study, [*stated, *([expression] if expression else [])])
        words = tuple((one.question, _describe(study, one)) for one in parts)
        found.append(Condition(_key(study, expression), expression, facts, words))
    if shown and not is_possible(shown):
        raise ConditionError("The condition is never true. Ask for answers that can be given together.")
    if len(found) > CONDITIONS_MAX:
        raise ConditionError(
            f"The piped answers make {len(found)} conditions, above {CONDITIONS_MAX}. Pipe fewer answers."
        )
    return tuple(found)


def _describe(study: Study, matches: Matches) -> str:
    return describe_answers(question_of(study, matches.question), matches.answers, study.language)


def list_references(study: Study, question: Question) -> tuple[str, ...]:
    """Return the ids of the questions whose answers decide how a question is asked, screeners left out."""
    shown = _parse_show_if(study, question)
    earlier = _list_earlier(study, question)
    piped = (name for name in find_names(question.text) if name in earlier)
    return tuple(dict.fromkeys([*(one.question for one in list_matches(shown)), *piped]))


def level_of(study: Study, question: Question) -> int:
    """Return 0 for a question without conditions, and else 1 more than the questions it depends on."""
    references = list_references(study, question)
    return 1 + max(level_of(study, question_of(study, name)) for name in references) if references else 0


def list_screening_answers(question: Question) -> frozenset[int]:
    """Return the indexes of the answers that end the interview, missing answers included."""
    if not question.screen_out:
        return frozenset()
    names = list_answers(question)
    missing = len(names)
    found = {
        find_answer(question, answer) for answer in question.screen_out if answer not in question.missing
    }
    return frozenset(
        found | {missing + question.missing.index(a) for a in question.screen_out if a in question.missing}
    )


def _list_earlier(study: Study, question: Question) -> dict[str, Question]:
    earlier: dict[str, Question] = {}
    for one in study.questions:
        if one.id == question.id:
            break
        earlier[one.id] = one
    return earlier


def _parse_show_if(study: Study, question: Question) -> Expression | None:
    if question.show_if is None:
        return None
    return parse_condition(question.show_if, _list_earlier(study, question))


def _state_screeners(earlier: Iterable[Question]) -> Iterator[Expression]:
    """Yield facts about passed screeners, except those with a `show_if`: not everybody has seen them."""
    for question in earlier:
        if question.screen_out and question.show_if is None:
            screened = list_screening_answers(question)
            if isinstance(question, MultipleChoice) and question.multiple:
                yield Matches(question.id, None, screened, is_negated=True)
            else:
                every = range(len(list_answers(question)) + len(question.missing))
                yield Matches(question.id, None, frozenset(every) - screened)


def _list_requirements(study: Study, expression: Expression | None) -> Iterator[Expression]:
    """Yield the conditions of the questions that an expression needs answers to."""
    parts = expression.parts if isinstance(expression, AllOf) else (expression,)
    for part in parts:
        if isinstance(part, Matches):
            shown = _parse_show_if(study, question_of(study, part.question))
            if shown is not None:
                yield from _list_requirements(study, shown)
                yield shown


def _sort_facts(study: Study, facts: Iterable[Expression]) -> tuple[Expression, ...]:
    """Return facts without repetitions, by the first question that they are about."""
    merged = all_of(facts)
    parts = merged.parts if isinstance(merged, AllOf) else (merged,) if merged else ()
    places = {question.id: n for n, question in enumerate(study.questions)}
    return tuple(sorted(parts, key=lambda part: min(places[one.question] for one in list_matches(part))))


def _list_groups(question: Question, shown: Expression | None) -> list[frozenset[int]]:
    """Return the groups of answers that are piped, without the answers that the condition excludes."""
    left = frozenset(range(len(list_answers(question)))) - list_screening_answers(question)
    for part in shown.parts if isinstance(shown, AllOf) else (shown,):
        if isinstance(part, Matches) and part.question == question.id:
            left &= part.answers
    return [group & left for group in _split_answers(question) if group & left]


def _split_answers(question: Question) -> list[frozenset[int]]:
    match question:
        case MultipleChoice(multiple=True) | OpenEnded() | Matrix() | MaxDiff() | Conjoint():
            kind = "several answers" if isinstance(question, MultipleChoice) else type_of(question)
            raise ConditionError(
                f"'{question.id}' has the type {kind}, which cannot be piped. "
                "Pipe a question with one answer."
            )
        case MultipleChoice() | Ranking() | YesNo():
            count = len(list_answers(question))
            singles = [frozenset({n}) for n in range(min(count, _PIPED_OPTIONS))]
            return singles + ([frozenset(range(_PIPED_OPTIONS, count))] if count > _PIPED_OPTIONS else [])
    points = len(scale_of(question).labels)
    if type_of(question) == "nps":
        bounds = (0, 7, 9, 11)
    elif points == 11:
        bounds = (0, 4, 7, 11)
    else:
        bounds = (0, points // 2, (points + 1) // 2, points)
    return [frozenset(range(a, b)) for a, b in pairwise(bounds) if a < b]


# Expressions


def _key(study: Study, expression: Expression | None) -> str:
    """Return a text that is the same for the same condition, however it was written."""
    match expression:
        case None:
            return ""
        case Matches():
            name = f"{expression.question}.{expression.row}" if expression.row else expression.question
            return f"{name}{'!=' if expression.is_negated else '='}{_format_answers(study, expression)}"
        case AllOf(parts):
            return "(" + " and ".join(sorted(_key(study, part) for part in parts)) + ")"
        case AnyOf(parts):
            return "(" + " or ".join(sorted(_key(study, part) for part in parts)) + ")"


def _format_answers(study: Study, matches: Matches) -> str:
    names = [str(n + 1) for n in range(len(list_answers(question_of(study, matches.question))))]
    question = question_of(study, matches.question)
    if not isinstance(question, MultipleChoice | Ranking) and scale_of(question).values is not None:
        names = [f"{value:g}" for value in scale_of(question).values or ()]
    return "|".join(names[n] if n < len(names) else f"m{n - len(names) + 1}" for n in sorted(matches.answers))


def fill_question_text(question: Question, condition: Condition, names: Mapping[str, str]) -> str:
    """Return the text of a question, with its piped answers and the variables `names` of an arm filled in."""
    return fill_names(question.text, {**names, **dict(condition.words)})


def state_facts(study: Study, condition: Condition, names: Mapping[str, str]) -> tuple[str, ...]:
    """
    Return the sentences about earlier answers that the prompt of a condition states.

    `names` are the variables of the arm. A piped answer within an earlier question's text becomes "…".
    """
    return tuple(fill_names(_state(study, fact), names) for fact in condition.facts)


def _state(study: Study, expression: Expression) -> str:
    match expression:
        case Matches(name, row, answers, is_negated):
            return state_match(question_of(study, name), row, answers, is_negated, study.language)
        case AllOf(parts):
            return " ".join(_state(study, part) for part in parts)
        case AnyOf(parts):
            marked = (f"({n}) {_state(study, part)}" for n, part in enumerate(parts, 1))
            return f"{words_of(study.language).one_of} {' '.join(marked)}"
