"""
Find the cognitive biases that an answer shows, and the sentences that show them.

    sentences, and pairs of neighbours → the form of a conclusion · a cue of the catalogue · no refutation
        → the classifier → suspects above their threshold
        → one yes-or-no probe each, if there is a model → biases with verbatim evidence

A bias is reported only if all of these agree. Most texts show none, so a report has to be right more than it
has to be complete. `docs/reference/analysis.md` has the figures and the biases that are never reported.
"""

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mavera.analysis.bias_classifier import BiasClassifier
from mavera.core.analysis import Bias
from mavera.reading.sentences import Sentence

# Each probe is about 70 tokens after the answer.
MAX_PROBES = 2
MAX_SUSPECTS = 4
MAX_SENTENCES = 400
# The classifier takes some 10 ms for each piece. Of a very long text, evenly spread pieces are read.
MAX_PIECES = 64
MAX_QUOTED = 300
# Words in quotation marks are somebody else's, or are quoted to be judged.
_QUOTED = re.compile(
    r"\"[^\"]{1,300}\"|“[^“”]{1,300}”|«[^«»]{1,300}»|„[^„“”]{1,300}[“”]|(?<!\w)'[^'\n]{8,300}'(?!\w)"
)
# A sentence that is only a reason concludes nothing. Answers of personas are made to have one.
# "Because it is new, it is better" has a conclusion behind its comma.
_REASON = re.compile(
    r"(?:^|(?<=[.!?]))\s*(?:because(?![^.!?]*,)|the reason is that"
    r"|(?:i say (?:that|this|so)|that is|that['’]s) because)\b",
    re.IGNORECASE,
)
# A pair of sentences is evidence only if it is this much likelier than one of them.
_PAIR_MARGIN = 0.1


Form = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class CatalogueBias:
    name: str
    definition: str
    example: str
    counter_example: str
    cues: tuple[re.Pattern[str], ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """
    A bias, the sentences that show it, and the classifier's probability for that.

    `threshold` is the least probability of a report.
    """

    bias: CatalogueBias
    sentences: tuple[Sentence, ...]
    probability: float
    threshold: float


@dataclass(frozen=True, slots=True)
class _Piece:
    """One sentence or two neighbours, and the biases that have a cue there."""

    sentences: tuple[Sentence, ...]
    text: str
    cued: tuple[CatalogueBias, ...]


# The weight of a model's reply, by the least ln(P(yes)/P(no)) that it has. Only a confident reply counts, at
# 19 to 1. A small model gives a faint yes to any question. Faint replies also vary with the engine's cache
# and with its other work, so the same answer would get different analyses.
_SURE = 3.0
_GRADES = ((_SURE, 3.0), (-_SURE, 0.0), (-math.inf, -8.0))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """
    The biases, the words with which a sentence concludes or judges, the phrases with such a word that do not,
    and the words that refute a conclusion.
    """

    biases: tuple[CatalogueBias, ...]
    conclusion: re.Pattern[str]
    no_conclusion: re.Pattern[str]
    refutation: re.Pattern[str]


@cache
def load_catalogue() -> Catalogue:
    text = resources.files("mavera.analysis").joinpath("biases.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return Catalogue(
        tuple(
            CatalogueBias(
                one["name"],
                one["definition"],
                one["example"],
                one["counter_example"],
                tuple(re.compile(cue, re.IGNORECASE | re.DOTALL) for cue in one["cues"]),
            )
            for one in found["bias"]
        ),
        _compile_words(found["conclusion"]),
        _compile_words(found["no_conclusion"]),
        _compile_words(found["refutation"]),
    )


def _compile_words(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(words) + r")\b", re.IGNORECASE)


def find_suspects(sentences: Sequence[Sentence], classifier: BiasClassifier) -> list[Suspect]:
    """
    Return the biases that the text shows without asking a model, the likeliest first.

    No sentence is evidence of two biases. Raises NoEncoder.
    """
    pieces = _spread(list(_list_pieces(sentences[:MAX_SENTENCES], concludes)))
    rated = classifier.rate([piece.text for piece in pieces])
    found = [
        Suspect(bias, piece.sentences, probability, classifier.threshold_of(bias.name))
        for piece, probabilities in zip(pieces, rated, strict=True)
        for bias, probability in [_pick_likeliest(piece, probabilities)]
    ]
    found = [one for one in found if one.probability >= one.threshold]
    return _merge(sorted(found, key=lambda one: (-_rank(one), one.sentences[0].start)))[:MAX_SUSPECTS]


def has_conclusion_word(text: str) -> bool:
    """Return whether `text` has one of the words with which a sentence concludes, outside of quotations."""
    return load_catalogue().conclusion.search(_QUOTED.sub(" ", text)) is not None


def concludes(text: str) -> bool:
    """Return whether `text` has such a word outside of mere reasons and of phrases that conclude nothing."""
    own = load_catalogue().no_conclusion.sub(" ", _REASON.sub(" ", _QUOTED.sub(" ", text)))
    return load_catalogue().conclusion.search(own) is not None


def list_cued(sentences: Sequence[Sentence], form: Form = concludes) -> list[str]:
    """Return the texts of the pieces that have the `form` and a cue."""
    return [piece.text for piece in _list_pieces(sentences[:MAX_SENTENCES], form)]


def find_cued(text: str, form: Form = concludes) -> list[str]:
    """Return the biases that have a cue in one piece of text, none if it has not the `form`."""
    catalogue = load_catalogue()
    if catalogue.refutation.search(text) or not form(text):
        return []
    return [bias.name for bias in catalogue.biases if any(cue.search(text) for cue in bias.cues)]


def _list_pieces(sentences: Sequence[Sentence], form: Form) -> Iterator[_Piece]:
    catalogue = load_catalogue()
    texts = [one.text for one in sentences]
    refuted = [catalogue.refutation.search(text) is not None for text in texts]
    for first in range(len(texts)):
        for last in range(first, min(first + 2, len(texts))):
            text = " ".join(texts[first : last + 1])
            if any(refuted[first : last + 2]) or not form(text):
                continue
            cued = tuple(bias for bias in catalogue.biases if any(cue.search(text) for cue in bias.cues))
            if cued:
                yield _Piece(tuple(sentences[first : last + 1]), text, cued)


def _spread(pieces: list[_Piece]) -> list[_Piece]:
    if len(pieces) <= MAX_PIECES:
        return pieces
    return [pieces[n * len(pieces) // MAX_PIECES] for n in range(MAX_PIECES)]


def _pick_likeliest(piece: _Piece, probabilities: dict[str, float]) -> tuple[CatalogueBias, float]:
    """Return the likeliest of the biases that have a cue in the piece."""
    bias = max(piece.cued, key=lambda one: probabilities[one.name])
    return bias, probabilities[bias.name]


def _rank(suspect: Suspect) -> float:
    return suspect.probability - _PAIR_MARGIN * (len(suspect.sentences) - 1)


def _merge(ranked: Iterable[Suspect]) -> list[Suspect]:
    """Keep the first suspect of each sentence and of each bias."""
    taken: set[Sentence] = set()
    kept: dict[str, Suspect] = {}
    for one in ranked:
        if one.bias.name not in kept and taken.isdisjoint(one.sentences):
            taken.update(one.sentences)
            kept[one.bias.name] = one
    return list(kept.values())


def build_question(suspect: Suspect) -> str:
    """
    Return the probe of a suspect. It has about 70 tokens, which are its whole cost.

    The sentences are quoted, so that the model does not take them as addressed to itself.
    """
    quoted = " ".join(one.text for one in suspect.sentences)[:MAX_QUOTED].replace('"', "'")
    bias = suspect.bias
    return (
        f'Sentence: "{quoted}"\nDoes its author show {bias.name}? {bias.definition}\nAnswer only Yes or No.'
    )


def score_suspect(suspect: Suspect, logit: float | None) -> float:
    """Return the probability of the bias, 0–1. `logit` is None if the model was not asked."""
    shown = min(max(suspect.probability, 1e-6), 1 - 1e-6)
    said = 0.0 if logit is None else grade(logit)
    return 1 / (1 + math.exp(-(math.log(shown / (1 - shown)) + said)))


def grade(logit: float) -> float:
    """Return the weight of a reply with this `logit`: surely yes, unsure, or surely no."""
    return next(value for least, value in _GRADES if logit >= least)


def report_biases(judged: Iterable[tuple[Suspect, float | None]]) -> list[Bias]:
    """Return the biases to report, the likeliest first. `judged` has the logit of each suspect."""
    scored = [(score_suspect(suspect, logit), suspect) for suspect, logit in judged]
    scored.sort(key=lambda one: (-one[0], one[1].bias.name))
    return [
        Bias(
            name=suspect.bias.name,
            description=suspect.bias.definition,
            probability=round(probability, 2),
            evidence=[one.text for one in suspect.sentences],
        )
        for probability, suspect in scored
        if probability >= suspect.threshold
    ]
