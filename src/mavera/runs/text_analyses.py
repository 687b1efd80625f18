"""
Analyse texts that the caller has, and charge those that could be analysed. Nothing here knows HTTP.

    texts → admission, credits held for all → one text after the other, in a thread → analyses → charge

No model is asked, so a text is never anything but data. The analyses of a process run one at a time: batches
take turns text by text, and the other cores are left to the models and to other requests.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mavera.accounts.credits.pricing import price_analyses
from mavera.accounts.principal import Principal
from mavera.analysis.analyst import Analyst, AnsweredPrompt
from mavera.core.analysis import Analysis, AnalysisFailure
from mavera.core.finish import finish
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.core.turn import Turn
from mavera.models.config import DEFAULT_NAME
from mavera.runs.admission import Admission, Outcome, Ticket

# A text whose turn has not come by then has an error in its place. A client waits about as long.
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class AskedText:
    """A text, and the question that it answers, or an empty text."""

    text: str
    question: str = ""


class TextAnalyses:
    """Analyses texts for a price. `analyst` may be shared with the analyses of answers."""

    def __init__(
        self, admission: Admission, analyst: Analyst, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._admission = admission
        self._analyst = analyst
        self._clock = clock
        self._turns = asyncio.Semaphore(1)

    @asynccontextmanager
    async def begin(self, principal: Principal, texts: Sequence[AskedText]) -> AsyncIterator["ChargedTexts"]:
        """
        Admit `texts` and hold the price of all of them. Leaving the block without a charge refunds it.

        Raises the errors of `Admission.admit`; then no credits are held.
        """
        turn = Turn(DEFAULT_NAME, (), operation="analyses")
        price = price_analyses(len(texts))
        ticket = await self._admission.admit(principal, turn, credits=price, needs_model=False)
        try:
            yield ChargedTexts(self, ticket, texts)
        finally:
            await finish(ticket.fail())  # has no effect after the charge

    async def analyse(self, texts: Sequence[AskedText]) -> list[Analysis]:
        """Return an analysis of each of `texts`, in their order. One that failed has an `error`."""
        end = self._clock() + SECONDS
        analyses = []
        for one in texts:
            async with self._turns:
                analyses.append(_report_lateness() if self._clock() > end else await self._analyse_one(one))
        return analyses

    async def _analyse_one(self, asked: AskedText) -> Analysis:
        prompt = Prompt((make_message("user", asked.question),))
        return (await self._analyst.analyse(None, AnsweredPrompt(prompt, asked.text))).analysis


class ChargedTexts:
    """Texts for whose analyses credits are held."""

    def __init__(self, owner: TextAnalyses, ticket: Ticket, texts: Sequence[AskedText]) -> None:
        self._owner = owner
        self._ticket = ticket
        self._texts = texts

    async def analyse(self) -> list[Analysis]:
        """Return an analysis of each text, in their order. One that failed has an `error`."""
        return await self._owner.analyse(self._texts)

    async def charge(self, analyses: Sequence[Analysis]) -> int:
        """Charge the analyses without an error, and return their price. Raises APIError."""
        price = price_analyses(sum(one.error is None for one in analyses))
        return await finish(self._ticket.end(Outcome("completed", credits=price)))


def _report_lateness() -> Analysis:
    message = f"The texts before this one took {SECONDS:.0f} seconds. Send this one again, with fewer others."
    return Analysis(error=AnalysisFailure(code="analysis_failed", message=message))
