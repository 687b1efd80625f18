"""
Rate how certain an answer sounds, from its hedges and boosters.

    sentences → words of doubt (maybe, I guess) and of certainty (definitely, no doubt) in each
              → their means over the sentences, of which the first counts twice → logistic → 1–10

This is a property of the words. An answer can sound certain and be wrong: `confidence` estimates that. A
plain statement has 7, because people who are certain seldom say so.
"""

import math
import re
from collections.abc import Sequence

from mavera.reading.prose import to_plain
from mavera.reading.sentences import Sentence

VERSION = "certainty-2"
MAX_SENTENCES = 400
# The logit of a plain statement, and the weights of one strong word in every sentence.
_PLAIN = 0.7
_DOUBT = 2.4
_CERTAINTY = 2.2
# More words than these in one sentence change nothing.
_MOST_IN_A_SENTENCE = 1.5
# The first sentence counts as this many others.
_FIRST = 2.0


def _compile(words: str) -> re.Pattern[str]:
    return re.compile(
        r"\b(?:" + "|".join(words.split("\n")[1:-1]).replace("        ", "") + r")\b", re.IGNORECASE
    )


_STRONG_DOUBT = _compile(
    """
        (?:not|\\w+n.t|never|hardly|less|nothing) (?:\\w+ ){0,2}(?:sure|certain|convinced|confident)
        (?:not|\\w+n.t|never|hardly|less|nothing) (?:\\w+ ){0,2}(?:positive|proven)
        (?:not|\\w+n.t|no|never|hardly) (?:\\w+ ){0,2}guarantee[ds]?
        (?:not|\\w+n.t) (?:\\w+ )?(?:bet|swear|vouch)
        (?:un|in)certain\\w*
        un(?:sure|clear|known|predictable|convinced|decided|settled|proven|tested|resolved)
        no (?:idea|clue)
        (?:not|\\w+n.t) have (?:an?|the|any) (?:idea|clue|ability|way|means)
        (?:not|\\w+n.t|not been able to) (?:yet )?(?:be )?(?:confirm|verif|predict|rule)\\w*(?: out)?
        (?:cannot|can.t|unable to) (?:\\w+ )?(?:give|provide|make) (?:\\w+ )?(?:an? )?(?:definit|clear)\\w*
        (?:not|\\w+n.t) (?:checked|tested|verified|confirmed)
        (?:no|little) (?:clear|definite|definitive|reliable|simple|firm) (?:answer|evidence|way|data)
        (?:don.t|do not|cannot|can.t|couldn.t) (?:really |quite |honestly )?(?:know|say|tell)
        (?:cannot|can.t|couldn.t) be (?:sure|certain)
        who knows
        (?:hard|difficult|impossible) to (?:say|tell|know|predict|judge)
        too (?:early|soon) to \\w+
        remains? (?:to be seen|open|an open question)
        time will tell
        we.ll see
        jury is (?:still )?out
        shot in the dark
        up in the air
        (?:a )?coin (?:toss|flip)
        open (?:question|to (?:doubt|debate|question))
        (?<!no )(?:debat|question|doubt|argu)able
        inconclusive
        preliminary
        speculat\\w+
        (?:i.m|i am|we.re|we are|feel|am) torn
        back and forth
        (?:don.t|do not) (?:quote|hold) me
        if (?:memory serves|i.m not mistaken|i am not mistaken)
        contradict(?:s|ory|ing)? each other
        (?:can|could|may|might) only (?:guess|hope|speculate|assume)
        educated guess
        (?:a|bit of a|wild|rough|only a|just a) guess
        idk
        dunno
        (?:not|\\w+n.t) (?:a )?(?:sure|safe|done) (?:thing|bet|deal)
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
        can (?:also )?(?:vary|differ|depend)
        var(?:y|ies) (?:greatly|widely|a lot|from|depending|between|considerably|by)
        (?:so|as) far as (?:i|we|one) (?:know|can (?:tell|see|judge))
        (?:have|had|got) (?:a|the) (?:feeling|hunch|impression)
        in theory
        in principle
        not for everyone
        on the other hand
        then again
        (?:some|others) (?:\\w+ )?(?:argue|suggest|say|believe|claim|think)
        one (?:could|might) (?:argue|say)
        depending on
        estimated?
        tbh
        subject to (?:\\w+ )?(?:change|uncertainty|doubt|revision)
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
        (?:trust|believe) me
        you can (?:count|rely|bank|bet)(?: on)? (?:it|that|this)
        (?:i.d|i would|i.ll) (?:stake|bet|swear)
        never (?:been )?(?:so|more) (?:sure|certain)
        once and for all
        rain or shine
        no (?:debate|discussion|exceptions?)
        (?:that|this|it)(?:.s| is) a fact
        make no mistake
    """
)
_WEAK_CERTAINTY = _compile(
    """
        clearly
        plainly
        obviously
        proves?
        let me be clear
        (?:anyone|everyone|everybody|anybody) (?:who|knows|agrees|can see)
        nothing (?:will|can|could) (?:stop|change)
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
    texts = [to_plain(one.text).replace("’", "'") for one in sentences[:MAX_SENTENCES]]
    if not texts:
        return None
    doubt = _average([_weigh(text, _STRONG_DOUBT, _WEAK_DOUBT, _WEAK) for text in texts])
    # A certainty that is denied, or that others have, is none.
    without = [_STRONG_DOUBT.sub(" ", text) for text in texts]
    certainty = _average(
        [_weigh(text, _STRONG_CERTAINTY, _WEAK_CERTAINTY, _WEAK_WORD_OF_CERTAINTY) for text in without]
    )
    z = _PLAIN - _DOUBT * doubt + _CERTAINTY * certainty
    return round(1 + 9 / (1 + math.exp(-z)), 1)


def _average(values: Sequence[float]) -> float:
    """Return the mean. The first sentence counts as several, because it takes the position."""
    return (math.fsum(values) + (_FIRST - 1) * values[0]) / (len(values) + _FIRST - 1)


def _weigh(text: str, strong: re.Pattern[str], weak: re.Pattern[str], weight: float) -> float:
    found = len(strong.findall(text)) + weight * len(weak.findall(text))
    return min(_MOST_IN_A_SENTENCE, found)
