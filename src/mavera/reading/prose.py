"""
Tell prose from everything else that a text may have, and write prose plainly for those who read it.

    text      → to_plain   → without HTML tags, invisible signs and letters in disguise
    sentences → pick_prose → those that are neither code nor data nor the same again and again

Readers of meaning give a number to anything, so whatever is no prose must not reach them. Quotations stay
exact pieces of the text: only readers see its plain form. The time is linear in the length of the text.
"""

import html
import re
import unicodedata
from collections.abc import Sequence

from mavera.reading.sentences import TAG, Sentence

# A sentence of at least so many words repeats itself if each of its words occurs so often in the mean.
_LEAST_REPEATED, _TIMES = 12, 4
# Beside code, a line with fewer words is taken for code too.
_LEAST_WORDS_BESIDE_CODE = 4

_WORD = re.compile(r"[^\W\d_]+")
# Control signs, marks of direction, signs without width, and strokes through letters.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u0334-\u0338\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    r"\u2066-\u2069\ufeff\ufffd]"
)
_COLOUR = re.compile(r"\x1b\[[\d;]{0,20}m")
_SCRIPT = re.compile(r"<(script|style)\b[^<>]{0,500}>[^<]{0,20000}</\1>", re.IGNORECASE)
# Addresses and strings of signs that nobody says aloud: base64, hashes, keys.
_STRING = re.compile(
    r"(?:https?://|www\.|data:)\S+|\S{1,100}@\S{1,100}\.\w+|[!-~\u00a1-\u024f]{50,}"
    r"|\b(?=[a-fA-F-]{0,40}\d)[0-9a-fA-F-]{16,}\b"
)
_ROW = re.compile(r"\|.*\||[-:|\s]+|[^\t]{1,40}(?:\t[^\t]{1,40})+")
_CODE = re.compile(
    r"\w\(.*\);$|=.*;$|\{$|^[\]})]+[;,]?$|^</?[A-Za-z][\w-]*[^<>]*>|</[A-Za-z][\w-]*>$|=> *[{(]|&&|\|\|"
    r"|^def \w+\(|^class \w+(?:\(.*\))?:$|^import [\w.]+$|^from [\w.]+ import |^(?:const|let|var) \w+ *="
    r"|^(?:public|private|static) \w+.*\(|^#include|^\$ [a-z]|^(?:SELECT .+ FROM|INSERT INTO|CREATE TABLE) "
    r"|^\w[\w.]*\(.*\)$|^(?:if|while) .*[=<>()].*:$|^for \w+ in [\w.]+(?:\(.*\))?:$|^return [\w.]+\("
    r"|^[\w.]+ [+*/-]?= \S+$|^File \".*\", line \d+|^Traceback \(|^[\w.]+(?:Error|Exception): "
    r"|^[\[{].*\"\w+\" *:.*[\]}],?$"
)


def to_plain(text: str) -> str:
    """Return `text` as a reader of meaning should see it. Ordinary text stays as it is."""
    if text.isascii() and text.isprintable() and "<" not in text and "&" not in text:
        return text
    text = _INVISIBLE.sub("", _COLOUR.sub("", text))
    if "<" in text:
        text = TAG.sub(" ", _SCRIPT.sub(" ", text))
    if "&" in text:
        text = html.unescape(text)
    return unicodedata.normalize("NFKC", text).strip()


def pick_prose(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that can be read, in their order. Of equal sentences, the first is kept."""
    code = [is_code(one.text) for one in sentences]
    is_mostly_code = 2 * sum(code) >= len(code)
    kept: dict[str, Sentence] = {}
    for one, coded in zip(sentences, code, strict=True):
        few = is_mostly_code and len(_WORD.findall(one.text)) < _LEAST_WORDS_BESIDE_CODE
        if not (coded or few or is_data(one.text) or is_repetition(one.text)):
            kept.setdefault(one.text, one)
    return list(kept.values())


def is_code(sentence: str) -> bool:
    """Return whether `sentence` looks like a line of code or of markup that is no text of a web page."""
    plain = to_plain(sentence)
    return bool(plain) and _CODE.search(plain) is not None


def is_data(sentence: str) -> bool:
    """Return whether `sentence` is a row of a table, or has no word beside numbers, addresses and strings."""
    plain = to_plain(sentence)
    return bool(_ROW.fullmatch(plain)) or _WORD.search(_STRING.sub(" ", plain)) is None


def is_repetition(sentence: str) -> bool:
    """Return whether `sentence` says the same few words again and again."""
    words = _WORD.findall(sentence.lower())
    return len(words) >= max(_LEAST_REPEATED, _TIMES * len(set(words)))
