"""
Read conditions on earlier answers, and decide for each respondent whether they are true.

    show_if: "q1 >= 7 and not s1 == no"  →  parse_condition  →  Expression
    Expression and answers               →  evaluate         →  FALSE, UNKNOWN or TRUE for each respondent

The grammar has comparisons (`== != < <= > >=`), `in`, `not in`, `and`, `or`, `not` and brackets. The left
side is a question id, or `id.row` for a matrix. It is parsed here and never run as code.

    q1 >= 7             numbers of a scale           q2 == "Agree"         a label
    q3 == Taste         ticked, of several answers   q3 in [Taste, Price]  any of them
    q4.r1 >= 5          a row of a matrix            q5 == Taste           the first item of a ranking

A comparison with an answer that was not given, or that is one of the `missing` answers, is unknown. Unknown
follows Kleene's logic, and only true shows a question.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavera.focus_groups.respondents import Answers, Status
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

_CHARACTERS_MAX = 500
_DEPTH_MAX = 20
KEYWORDS = frozenset({"and", "or", "not", "in"})
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"[^"]*"|'[^']*'|“[^”]*”)
      | (?P<number>-?\d+(?:\.\d+)?)(?![\w.])
      | (?P<name>[^\W\d]\w*(?:\.\w+)?)
      | (?P<operator>==|!=|<=|>=|=|<|>|≤|≥|≠)
      | (?P<mark>[()\[\],])
    )""",
    re.VERBOSE,
)
_OPERATORS = {"=": "==", "≤": "<=", "≥": ">=", "≠": "!="}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

FALSE, UNKNOWN, TRUE = 0, 1, 2


class ConditionError(Exception):
    """A condition that cannot be used. The message says why, and what to write."""


@dataclass(frozen=True, slots=True)
class Matches:
    """
    True if an answer is one of `answers`: indexes into labels, options, or items (the first of a ranking).

    For a question with several answers, one ticked answer is enough. Only such a match can be negated: none
    of them was ticked.
    """

    question: str
    row: str | None
    answers: frozenset[int]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple["Expression", ...]


Expression = Matches | AllOf | AnyOf


def list_matches(expression: Expression | None) -> Iterator[Matches]:
    """Yield the comparisons of an expression."""
    match expression:
        case Matches():
            yield expression
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from list_matches(part)


def list_answers(question: Question) -> tuple[str, ...]:
    """Return the names that a condition can compare with, without missing answers."""
    match question:
        case MultipleChoice():
            return tuple(option.text for option in question.options)
        case Ranking():
            return tuple(item.text for item in question.items)
        case OpenEnded() | Conjoint() | MaxDiff():
            return ()
        case _:
            return scale_of(question).labels


def is_possible(expression: Expression) -> bool:
    match expression:
        case Matches():
            return bool(expression.answers) or expression.is_negated
        case AllOf(parts):
            return all(map(is_possible, parts))
        case AnyOf(parts):
            return any(map(is_possible, parts))


def all_of(parts: Iterable[Expression]) -> Expression | None:
    """Join expressions. Two comparisons with the same single answer become one."""
    found: dict[tuple[str, str | None] | Expression, Expression] = {}
    for part in _flatten(parts, AllOf):
        place: tuple[str, str | None] | Expression = part
        if isinstance(part, Matches) and not part.is_negated and part not in found:
            place = (part.question, part.row)
            before = found.get(place)
            if isinstance(before, Matches):
                part = Matches(part.question, part.row, before.answers & part.answers)
        found[place] = part
    return _join(list(found.values()), AllOf)


def any_of(parts: Iterable[Expression]) -> Expression | None:
    found: dict[tuple[str, str | None] | Expression, Expression] = {}
    for part in _flatten(parts, AnyOf):
        place: tuple[str, str | None] | Expression = part
        if isinstance(part, Matches) and not part.is_negated:
            place = (part.question, part.row)
            before = found.get(place)
            if isinstance(before, Matches):
                part = Matches(part.question, part.row, before.answers | part.answers)
        found[place] = part
    return _join(list(found.values()), AnyOf)


def _flatten(parts: Iterable[Expression], kind: type[AllOf] | type[AnyOf]) -> Iterator[Expression]:
    for part in parts:
        if isinstance(part, kind):
            yield from part.parts
        else:
            yield part


def _join(parts: list[Expression], kind: type[AllOf] | type[AnyOf]) -> Expression | None:
    return kind(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


def evaluate(expression: Expression, answers: Mapping[str, Answers], study: Study) -> NDArray[Any]:
    """
    Return FALSE, UNKNOWN or TRUE for each respondent.

    `answers` has the questions answered so far. A question that is missing from it was asked of nobody.
    """
    match expression:
        case AllOf(parts):
            truths = [evaluate(part, answers, study) for part in parts]
            return np.array(np.minimum.reduce(truths))
        case AnyOf(parts):
            truths = [evaluate(part, answers, study) for part in parts]
            return np.array(np.maximum.reduce(truths))
        case Matches():
            return _evaluate_matches(expression, answers, question_of(study, expression.question))


def _evaluate_matches(
    matches: Matches, answers: Mapping[str, Answers], question: Question
) -> NDArray[np.int8]:
    given = answers[matches.question]
    choices = given.choices
    wanted = sorted(matches.answers)
    if isinstance(question, MultipleChoice) and question.multiple:
        fits = choices[:, wanted].any(axis=1) != matches.is_negated
        known = given.status == Status.ANSWERED
    else:
        if isinstance(question, Matrix):
            choices = choices[:, [row.id for row in question.rows].index(matches.row or "")]
        elif isinstance(question, Ranking):
            choices = choices[:, 0]
        fits = np.isin(choices, wanted)
        # Facts about screeners name missing answers too; comparisons never do.
        known = (choices >= 0) & (fits | (choices < len(list_answers(question))))
        known &= np.isin(given.status, (Status.ANSWERED, Status.MISSING))
    return np.where(known, np.where(fits, TRUE, FALSE), UNKNOWN).astype(np.int8)


def parse_condition(text: str, earlier: Mapping[str, Question], later: Collection[str] = ()) -> Expression:
    """
    Return the expression in `text` about the questions `earlier`.

    `later` has the ids of the question itself and of the questions after it, for a better message. Raises
    ConditionError.
    """
    if len(text) > _CHARACTERS_MAX:
        raise ConditionError(f"The condition has {len(text)} characters. The limit is {_CHARACTERS_MAX}.")
    parser = _Parser(text, earlier, later)
    expression = parser.read_or(0)
    if parser.token is not None:
        raise ConditionError(
            f"The condition does not end at {parser.token!r}. Join comparisons with 'and' or 'or'."
        )
    return expression


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    def __repr__(self) -> str:
        return f"'{self.text}'"


def _tokenize(text: str) -> Iterator[_Token]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise ConditionError(
                f"The condition cannot be read at '{text[place:].strip()[:20]}'. "
                "Write it as in: q1 >= 7 and s1 == yes"
            )
        kind = found.lastgroup or ""
        word = found[kind]
        word = word[1:-1] if kind == "string" else _OPERATORS.get(word, word)
        yield _Token("keyword" if kind == "name" and word.lower() in KEYWORDS else kind, word)
        place = found.end()


class _Parser:
    """Reads tokens one by one. `token` is the next one, None at the end."""

    def __init__(self, text: str, earlier: Mapping[str, Question], later: Collection[str]) -> None:
        self._tokens = _tokenize(text)
        self._earlier = earlier
        self._later = later
        self.token: _Token | None = next(self._tokens, None)

    def _take(self) -> _Token:
        token = self.token
        if token is None:
            raise ConditionError("The condition ends too early. Write it as in: q1 >= 7")
        self.token = next(self._tokens, None)
        return token

    def _is_next(self, kind: str, *texts: str) -> bool:
        return self.token is not None and self.token.kind == kind and self.token.text.lower() in texts

    def _expect(self, mark: str) -> None:
        if not self._is_next("mark", mark):
            raise ConditionError(f"'{mark}' is missing" + (f" before {self.token!r}." if self.token else "."))
        self._take()

    def read_or(self, depth: int) -> Expression:
        parts = [self._read_and(depth)]
        while self._is_next("keyword", "or"):
            self._take()
            parts.append(self._read_and(depth))
        return any_of(parts) or parts[0]

    def _read_and(self, depth: int) -> Expression:
        parts = [self._read_not(depth)]
        while self._is_next("keyword", "and"):
            self._take()
            parts.append(self._read_not(depth))
        return all_of(parts) or parts[0]

    def _read_not(self, depth: int) -> Expression:
        if depth > _DEPTH_MAX:
            raise ConditionError(f"The condition has more than {_DEPTH_MAX} levels of brackets.")
        if self._is_next("keyword", "not"):
            self._take()
            return self._negate(self._read_not(depth + 1))
        if self._is_next("mark", "("):
            self._take()
            inner = self.read_or(depth + 1)
            self._expect(")")
            return inner
        return self._read_comparison()

    def _negate(self, expression: Expression) -> Expression:
        """Return the negation of an expression. Kleene's logic also lets `not` move to the comparisons."""
        match expression:
            case AllOf(parts):
                return any_of(map(self._negate, parts)) or expression
            case AnyOf(parts):
                return all_of(map(self._negate, parts)) or expression
            case Matches(question, row, answers, is_negated):
                if self._has_several(question):
                    return Matches(question, row, answers, not is_negated)
                every = frozenset(range(len(list_answers(self._earlier[question]))))
                return Matches(question, row, every - answers)

    def _has_several(self, name: str) -> bool:
        question = self._earlier[name]
        return isinstance(question, MultipleChoice) and question.multiple

    def _read_comparison(self) -> Expression:
        left = self._take()
        if left.kind == "name" and self._names_question(left.text):
            return self._compare(left.text)
        if left.kind in ("number", "string", "name") and self.token is not None:
            return self._compare_reversed(left)
        if left.kind == "name":
            self._find_question(left.text)
        raise ConditionError(f"A question id is expected at {left!r}. Write the condition as in: q1 >= 7")

    def _names_question(self, name: str) -> bool:
        head = name.partition(".")[0]
        return head in self._earlier or head in self._later

    def _compare(self, name: str) -> Expression:
        question, row = self._find_question(name)
        if self._is_next("keyword", "in", "not"):
            is_negated = self._take().text.lower() == "not"
            if is_negated:
                if not self._is_next("keyword", "in"):
                    raise ConditionError(f"'in' is missing after '{name} not'.")
                self._take()
            found = [find_answer(question, value) for value in self._read_list()]
            expression: Expression = Matches(question.id, row, frozenset(found))
            return self._negate(expression) if is_negated else expression
        operator = self._read_operator(name)
        return self._match(question, row, operator, self._read_value())

    def _compare_reversed(self, left: _Token) -> Expression:
        """Read `7 <= q1`, and `Taste in q3` for an option of several answers."""
        if self._is_next("keyword", "in"):
            self._take()
            operator = "=="
        elif self.token is not None and self.token.kind == "operator":
            operator = _FLIPPED[self._take().text]
        elif left.kind == "name":
            self._find_question(left.text)
            raise ConditionError(f"An operator is missing after '{left.text}'. Write it as in: q1 >= 7")
        else:
            raise ConditionError(f"A question id is expected before {left!r}. Write it as in: q1 >= 7")
        right = self._take()
        if left.kind == "name" and not (right.kind == "name" and self._names_question(right.text)):
            self._find_question(left.text)
        if right.kind != "name":
            raise ConditionError(f"A question id is expected at {right!r}. Write it as in: q1 >= 7")
        self._refuse_chain()
        question, row = self._find_question(right.text)
        return self._match(question, row, operator, left.text)

    def _read_operator(self, name: str) -> str:
        if self.token is None or self.token.kind != "operator":
            raise ConditionError(f"An operator is missing after '{name}'. Write it as in: {name} == answer")
        return self._take().text

    def _read_value(self) -> str:
        token = self._take()
        if token.kind not in ("number", "string", "name"):
            raise ConditionError(f"An answer is expected at {token!r}. Put texts into quotation marks.")
        self._refuse_chain()
        return token.text

    def _refuse_chain(self) -> None:
        if self.token is not None and self.token.kind == "operator":
            raise ConditionError("Comparisons cannot be chained. Write: q1 >= 5 and q1 <= 7")

    def _read_list(self) -> list[str]:
        if not self._is_next("mark", "[", "("):
            raise ConditionError("A list is missing after 'in'. Write it as in: q1 in [7, 8]")
        end = "]" if self._take().text == "[" else ")"
        values = [self._read_value()]
        while self._is_next("mark", ","):
            self._take()
            values.append(self._read_value())
        self._expect(end)
        return values

    def _find_question(self, name: str) -> tuple[Question, str | None]:
        head, _, row = name.partition(".")
        if head in self._later:
            raise ConditionError(
                f"The condition refers to '{head}', which is not asked before this question. Move it up."
            )
        if head not in self._earlier:
            raise ConditionError(f"No question has the id '{head}'. Put answers into quotation marks.")
        question = self._earlier[head]
        if isinstance(question, OpenEnded | MaxDiff | Conjoint):
            raise ConditionError(
                f"'{head}' has the type {type_of(question)}, whose answers cannot be compared. "
                "Use a closed question."
            )
        rows = [one.id for one in question.rows] if isinstance(question, Matrix) else []
        if bool(rows) != bool(row) or (row and row not in rows):
            wanted = f"Name a row of '{head}': " + ", ".join(f"{head}.{one}" for one in rows) + "."
            raise ConditionError(wanted if rows else f"'{head}' has no rows. Write '{head}'.")
        return question, row or None

    def _match(self, question: Question, row: str | None, operator: str, value: str) -> Expression:
        names = list_answers(question)
        if operator in ("==", "!="):
            found: Expression = Matches(question.id, row, frozenset({find_answer(question, value)}))
            return found if operator == "==" else self._negate(found)
        if isinstance(question, MultipleChoice | Ranking | YesNo):
            raise ConditionError(
                f"The answers of '{question.id}' have no order. Compare with == or !=, or use 'in'."
            )
        values = scale_of(question).values or ()
        bound = _read_number(value)
        if bound is None:
            bound = values[find_answer(question, value)]
        tests = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
        fits = frozenset(np.flatnonzero(tests[operator](np.array(values), bound)).tolist())
        if not fits or len(fits) == len(names):
            problem = "Every answer" if fits else "No answer"
            raise ConditionError(
                f"{problem} of '{question.id}' is {operator} {value}. "
                f"It goes from {values[0]:g} to {values[-1]:g}."
            )
        return Matches(question.id, row, fits)


def _read_number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def find_answer(question: Question, value: str) -> int:
    """Return the index of an answer, by its label or by its number. Raises ConditionError."""
    sought = value.strip().casefold()
    names = [name.casefold() for name in list_answers(question)]
    if sought in names:
        return names.index(sought)
    if isinstance(question, YesNo) and sought in ("yes", "no"):
        return ("yes", "no").index(sought)
    if sought in (name.casefold() for name in question.missing):
        raise ConditionError(
            f"'{value}' is a missing answer of '{question.id}', and a comparison with it is never true."
        )
    number = _read_number(sought)
    if number is not None and not isinstance(question, MultipleChoice | Ranking | YesNo):
        values = scale_of(question).values or ()
        if number in values:
            return values.index(number)
    shown = ", ".join(list_answers(question)[:12])
    raise ConditionError(f"'{value}' is not an answer of '{question.id}'. Its answers are: {shown}.")
