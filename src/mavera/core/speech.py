"""
Find faults of a spoken answer by rule: loops, copies of another text, and words that only an assistant says.

The functions are pure. The evaluation measures with them, and drafts of personas are checked with them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

LOOP_WORDS, LOOP_TIMES = 4, 3
COPY_WORDS = 6
_WORD = re.compile(r"[\w€£$₦₹¥]+(?:['’.,-]\w+)*")
_SENTENCE = re.compile(r"[^.!?…]+")
# Shorter sentences ("I do not.") may come twice.
_LEAST_REPEATED_WORDS = 5
_ALIKE = 0.6
_OUT_OF_CHARACTER = re.compile(
    r"\bas an? (?:ai|artificial|language|large language)\b|\blanguage model\b"
    r"|\bi(?:'m| am) an? (?:ai|assistant|chatbot)|\bhow (?:can|may) i (?:help|assist)\b"
    r"|\bi(?:'d| would) be happy to (?:help|assist)\b|\bopenai\b|\bqwen\b",
    re.IGNORECASE,
)


def find_words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def find_grams(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """Return every `length` words in a row."""
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


def has_loop(text: str) -> bool:
    """Return whether `text` says any four words in a row three times."""
    counts = Counter(find_grams(find_words(text), LOOP_WORDS))
    return max(counts.values(), default=0) >= LOOP_TIMES


def repeats_sentence(text: str) -> bool:
    """Return whether two sentences of `text` have most of their words in common, in whatever order."""
    found = (frozenset(find_words(sentence)) for sentence in _SENTENCE.findall(text))
    sentences = [words for words in found if len(words) >= _LEAST_REPEATED_WORDS]
    return any(len(one & other) >= _ALIKE * len(one | other) for one, other in combinations(sentences, 2))


def find_copied_grams(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Return every six words in a row of `texts`. An answer that has one of them copies."""
    return {gram for text in texts for gram in find_grams(find_words(text), COPY_WORDS)}


def breaks_character(text: str) -> bool:
    """Return whether a person would never say `text`, because it speaks as an assistant."""
    return _OUT_OF_CHARACTER.search(text) is not None
