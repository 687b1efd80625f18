"""
Plan what the model is asked for a cell: one `Ask` for each read.

    one answer, scales, matrix row   the list by letters, forwards and backwards         2 reads
    several answers                  yes or no for each option, each of them first       2 for each option
    ranking                          the first choice, in each rotation of the list      1 for each item
    maxdiff set                      the best and the worst, forwards and backwards      4
    conjoint task                    the choice, in each rotation of the alternatives    1 for each
    open_ended                       an answer in words                                  `verbatims`
    a scale in the persona's words   a sentence, which similarity rating reads           1
    a later round of a discussion    an answer in words                                  1

A list of more than 20 answers, or one for a model without log-probabilities, is asked for as shares of 100
people: one read each time instead of the orders above.

The order of an ask is the number of the answer at each place. A small model prefers a place whatever stands
there (arXiv 2309.03882), so each answer is shown at more than one. If the file asks for a random order, the
first order is a shuffle, and fixed options keep their places in every order.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mavera.focus_groups.phrases import Phrases, phrases_of
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    ends_of,
    scale_of,
)
from mavera.focus_groups.wording import words_of

LETTERS = string.ascii_uppercase
# Models send at most 20 alternatives for a token.
MOST_LETTERS = 20

Kind = Literal["letters", "shares", "words"]
Method = Literal["letters", "shares"]
Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """
    One read. `about` tells the reads of a cell apart: an option's number, "best", "worst" or "".

    `order` has the number of the answer that stands at each place. It is empty for words.
    """

    kind: Kind
    about: str
    order: Order
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """
    The texts of one cell: everything is piped and translated already.

    `alternatives` are those of a conjoint task, or the items of a MaxDiff set. `first_order` is the order in
    which the options are shown first, and () for that of the file. `round` is that of a discussion, and
    `heard` has what was said in the round before. With `in_own_words`, the answers of a scale are not shown,
    and the persona says what it thinks in a sentence.
    """

    question: Question
    text: str
    language: str
    wording: int = 0
    before: tuple[str, ...] = ()
    row: str | None = None
    alternatives: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    first_order: Order = ()
    round: int = 1
    heard: tuple[str, ...] = ()
    in_own_words: bool = False


def plan_asks(shown: Shown, method: Method) -> tuple[Ask, ...]:
    """Return the reads of a cell. `method` is what the model can do: log-probabilities, or shares."""
    question, phrases = shown.question, phrases_of(shown.language)
    if shown.in_own_words:
        return (Ask("words", "0", (), _compose(shown, phrases, "", phrases.in_a_sentence)),)
    match question:
        case OpenEnded() if shown.round > 1:
            note = "\n".join((*shown.heard, phrases.follow_ups[shown.round - 2]))
            return (Ask("words", str(shown.round), (), _compose(shown, phrases, note, phrases.in_words)),)
        case OpenEnded():
            text = _compose(shown, phrases, "", phrases.in_words)
            return tuple(Ask("words", str(number), (), text) for number in range(question.verbatims))
        case MultipleChoice(multiple=True):
            words = words_of(shown.language)
            answers = (words.yes, words.no)
            return tuple(
                ask
                for number, option in enumerate(shown.options)
                for ask in _list(
                    shown, method, answers, phrases.would_choose.format(option=option), str(number)
                )
            )
        case Ranking():
            return _list(shown, method, shown.options, phrases.first, "", rotates=True)
        case MaxDiff():
            best = _list(shown, method, shown.alternatives, phrases.best, "best")
            return best + _list(shown, method, shown.alternatives, phrases.worst, "worst")
        case Conjoint():
            extra = (phrases.none_of_these,) if question.none else ()
            answers = (*shown.alternatives, *extra)
            note = phrases.random_price if question.price else ""
            return _list(shown, method, answers, note, "", rotates=True, last=len(extra))
        case _:
            labels = label_answers(question, shown.language, shown.options)
            return _list(shown, method, labels, "", "", last=len(scale_of(question).missing))


def label_answers(question: Question, language: str, options: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the answers of a question with one answer as the model sees them, with the ends named."""
    scale = scale_of(question)
    if isinstance(question, MultipleChoice):
        return (*options, *scale.missing)
    if scale.values is None:
        return scale.answers
    ends = ends_of(question)
    if ends is None and isinstance(question, Matrix) and not question.labels:
        agreement = words_of(language).agreement
        if question.points == len(agreement):
            return (*agreement, *scale.missing)
        ends = agreement[0], agreement[-1]
    elif ends is None and scale.labels == tuple(f"{value:g}" for value in scale.values):
        ends = phrases_of(language).ends
    if ends is None:
        return scale.answers
    first, *middle, last = scale.labels
    return (f"{first} ({ends[0]})", *middle, f"{last} ({ends[1]})", *scale.missing)


def list_fixed(question: Question) -> tuple[bool, ...]:
    """Return for each option, item or row of a question whether it keeps its place. Other types have none."""
    match question:
        case MultipleChoice(options=entries) | Ranking(items=entries) | Matrix(rows=entries):
            return tuple(entry.fixed for entry in entries)
        case _:
            return ()


def _list(
    shown: Shown,
    method: Method,
    answers: Sequence[str],
    note: str,
    about: str,
    *,
    rotates: bool = False,
    last: int = 0,
) -> tuple[Ask, ...]:
    """
    Ask for one of `answers`. The `last` of them stay at the end in every order.

    The options of a question have an order of their own if `shown` names one; "yes" and "no" have none.
    """
    phrases = phrases_of(shown.language)
    count = len(answers)
    is_shuffled = bool(shown.first_order) and len(shown.first_order) == count - last
    first = (*shown.first_order, *range(count - last, count)) if is_shuffled else tuple(range(count))
    if method == "shares" or count > MOST_LETTERS:
        lines = "\n".join(f"{place + 1}. {answers[number]}" for place, number in enumerate(first))
        return (Ask("shares", about, first, _compose(shown, phrases, note, phrases.of_hundred, lines)),)
    fixed = list_fixed(shown.question) if is_shuffled else [False] * (count - last)
    orders = (rotate_order if rotates else reverse_order)(first, (*fixed, *([True] * last)))
    return tuple(
        Ask(
            "letters",
            about,
            order,
            _compose(
                shown,
                phrases,
                note,
                phrases.by_letter,
                "\n".join(f"{LETTERS[place]}) {answers[number]}" for place, number in enumerate(order)),
            ),
        )
        for order in orders
    )


def reverse_order(first: Order, is_fixed: Sequence[bool]) -> tuple[Order, ...]:
    """Return `first` and its reverse, in which the fixed answers keep their places."""
    moving = [number for number in first if not is_fixed[number]]
    return first, _fill_moving(first, is_fixed, moving[::-1])


def rotate_order(first: Order, is_fixed: Sequence[bool]) -> tuple[Order, ...]:
    """Return every rotation of the answers of `first` that are not fixed, or `first` if all of them are."""
    moving = [number for number in first if not is_fixed[number]]
    return tuple(
        _fill_moving(first, is_fixed, moving[start:] + moving[:start]) for start in range(max(1, len(moving)))
    )


def _fill_moving(first: Order, is_fixed: Sequence[bool], moving: Sequence[int]) -> Order:
    numbers = iter(moving)
    return tuple(number if is_fixed[number] else next(numbers) for number in first)


def _compose(shown: Shown, phrases: Phrases, note: str, instruction: str, answers: str = "") -> str:
    frame = phrases.frames[shown.wording % len(phrases.frames)]
    row = shown.row or ""
    parts = (*shown.before, frame.format(question=shown.text), row, note, answers, instruction)
    return "\n".join(part for part in parts if part)
