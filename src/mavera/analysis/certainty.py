"""
Rate how certain an answer sounds, from its hedges and boosters.

    sentences → words of doubt (maybe, I guess) and of certainty (definitely, no doubt) in each
              → their means over the sentences → logistic → 1–10

This is a property of the words. An answer can sound certain and be wrong: `confidence` estimates that. A
plain statement has 7, because people who are certain seldom say so.
"""

import math
import re
from collections.abc import Sequence

from mavera.reading.sentences import Sentence

VERSION = "certainty-1"
MAX_SENTENCES = 400
# The logit of a plain statement, and the weights of one strong word in every sentence.
_PLAIN = 0.7
_DOUBT = 2.4
_CERTAINTY = 2.2
# More words than these in one sentence change nothing.
_MOST_IN_A_SENTENCE = 1.5


def _compile(words: str) -> re.Pattern[str]:
    return re.compile(
        r"\b(?:" + "|".join(words.split("\n")[1:-1]).replace("        ", "") + r")\b", re.IGNORECASE
    )


_STRONG_DOUBT = _compile(
    """
        (?:not|\\w+n.t|never|hardly|less) (?:\\w+ )?(?:sure|certain|convinced|confident|positive)
        (?:un|in)certain\\w*
        unsure
        no idea
        (?:don.t|do not|cannot|can.t|couldn.t) (?:really |quite |honestly )?(?:know|say|tell)
        (?:cannot|can.t|couldn.t) be (?:sure|certain)
        who knows
        hard to (?:say|tell|know)
        difficult to (?:say|tell|know|predict)
        (?:i|we) (?:may|might|could) be (?:wrong|mistaken)
        (?:i.m|i am|we.re) guessing
        i doubt
        my (?:best )?guess
        take (?:this|it|that) with
        perhaps
        maybe
        possibly
        conceivably
        anyone.s guess
        (?:not|\\w+n.t) (?:necessarily|always)
    """
)
_WEAK_DOUBT = _compile(
    """
        might
        could
        (?-i:may)
        i (?:think|guess|suppose|believe|reckon|assume|imagine|suspect|feel)
        seems?
        seemed
        appears?
        apparently
        probably
        presumably
        likely
        roughly
        somewhat
        sort of
        kind of
        kinda
        more or less
        tends? to
        as far as i (?:know|can tell|understand)
        to my knowledge
        in my (?:opinion|view|experience)
        it depends
        depends on
        potentially
        arguably
        generally
        usually
        to some (?:extent|degree)
        would (?:say|guess|lean)
        lean(?:ing)? towards?
        if i (?:remember|recall)
        suggests?
    """
)
_STRONG_CERTAINTY = _compile(
    """
        definitely
        absolutely
        certainly
        undoubtedly
        unquestionably
        indisputabl[ey]
        (?:without|beyond|no) (?:a |any |the |all )?(?:slightest )?(?:doubt|question)
        (?:sure|certain|convinced|confident|positive)
        guarantee[ds]?
        100 ?(?:%|percent)
        (?:a )?hundred percent
        for (?:sure|certain)
        i know(?! of| people| some| someone| many| what you| how)
        there is no (?:other|way)
        no way
        mark my words
        trust me
        make no mistake
    """
)
_WEAK_CERTAINTY = _compile(
    """
        clearly
        obviously
        of course
        surely
        always
        never
        must
        completely
        totally
        entirely
        in fact
        the fact is
        it is (?:a fact|clear|obvious|evident|essential)
        without exception
        every (?:single )?time
        exactly
        undeniabl[ey]
        proven
        period(?=[.!])
        full stop
        end of (?:story|discussion)
        will(?! you)
        simply
        truly
        the (?:only|very) (?:answer|way|right)
    """
)
_WEAK = 0.5
_WEAK_WORD_OF_CERTAINTY = 0.35


def rate_certainty(sentences: Sequence[Sentence]) -> float | None:
    """
    Return how certain the sentences sound, 1–10 in steps of 0.1.

    The sentences are English prose. Without any, the result is None.
    """
    texts = [one.text.replace("’", "'") for one in sentences[:MAX_SENTENCES]]
    if not texts:
        return None
    doubt = math.fsum(_weigh(text, _STRONG_DOUBT, _WEAK_DOUBT, _WEAK) for text in texts) / len(texts)
    without = [_STRONG_DOUBT.sub(" ", text) for text in texts]
    certainty = math.fsum(
        _weigh(text, _STRONG_CERTAINTY, _WEAK_CERTAINTY, _WEAK_WORD_OF_CERTAINTY) for text in without
    ) / len(texts)
    z = _PLAIN - _DOUBT * doubt + _CERTAINTY * certainty
    return round(1 + 9 / (1 + math.exp(-z)), 1)


def _weigh(text: str, strong: re.Pattern[str], weak: re.Pattern[str], weight: float) -> float:
    found = len(strong.findall(text)) + weight * len(weak.findall(text))
    return min(_MOST_IN_A_SENTENCE, found)
