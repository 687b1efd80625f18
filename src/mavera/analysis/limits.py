"""
Say which parts of a text an analysis does not read.

    text, sentences → list_limits → the `limits` of the method
          sentences → pick_english_prose → the sentences whose emotion is read

The encoder of emotions, the cues of biases and the words of the news know English prose. Sarcasm is read as
it is written, so every analysis has that limit. Languages are told by their script, by frequent words of ten
European languages and by accents. The time is linear in the length of the text.
"""

import re
from collections.abc import Sequence

from mavera.analysis.emojis import has_unread_emojis
from mavera.analysis.emotion import MAX_SENTENCES
from mavera.analysis.news import MAX_CHARACTERS
from mavera.core.analysis import Limit
from mavera.reading.languages import is_foreign
from mavera.reading.prose import is_code, is_data, is_repetition, pick_prose
from mavera.reading.sentences import Sentence

LEAST_WORDS = 4
# Fewer sentences that occur again are a manner of speaking.
LEAST_REPEATED = 4

_WORD = re.compile(r"[^\W\d_]+")
_FENCE = re.compile(r"^[ \t]{0,8}(?:```|~~~)", re.MULTILINE)


def list_limits(text: str, sentences: Sequence[Sentence]) -> list[Limit]:
    """Return the limits of the analysis of `text`, whose prose are `sentences`."""
    found: list[Limit] = ["sarcasm"]
    if _FENCE.search(text) or any(is_code(one.text) for one in sentences):
        found.append("code")
    if any(is_data(one.text) for one in sentences):
        found.append("data")
    if _repeats_itself(sentences):
        found.append("repetition")
    if any(is_foreign(one.text) for one in sentences):
        found.append("other_language")
    if _has_few_words(sentences):
        found.append("short_text")
    if has_unread_emojis(text):
        found.append("emoji")
    if len(sentences) > MAX_SENTENCES or len(text) > MAX_CHARACTERS:
        found.append("long_text")
    return found


def pick_english_prose(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that are prose and not recognised as another language, each of them once."""
    return [one for one in pick_prose(sentences) if not is_foreign(one.text)]


def _repeats_itself(sentences: Sequence[Sentence]) -> bool:
    again = len(sentences) - len({one.text for one in sentences})
    return again >= LEAST_REPEATED or any(is_repetition(one.text) for one in sentences)


def _has_few_words(sentences: Sequence[Sentence]) -> bool:
    count = 0
    for one in sentences:
        # A script without spaces has one word in each sentence, so long words count as several.
        count += sum(1 if word.isascii() else 1 + len(word) // 4 for word in _WORD.findall(one.text))
        if count >= LEAST_WORDS:
            return False
    return True
