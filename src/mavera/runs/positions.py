"""
Say which positions an audience takes, by counting verdicts, and hold the synthesis to the counts.

    answers → verdicts → yes, no, it depends: the weights of those who say it → positions
    answers to an open question → groups of nearly the same answers           → positions
    synthesis → contradicts the positions? → the counts, written out, in its place

An answer that takes no clear position is in no position, so the shares may add up to less than 1. A position
is worded by an answer itself: no model writes one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, get_args

from mavera.core.events import PersonaAnswer, Position
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences
from mavera.reading.verdict import Verdict

# A verdict that is less probable than this is not counted. evals/README.md has the figures.
COUNTED = 0.7
# Answers to an open question are in one group if their vectors have this cosine on average.
SAME_GROUP = 0.9
# A quotation of fewer words gets the next sentence too, because "No, I would not." gives no reason.
_FEWEST_WORDS = 6
_MOST_QUOTED = 200

Held = Literal["yes", "no", "depends"]
_HELD: tuple[Held, ...] = get_args(Held)
_SAYS: dict[Held, str] = {"yes": "say yes", "no": "say no", "depends": "say that it depends"}
_PERCENT = re.compile(r"(\d{1,3})(?:[.,]\d+)?\s?%")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_WORD = re.compile(r"\w+(?:'\w+)?")
_NEGATION = re.compile(
    r"\b(?:no|not|never|nobody|none|against|refus\w+|reject\w*|oppos\w+|disagree\w*|declin\w+|unwilling|dislike\w*"
    r"|avoid\w*|\w{2,7}n't|nicht|nie|kein\w*|dagegen|nunca|jamás|contra|non|pas|jamais|contre|não)\b",
    re.IGNORECASE,
)
# A negation stands near the share that it belongs to: "Most, 75%, would not pay".
_NEAR_WORDS = 9
_COPIED_WORDS = 4


@dataclass(frozen=True, slots=True)
class Audience:
    """The positions that were counted. `is_closed` says whether the question asks for yes or no."""

    positions: tuple[Position, ...]
    is_closed: bool


def count_verdicts(answers: Sequence[PersonaAnswer], verdicts: Sequence[Verdict]) -> tuple[Position, ...]:
    """Return the stances that are held, the largest share first. The shares add up to 1 at most."""
    found = []
    for stance in _HELD:
        holders = [n for n, one in enumerate(verdicts) if one.stance == stance and one.probability >= COUNTED]
        if holders:
            clearest = max(holders, key=lambda n: verdicts[n].probability)
            said = _quote(answers[clearest].text, verdicts[clearest])
            found.append(_to_position(f"{_name(stance)}: {said}", [answers[n] for n in holders], stance))
    return tuple(sorted(found, key=lambda position: -position.share))


def group_answers(answers: Sequence[PersonaAnswer], encoder: SentenceEncoder) -> tuple[Position, ...]:
    """Return groups of nearly the same answers, the largest share first. Raises NoEncoder."""
    near = encoder.embed([answer.text for answer in answers])
    near = near @ near.T
    groups = [[number] for number in range(len(answers))]
    while True:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a + 1, len(groups))]
        likeness = [near[groups[a]][:, groups[b]].mean() for a, b in pairs]
        if not pairs or max(likeness) < SAME_GROUP:
            break
        first, second = pairs[likeness.index(max(likeness))]
        groups[first] += groups.pop(second)
    found = []
    for group in groups:
        central = max(group, key=lambda number: near[number][group].sum())
        said = _shorten(answers[central].text)
        if said:
            found.append(_to_position(said, [answers[number] for number in sorted(group)], None))
    return tuple(sorted(found, key=lambda position: -position.share))


def _to_position(text: str, holders: Sequence[PersonaAnswer], stance: Held | None) -> Position:
    share = round(sum(answer.speaker.weight for answer in holders), 4)
    return Position(text, share, tuple(answer.speaker.id for answer in holders), stance)


def _name(stance: Held) -> str:
    return "it depends" if stance == "depends" else stance


def _quote(answer: str, verdict: Verdict) -> str:
    """Quote the sentence that the verdict rests on, and the next one if it is very short."""
    start = verdict.sentence.start if verdict.sentence is not None else 0
    return _shorten(answer[start:])


def _shorten(text: str) -> str:
    """Return the first sentence of `text`, or two if the first is very short."""
    sentences = split_sentences(text)
    if not sentences:
        return ""
    said = sentences[0].text
    if len(said.split()) < _FEWEST_WORDS and len(sentences) > 1:
        said = f"{said} {sentences[1].text}"
    return said if len(said) <= _MOST_QUOTED else said[: _MOST_QUOTED - 1].rsplit(" ", 1)[0] + "…"


def format_share(share: float) -> str:
    """Format a share as a word and a percentage. Given only "50%", small models write "most"."""
    word = "all" if share > 0.995 else "most" if share > 0.505 else "half" if share > 0.495 else "some"
    return f"{word}, {share:.0%}"


def list_positions(audience: Audience) -> Iterator[str]:
    """Yield a line for each position, as the synthesis reads it."""
    for position in audience.positions:
        stance = f", {_SAYS[position.stance]}" if position.stance is not None else ""
        said = position.text.partition(": ")[2] if position.stance is not None else position.text
        yield f"{format_share(position.share)}{stance}: “{said}”"


def write_counts(audience: Audience) -> str:
    """Write out the positions, for use in place of a synthesis that contradicts them."""
    if not audience.positions:
        return "None of them takes a clear position."
    lines = [line[0].upper() + line[1:] for line in list_positions(audience)]
    return " ".join(line if line.endswith((".”", "!”", "?”", "…”")) else f"{line}." for line in lines)


def find_contradiction(text: str, audience: Audience, example: str, report: str) -> str | None:
    """
    Return how `text`, a synthesis, contradicts the counts, or None if it does not.

    `example` is the answer of the prompt's example, and `report` is what the synthesis was made from: words
    of the example that are not in the report were copied.
    """
    shares = {round(position.share * 100) for position in audience.positions}
    named = [int(match[1]) for match in _PERCENT.finditer(text)]
    if any(number not in shares for number in named):
        return "a share that nobody counted"
    if audience.is_closed and audience.positions and round(audience.positions[0].share * 100) not in named:
        return "the largest share is missing"
    if max(shares, default=0) <= 50 and re.search(r"\bmost\b", text, re.IGNORECASE):
        return "most, of half or less"
    for number, clause in _find_clauses(text):
        stances = {one.stance for one in audience.positions if round(one.share * 100) == number}
        says_no = bool(_NEGATION.search(" ".join(clause.split()[:_NEAR_WORDS])))
        if (stances == {"yes"} and says_no) or (stances == {"no"} and not says_no):
            return "a share with the opposite position"
    if _find_runs(example) & _find_runs(text) - _find_runs(report):
        return "words of the example"
    return None


def _find_clauses(text: str) -> Iterator[tuple[int, str]]:
    """Yield each share with the words that follow it, up to the next share or the end of the sentence."""
    matches = list(_PERCENT.finditer(text))
    for match, after in zip_longest(matches, matches[1:]):
        end = after.start() if after is not None else len(text)
        stop = _SENTENCE_END.search(text, match.end(), end)
        yield int(match[1]), text[match.end() : stop.start() if stop else end]


def _find_runs(text: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return {tuple(words[n : n + _COPIED_WORDS]) for n in range(len(words) - _COPIED_WORDS + 1)}
