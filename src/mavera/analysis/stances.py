"""
Report how far an answer says yes, and let the model read its verdict if the reader is unsure.

    agreement → the `stance` of the analysis
    unsure verdict → one letter of the model → the verdict of both, as in a mosaic
"""

from collections.abc import Sequence
from contextlib import aclosing

import structlog

from mavera.core.analysis import Stance
from mavera.core.events import RunCompleted, TextDelta
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.models.model import Model
from mavera.reading import second_reading
from mavera.reading.agreement import Agreement
from mavera.reading.sentences import Sentence
from mavera.reading.verdict import Verdict

# A less probable verdict is reported as none, because words without a meaning have some verdict too.
LEAST_PROBABILITY = 0.4

log = structlog.get_logger()


def to_stance(agreement: Agreement, sentences: Sequence[Sentence]) -> Stance:
    """Return the stance for the wire. `sentences` are those of the whole answer."""
    verdict, rested = agreement.verdict, agreement.verdict.sentence
    numbers = [n for n, one in enumerate(sentences) if rested is not None and one.start == rested.start]
    return Stance(
        verdict=verdict.stance if verdict.probability >= LEAST_PROBABILITY else "none",
        score=round(agreement.score, 2),
        distribution=[round(share, 3) for share in agreement.distribution],
        mixed=agreement.is_mixed,
        evidence=rested.text if rested is not None else None,
        sentence=numbers[0] if numbers else None,
    )


async def read_again(model: Model, question: str, answer: str, verdict: Verdict) -> tuple[Verdict, Usage]:
    """
    Return the verdict of the reader and of the model, and the tokens that the model used.

    Returns `verdict` itself if it is sure, and if the model fails or gives no log-probabilities.
    """
    if verdict.probability >= second_reading.SURE:
        return verdict, Usage()
    letters, usage = None, Usage()
    try:
        async with aclosing(model.stream(second_reading.build_prompt(question, answer))) as events:
            async for event in events:
                if isinstance(event, TextDelta) and event.logprobs and letters is None:
                    letters = second_reading.find_letters(event.logprobs[0])
                elif isinstance(event, RunCompleted):
                    usage = event.usage
    except APIError as error:
        log.warning("answer_not_read_again", reason=error.message)
    return (verdict if letters is None else second_reading.add_readings(verdict, letters)), usage
