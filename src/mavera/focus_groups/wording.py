"""
Put earlier answers into words, in the language of the study, and fill names into texts.

    {7, 8, 9, 10} of an NPS   →  "7 or more"           for a piped answer and for the prompt
    Expression                →  'When asked "…", you answered: 7 or more.'
    "At {price}?" and names   →  "At $3.49?"           fill_names

English, German, Spanish, French and Portuguese are known. Any other language gets the English frame around
the study's own words, and `study_file.py` adds a notice.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mavera.focus_groups.study import (
    Matrix,
    MultipleChoice,
    Question,
    Ranking,
    SemanticDifferential,
    scale_of,
)

_NAME = re.compile(r"\{\{|\}\}|\{([^\W\d]\w*)\}")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a language. Sentences have gaps for the question, the row and the answer."""

    yes: str
    no: str
    either: str
    more: str
    less: str
    span: str
    closer: str
    middle: str
    answered: str
    answered_row: str
    ticked: str
    not_ticked: str
    ranked: str
    one_of: str
    agreement: tuple[str, str, str, str, str]
    likelihood: tuple[str, str]


WORDS = {
    "en": Words(
        yes="Yes",
        no="No",
        either="or",
        more="{} or more",
        less="{} or less",
        span="{} to {}",
        closer="closer to “{}”",
        middle="in the middle",
        answered="When asked “{text}”, you answered: {words}.",
        answered_row="When asked “{text}” about “{row}”, you answered: {words}.",
        ticked="When asked “{text}”, you chose {words}, perhaps among other answers.",
        not_ticked="When asked “{text}”, you did not choose {words}.",
        ranked="When asked “{text}”, you put {words} first.",
        one_of="At least one of these is true:",
        agreement=("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree"),
        likelihood=("Not at all likely", "Extremely likely"),
    ),
    "de": Words(
        yes="Ja",
        no="Nein",
        either="oder",
        more="{} oder mehr",
        less="{} oder weniger",
        span="{} bis {}",
        closer="näher an „{}“",
        middle="in der Mitte",
        answered="Auf die Frage „{text}“ haben Sie geantwortet: {words}.",
        answered_row="Auf die Frage „{text}“ haben Sie zu „{row}“ geantwortet: {words}.",
        ticked="Auf die Frage „{text}“ haben Sie {words} gewählt, vielleicht neben anderen Antworten.",
        not_ticked="Auf die Frage „{text}“ haben Sie {words} nicht gewählt.",
        ranked="Auf die Frage „{text}“ haben Sie {words} an die erste Stelle gesetzt.",
        one_of="Mindestens eines davon trifft zu:",
        agreement=(
            "Stimme überhaupt nicht zu",
            "Stimme nicht zu",
            "Teils, teils",
            "Stimme zu",
            "Stimme voll und ganz zu",
        ),
        likelihood=("Überhaupt nicht wahrscheinlich", "Äußerst wahrscheinlich"),
    ),
    "es": Words(
        yes="Sí",
        no="No",
        either="o",
        more="{} o más",
        less="{} o menos",
        span="de {} a {}",
        closer="más cerca de «{}»",
        middle="en el medio",
        answered="A la pregunta «{text}» usted respondió: {words}.",
        answered_row="A la pregunta «{text}» usted respondió sobre «{row}»: {words}.",
        ticked="A la pregunta «{text}» usted eligió {words}, quizá entre otras respuestas.",
        not_ticked="A la pregunta «{text}» usted no eligió {words}.",
        ranked="A la pregunta «{text}» usted puso {words} en primer lugar.",
        one_of="Al menos una de estas afirmaciones es cierta:",
        agreement=(
            "Totalmente en desacuerdo",
            "En desacuerdo",
            "Ni de acuerdo ni en desacuerdo",
            "De acuerdo",
            "Totalmente de acuerdo",
        ),
        likelihood=("Nada probable", "Extremadamente probable"),
    ),
    "fr": Words(
        yes="Oui",
        no="Non",
        either="ou",
        more="{} ou plus",
        less="{} ou moins",
        span="de {} à {}",
        closer="plus proche de « {} »",
        middle="au milieu",
        answered="À la question « {text} », vous avez répondu : {words}.",
        answered_row="À la question « {text} », vous avez répondu à propos de « {row} » : {words}.",
        ticked="À la question « {text} », vous avez choisi {words}, peut-être parmi d'autres réponses.",
        not_ticked="À la question « {text} », vous n'avez pas choisi {words}.",
        ranked="À la question « {text} », vous avez mis {words} en premier.",
        one_of="Au moins une de ces affirmations est vraie :",
        agreement=(
            "Pas du tout d'accord",
            "Plutôt pas d'accord",
            "Ni d'accord ni pas d'accord",
            "Plutôt d'accord",
            "Tout à fait d'accord",
        ),
        likelihood=("Pas du tout probable", "Extrêmement probable"),
    ),
    "pt": Words(
        yes="Sim",
        no="Não",
        either="ou",
        more="{} ou mais",
        less="{} ou menos",
        span="de {} a {}",
        closer="mais perto de “{}”",
        middle="no meio",
        answered="À pergunta “{text}”, você respondeu: {words}.",
        answered_row="À pergunta “{text}”, você respondeu sobre “{row}”: {words}.",
        ticked="À pergunta “{text}”, você escolheu {words}, talvez entre outras respostas.",
        not_ticked="À pergunta “{text}”, você não escolheu {words}.",
        ranked="À pergunta “{text}”, você colocou {words} em primeiro lugar.",
        one_of="Pelo menos uma destas afirmações é verdadeira:",
        agreement=(
            "Discordo totalmente",
            "Discordo",
            "Nem concordo nem discordo",
            "Concordo",
            "Concordo totalmente",
        ),
        likelihood=("Nada provável", "Extremamente provável"),
    ),
}


def words_of(language: str) -> Words:
    """Return the words of a language, such as "de" or "de-CH", or English for an unknown language."""
    return WORDS.get(language.lower().partition("-")[0], WORDS["en"])


def is_known_language(language: str) -> bool:
    return language.lower().partition("-")[0] in WORDS


def find_names(text: str) -> tuple[str, ...]:
    """Return the names in braces in a text, each once. `{{` and `}}` mean single braces."""
    return tuple(dict.fromkeys(found[1] for found in _NAME.finditer(text) if found[1]))


def fill_names(text: str, names: Mapping[str, str]) -> str:
    """Replace each `{name}` of `names`. Values are not searched for names. Unknown names become "…"."""

    def fill(found: re.Match[str]) -> str:
        return names.get(found[1], "…") if found[1] else found[0][0]

    return _NAME.sub(fill, text)


def describe_answers(question: Question, answers: Collection[int], language: str) -> str:
    """Return answers in words: a label, labels joined by "or", or a part of a scale of numbers."""
    words = words_of(language)
    chosen = sorted(answers)
    if isinstance(question, MultipleChoice | Ranking):
        entries = question.options if isinstance(question, MultipleChoice) else question.items
        names = [*(entry.text for entry in entries), *question.missing]
        return _join([names[n] for n in chosen], words)
    scale = scale_of(question)
    points = len(scale.labels)
    if isinstance(question, SemanticDifferential):
        return _describe_differential(question, chosen, words)
    has_numbers = scale.values is not None and scale.labels[0] == f"{scale.values[0]:g}"
    run = chosen == list(range(chosen[0], chosen[-1] + 1)) and chosen[-1] < points
    if has_numbers and run and len(chosen) > 1:
        first, last = scale.labels[chosen[0]], scale.labels[chosen[-1]]
        if chosen[-1] == points - 1:
            return words.more.format(first)
        return words.less.format(last) if chosen[0] == 0 else words.span.format(first, last)
    return _join([scale.answers[n] for n in chosen], words)


def _describe_differential(question: SemanticDifferential, chosen: list[int], words: Words) -> str:
    middle = (question.points - 1) / 2
    if all(n < middle for n in chosen):
        return words.closer.format(question.poles[0])
    if all(middle < n < question.points for n in chosen):
        return words.closer.format(question.poles[1])
    if chosen == [middle]:
        return words.middle
    return _join([scale_of(question).answers[n] for n in chosen], words)


def _join(names: list[str], words: Words) -> str:
    return f" {words.either} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def state_match(
    question: Question, row: str | None, answers: Collection[int], is_negated: bool, language: str
) -> str:
    """Return a sentence about an earlier answer. The caller fills in the names within it."""
    words = words_of(language)
    told = describe_answers(question, answers, language)
    if isinstance(question, MultipleChoice) and question.multiple:
        frame = words.not_ticked if is_negated else words.ticked
        return _fill(frame, text=question.text, words=told)
    if isinstance(question, Ranking):
        return _fill(words.ranked, text=question.text, words=told)
    if isinstance(question, Matrix):
        about = next(one.text for one in question.rows if one.id == row)
        return _fill(words.answered_row, text=question.text, row=about, words=told)
    return _fill(words.answered, text=question.text, words=told)


def _fill(frame: str, **gaps: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: gaps[found[1]], frame)
