"""
Translate `visibleIf` of SurveyJS into `show_if`.

    {q1} >= 7 and ({q2} = 'a' or {q3} contains 'b')   →   q1 >= 7 and (q2 == "A" or q3 == "B")

Values of choices become their texts. A part without a counterpart, such as a function, an arithmetic
expression or a question that was not carried over, makes the whole condition untranslatable: half of a
condition would be wrong.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mavera.focus_groups.imports.report import quote_answer

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<question>\{[^{}]*\})
      | (?P<string>'[^']*'|"[^"]*")
      | (?P<operator>==|=|!=|<>|<=|>=|<|>|&&|\|\||!)
      | (?P<mark>[()\[\],])
      | (?P<word>[^\s()\[\],'"{}=<>!&|]+)
    )""",
    re.VERBOSE,
)
_COMPARISONS = {"=": "==", "==": "==", "equal": "==", "!=": "!=", "<>": "!=", "notequal": "!="}
_COMPARISONS |= {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "less": "<", "lessorequal": "<="}
_COMPARISONS |= {"greater": ">", "greaterorequal": ">="}
_SEVERAL = frozenset({"contains", "contain", "anyof", "notcontains", "notcontain", "noneof"})
_NUMBERED = frozenset({"nps", "rating", "slider", "matrix", "likert"})


class Untranslatable(ValueError):
    """A condition without a counterpart. The message is the rest of a sentence with "because"."""


@dataclass(frozen=True, slots=True)
class Answerable:
    """A question that a condition may name: its id, type, texts by value, and row ids by value."""

    id: str
    type: str
    values: dict[str, str]
    rows: Mapping[str, str]


def translate_condition(text: str, questions: Mapping[str, Answerable]) -> str:
    """Return the `show_if` of a condition. Raises Untranslatable."""
    parser = _Parser(_tokenize(text), questions)
    found = parser.read_or()
    if parser.token is not None:
        raise Untranslatable(f"'{parser.token}' is not understood")
    return found


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens, place, end = [], 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise Untranslatable(f"'{text[place : place + 10].strip()}' is not understood")
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        place = found.end()
    return tokens


class _Parser:
    """Reads tokens from left to right. `token` is the next one, and None at the end."""

    def __init__(self, tokens: list[tuple[str, str]], questions: Mapping[str, Answerable]) -> None:
        self._tokens = tokens
        self._questions = questions
        self._at = 0
        self._depth = 0

    @property
    def token(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    @property
    def kind(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def read_or(self) -> str:
        parts = [self._read_and()]
        while (self.token or "").lower() in ("or", "||"):
            self._at += 1
            parts.append(self._read_and())
        return " or ".join(parts)

    def _read_and(self) -> str:
        parts = [self._read_not()]
        while (self.token or "").lower() in ("and", "&&"):
            self._at += 1
            parts.append(self._read_not())
        return " and ".join(parts)

    def _read_not(self) -> str:
        if (self.token or "").lower() in ("not", "!"):
            self._at += 1
            return f"not {self._read_not()}"
        if self.token == "(":  # noqa: S105 — a bracket, no secret
            self._at += 1
            self._depth += 1
            if self._depth > 20:
                raise Untranslatable("it has more than 20 brackets inside each other")
            inner = self.read_or()
            self._expect(")")
            self._depth -= 1
            return f"({inner})"
        return self._read_comparison()

    def _expect(self, mark: str) -> None:
        if self.token != mark:
            raise Untranslatable(f"a '{mark}' is missing")
        self._at += 1

    def _read_comparison(self) -> str:
        if self.kind != "question":
            raise Untranslatable(f"'{self.token}' is not a question")
        name = str(self.token)[1:-1].strip()
        self._at += 1
        operator = (self.token or "").lower()
        self._at += 1
        if operator in ("empty", "notempty"):
            raise Untranslatable("a question that was asked always has an answer here")
        left, question = self._find(name)
        if operator in _COMPARISONS:
            return self._compare(left, question, _COMPARISONS[operator], self._read_value())
        if operator in _SEVERAL:
            values = self._read_list()
            answers = ", ".join(self._to_answer(question, value) for value in values)
            return f"{'not ' if operator.startswith('no') else ''}{left} in [{answers}]"
        raise Untranslatable(f"'{operator}' has no counterpart")

    def _find(self, name: str) -> tuple[str, Answerable]:
        if name in self._questions:
            return self._questions[name].id, self._questions[name]
        base, _, row = name.partition(".")
        question = self._questions.get(base)
        if question is not None and row in question.rows:
            return f"{question.id}.{question.rows[row]}", question
        raise Untranslatable(f"'{name}' is not among the earlier questions that were carried over")

    def _compare(self, left: str, question: Answerable, operator: str, value: str) -> str:
        if question.type == "open_ended":
            raise Untranslatable("it depends on an answer in words")
        return f"{left} {operator} {self._to_answer(question, value)}"

    def _to_answer(self, question: Answerable, value: str) -> str:
        if value in question.values:
            return _quote(question.values[value])
        if value.lower() in question.values:
            return _quote(question.values[value.lower()])
        if question.type in _NUMBERED and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return value
        raise Untranslatable(f"'{value}' is not an answer of '{question.id}'")

    def _read_value(self) -> str:
        token, kind = self.token, self.kind
        if token is None or kind not in ("string", "word"):
            raise Untranslatable("the value of a comparison is missing or is computed")
        self._at += 1
        return token[1:-1] if kind == "string" else token

    def _read_list(self) -> list[str]:
        if self.token != "[":  # noqa: S105 — a bracket, no secret
            return [self._read_value()]
        self._at += 1
        values = [self._read_value()]
        while self.token == ",":  # noqa: S105 — a comma, no secret
            self._at += 1
            values.append(self._read_value())
        self._expect("]")
        return values


def _quote(text: str) -> str:
    try:
        return quote_answer(text)
    except ValueError as error:
        raise Untranslatable(str(error)) from error
