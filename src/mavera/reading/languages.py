"""
Tell the language of a sentence from its script, from frequent words and from accents.

    sentence → is_foreign → not English, so the readers of English leave it out
             → is_unread  → none of the languages of the sentence encoder, so that it has no verdict

A sentence without such words and accents is taken for English.
"""

import re
from collections.abc import Iterable

from mavera.reading.prose import to_plain

_LEAST_FOREIGN = 2
_LEAST_ACCENTED = 3

_WORD = re.compile(r"[^\W\d_]+")
_ASCII = re.compile(r"[A-Za-z]")
_ACCENT = re.compile(r"[^\W\d_A-Za-z]")
_OTHER_SCRIPT = re.compile(r"[^\W\d_A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]")


def _list_words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that are frequent in English, and words that are frequent in another language and rare in English. The
# second list is of the other languages of the sentence encoder, the third of languages that it does not have.
_ENGLISH = _list_words(
    """
        the of and to a in is it that for you i was on with as are be this have but not they at we or from my
        so if all would there their what can when do me your just about out up like more no had been who will
        how one than them some could because she he his her has its an by were our very get only
        these those did does which too much really then also any want need think know good people time
    """
)
_KNOWN = _list_words(
    """
        der das und ist nicht sie ihr ich ein eine einen für auf mit von zu dem den sich aber oder wenn auch
        wie bei sehr nur noch kein keine wir habe haben wird zum zur es aus nach als mir mich
        el los las que es por una del con para como pero más muy le lo se su esta este esto yo mi fue
        les et est vous pour des du avec ce cette pas aux dans sur ou je nous il elle mais très ne sont ont
        qui os uma do da dos não em na no mas seu sua você muito são eu isso foi
    """
)
_UNKNOWN = _list_words(
    """
        il di che è non una sono con del della gli molto più questo anche io mi si nel
        de het een van ik niet dat voor zijn maar ook wel deze hebben naar bij
        och att det som på är jag inte för av till har med den om var
        nie się na jest to że jak tak dla przez bardzo
        bir bu çok için ne ben değil ama gibi daha var
        tidak saya akan karena yang dan itu untuk dengan bisa sudah kalau
        nee tak sì evet hayır tidak
    """
)
_FOREIGN = (_KNOWN | _UNKNOWN) - _ENGLISH
_ONLY_UNKNOWN = _UNKNOWN - _KNOWN - _ENGLISH


def is_foreign(sentence: str) -> bool:
    """Return whether `sentence` is recognised as another language than English."""
    sentence = to_plain(sentence)
    accents = len(_ACCENT.findall(sentence))
    if accents > len(_ASCII.findall(sentence)):
        return True
    words = _WORD.findall(sentence)
    english = sum(word.lower() in _ENGLISH for word in words)
    foreign = _count(words, _FOREIGN)
    if foreign >= _LEAST_FOREIGN and foreign > english:
        return True
    accented = sum(not word.isascii() for word in words)
    return accented >= _LEAST_ACCENTED and accented > 2 * english and 3 * accented >= len(words)


def is_unread(sentence: str) -> bool:
    """Return whether `sentence` is recognised as a language that the sentence encoder does not have."""
    sentence = to_plain(sentence)
    if len(_OTHER_SCRIPT.findall(sentence)) > len(_ASCII.findall(sentence)):
        return True
    words = _WORD.findall(sentence)
    unknown = _count(words, _ONLY_UNKNOWN)
    return unknown >= min(_LEAST_FOREIGN, len(words)) > 0 and unknown > _count(words, _KNOWN | _ENGLISH)


def are_mostly_unread(sentences: Iterable[str]) -> bool:
    """Return whether more than half of `sentences` are of languages that the encoder does not have."""
    unread = [is_unread(one) for one in sentences]
    return 2 * sum(unread) > len(unread)


def _count(words: list[str], known: frozenset[str]) -> int:
    """Count the `known` words. Only the first may have a capital, because of names such as Los Angeles."""
    return sum(word in known for word in [words[0].lower(), *words[1:]]) if words else 0
