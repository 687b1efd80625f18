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
from mavera.reading.sentences import Sentence

LEAST_WORDS = 4
_LEAST_FOREIGN = 2
_LEAST_ACCENTED = 3

_WORD = re.compile(r"[^\W\d_]+")
_ASCII = re.compile(r"[A-Za-z]")
_ACCENT = re.compile(r"[^\W\d_A-Za-z]")
_FENCE = re.compile(r"^[ \t]{0,8}(?:```|~~~)", re.MULTILINE)
_CODE = re.compile(
    r"\w\(.*\);$|=.*;$|\{$|^[\]})]+[;,]?$|^</?[a-z][\w-]*[^<>]*>|</[a-z][\w-]*>$|=> *[{(]|&&|\|\|"
    r"|^def \w+\(|^class \w+(?:\(.*\))?:$|^import [\w.]+$|^from [\w.]+ import |^(?:const|let|var) \w+ *="
    r"|^(?:public|private|static) \w+.*\(|^#include|^\$ [a-z]|^(?:SELECT .+ FROM|INSERT INTO|CREATE TABLE) "
    r"|^\w[\w.]*\(.*\)$|^(?:if|while) .*[=<>()].*:$|^for \w+ in [\w.]+(?:\(.*\))?:$|^return [\w.]+\("
    r"|^[\w.]+ [+*/-]?= \S+$"
)

# Words that are frequent in English, and words that are frequent in another language and rare in English.
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        """
        the of and to a in is it that for you i was on with as are be this have but not they at we or from my
        so if all would there their what can when do me your just about out up like more no had been who will
        how one than them some could because she he his her has its an by were our very get only
        these those did does which too much really then also any want need think know good people time
        """,
    )
)
_FOREIGN = frozenset(
    re.findall(
        r"\w+",
        """
        der das und ist nicht sie ihr ich ein eine einen für auf mit von zu dem den sich aber oder wenn auch
        wie bei sehr nur noch kein keine wir habe haben wird zum zur es aus nach als mir mich
        el los las que es por una del con para como pero más muy le lo se su esta este esto yo mi fue
        les et est vous pour des du avec ce cette pas aux dans sur ou je nous il elle mais très ne sont ont
        qui os uma do da dos não em na no mas seu sua você muito são eu isso foi
        il di che è non una sono con del della gli molto più questo anche io mi si nel
        de het een van ik niet dat voor zijn maar ook wel deze hebben naar bij
        och att det som på är jag inte för av till har med den om var
        nie się na jest to że jak tak dla przez bardzo
        bir bu çok için ne ben değil ama gibi daha var
        """,
    )
).difference(_ENGLISH)


def list_limits(text: str, sentences: Sequence[Sentence]) -> list[Limit]:
    """Return the limits of the analysis of `text`, whose prose are `sentences`."""
    found: list[Limit] = ["sarcasm"]
    if _FENCE.search(text) or any(is_code(one.text) for one in sentences):
        found.append("code")
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
    """Return the sentences that are neither code nor recognised as another language."""
    return [one for one in sentences if not is_code(one.text) and not is_foreign(one.text)]


def is_code(sentence: str) -> bool:
    """Return whether `sentence` looks like a line of code or of markup."""
    return _CODE.search(sentence) is not None


def is_foreign(sentence: str) -> bool:
    """Return whether `sentence` is recognised as another language than English."""
    accents = len(_ACCENT.findall(sentence))
    if accents > len(_ASCII.findall(sentence)):
        return True
    words = _WORD.findall(sentence)
    english = sum(word.lower() in _ENGLISH for word in words)
    # Only the first word may have a capital, because of names such as Los Angeles.
    foreign = sum(word in _FOREIGN for word in [words[0].lower(), *words[1:]]) if words else 0
    if foreign >= _LEAST_FOREIGN and foreign > english:
        return True
    accented = sum(not word.isascii() for word in words)
    return accented >= _LEAST_ACCENTED and accented > 2 * english and 3 * accented >= len(words)


def _has_few_words(sentences: Sequence[Sentence]) -> bool:
    count = 0
    for one in sentences:
        # A script without spaces has one word in each sentence, so long words count as several.
        count += sum(1 if word.isascii() else 1 + len(word) // 4 for word in _WORD.findall(one.text))
        if count >= LEAST_WORDS:
            return False
    return True
