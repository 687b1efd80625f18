"""
Choose the words that are added to a question, so that a small model answers it as a person, in its language.

    hint        what do you think, why, and what have you seen?
    in_language "Answer in German", beside a note on the length

A note after the conversation gives better reasons as well, but it costs the voice: a small model answers
it as an assistant. Words at the end of the question itself keep both.
"""

import re
from zlib import crc32

Language = str

# By language: frequent words, of which the others do not have many. English goes first where two are equal.
_FREQUENT: dict[Language, str] = {
    "en": ("the of and you do does what how would is are to your for in it that with"),
    "de": (
        "der die das und ist nicht sie ihr ihnen wie würden würdest was halten hältst du ich ein "
        "eine einen für auf mit von zu dem den im sich bei oder wenn warum welche"
    ),
    "es": (
        "el los las y que qué es usted para por una del con cómo crees piensa piensas le te tu su "
        "más gusta o comprarías pagarías compraría pagaría cuál cuánto"
    ),
    "fr": (
        "le les et est vous pour une des du avec comment que pensez quel quelle votre vos ce "
        "cette pas plus au aux dans sur tu ou pourquoi qu est-ce"
    ),
    "pt": (
        "o os as e que é você para por uma do da dos com como acha seu sua mais não em no na qual "
        "um pagaria compraria quanto"
    ),
}
_WORDS = {language: frozenset(words.split()) for language, words in _FREQUENT.items()}
HINTS: dict[Language, str] = {
    "en": "\n(What do you think, why, and what have you seen?)",
    "de": "\n(Auf Deutsch: Was denkst du darüber, warum, und was hast du selbst erlebt?)",
    "es": "\n(En español: ¿qué piensas, por qué, y qué has visto tú?)",
    "fr": "\n(En français : qu'en penses-tu, pourquoi, et qu'as-tu vécu toi-même ?)",
    "pt": "\n(Em português: o que você acha, por quê, e o que você já viu?)",
}
# For `verbosity: high`.
LONG_HINTS: dict[Language, str] = {
    "en": "\n(Tell me at length, in two hundred words: what do you think, why, what have you seen yourself, "
    "and what would change your mind?)",
    "de": "\n(Auf Deutsch, ausführlich, in zweihundert Wörtern: Was denkst du darüber, warum, was hast du "
    "selbst erlebt, und was könnte dich umstimmen?)",
    "es": "\n(En español, con detalle, en doscientas palabras: ¿qué piensas, por qué, qué has visto tú, y "
    "qué te haría cambiar de opinión?)",
    "fr": "\n(En français, en détail, en deux cents mots : qu'en penses-tu, pourquoi, qu'as-tu vécu "
    "toi-même, et qu'est-ce qui te ferait changer d'avis ?)",
    "pt": "\n(Em português, com detalhes, em duzentas palavras: o que você acha, por quê, o que você já "
    "viu, e o que faria você mudar de ideia?)",
}
IN_LANGUAGE: dict[Language, str] = {
    "de": "Antworte auf Deutsch.",
    "es": "Responde en español.",
    "fr": "Réponds en français.",
    "pt": "Responda em português.",
}
# The beginnings of a sentence that gives the reason of the one before. One for all would become a tic.
REASON_OPENINGS = ("Because", "That's because", "I say that because", "The reason is that")
_LEAST_WORDS = 2
# A question with one of these words asks for a form or a length of its own.
_FORM = re.compile(
    r"\b(?:list|table|e-?mail|letter|code|script|function|poem|essay|story|json|csv|html|markdown|bullet"
    r"|outline|draft|write|translate|summari[sz]e|rewrite|step[- ]by[- ]step|briefly|in short|in detail"
    r"|(?:one|a single|two|three|ten) words?|yes or no|sentences?|paragraphs?|pros and cons"
    r"|name (?:two|three|four|five|ten|\d+)|\d+ (?:words|ideas|reasons|names|tips|ways)"
    r"|liste|tabelle|schreib\w*|brief|tabla|lista|escrib\w*|carta|tableau|écri\w*|lettre|tabela|escrev\w*)\b",
    re.IGNORECASE,
)
# A question for an opinion or a choice, in English. A fact ("Where do you live?") needs no reason.
_OPINION = re.compile(
    r"\b(?:(?<!what )would|should|worth|how (?:do|would|did) you feel"
    r"|what (?:do|would) you (?:think|say|make)|what does (?:it|this|that) say to you"
    r"|how important|which do you"
    r"|do you (?:really )?(?:like|love|hate|trust|believe|prefer|mind|enjoy|want|need|care|think|agree|use"
    r"|buy|pay|tip|read)"
    r"|(?:is|are) [^?]{1,60}\b(?:good|bad|better|right|wrong|fair|for you))\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
# Thai, Lao, Burmese, Khmer, kana and Han.
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_MOST_CHARACTERS = 4000


def find_language(text: str) -> Language:
    """Return the language of `text`: one of `HINTS`, English if it cannot be told."""
    words = [word.lower() for word in _WORD.findall(text[:_MOST_CHARACTERS])]
    # "changeriez-vous" has a frequent word, and "est-ce" is one.
    words += [part for word in words if "-" in word for part in word.split("-")]
    counts = {
        language: sum(word in known for word in words) + 2 * _count_marks(text, language)
        for language, known in _WORDS.items()
    }
    best = max(counts, key=lambda language: (counts[language], language == "en"))
    return best if counts[best] >= _LEAST_WORDS and counts[best] > counts["en"] else "en"


def _count_marks(text: str, language: Language) -> int:
    marks = {"de": "äöß", "es": "¿¡ñ", "fr": "çèêœ", "pt": "ãõ"}.get(language, "")
    return sum(mark in text.lower() for mark in marks)


def separates_words(text: str) -> bool:
    """Return whether the script of `text` puts spaces between words. Chinese, Japanese and Thai do not."""
    return _WITHOUT_SPACES.search(text[:_MOST_CHARACTERS]) is None


def asks_for_form(question: str) -> bool:
    """Return whether `question` asks for a list, a letter, code or a length of its own."""
    return _FORM.search(question[:_MOST_CHARACTERS]) is not None


def asks_for_opinion(question: str) -> bool:
    """Return whether `question` asks in English for an opinion or a choice, and for no form of its own."""
    text = question[:_MOST_CHARACTERS]
    return _OPINION.search(text) is not None and find_language(text) == "en" and not asks_for_form(text)


def choose_opening(speaker: str, question: str) -> str:
    """Return one of `REASON_OPENINGS`, the same one each time that `speaker` is asked `question`."""
    return REASON_OPENINGS[crc32(f"{speaker}\n{question}".encode()) % len(REASON_OPENINGS)]


def find_hint(question: str, *, at_length: bool = False) -> str:
    """Return what to add to `question`: nothing if it asks for a form of its own."""
    hints = LONG_HINTS if at_length else HINTS
    return "" if asks_for_form(question) else hints[find_language(question)]
