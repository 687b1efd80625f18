"""
POST /analyses: analyse texts that the caller has.

    body → texts → credits held for all → analyses, in order → those without an error charged → 200

No model reads the texts. The texts of a test key are analysed in the same way and cost nothing.
"""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.principal import Principal
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.bounds import Identifier
from mavera.api.http.decoding import decode, read_body
from mavera.api.http.dispatch import UntilDisconnect, wait_for_disconnect
from mavera.api.http.idempotency import KEY_PARAMETER, keep_made
from mavera.api.http.json import json_bytes
from mavera.api.http.operations import Operation
from mavera.core.analysis import Analysis
from mavera.errors import (
    BudgetExceeded,
    CreditsExhausted,
    Forbidden,
    InvalidRequest,
    RequestTooLarge,
    ServiceUnavailable,
    StillRunning,
    ValidationFailed,
)
from mavera.runs.text_analyses import AskedText

MAX_TEXTS = 100
MAX_CHARACTERS = 200_000
MAX_QUESTION_CHARACTERS = 10_000
MAX_CHARACTERS_TOGETHER = 1_000_000

AnalysableText = Annotated[str, Meta(max_length=MAX_CHARACTERS)]
Question = Annotated[str, Meta(max_length=MAX_QUESTION_CHARACTERS)]


class TextToAnalyse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text, the question that it answers, and a name of the caller's, which the analysis repeats."""

    text: AnalysableText
    question: Question | None = None
    id: Identifier | None = None


class CreateAnalyses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 100 texts as `input`, or one text as `text`, with its `question` and `id` beside it."""

    input: Annotated[list[TextToAnalyse], Meta(min_length=1, max_length=MAX_TEXTS)] | None = None
    text: AnalysableText | None = None
    question: Question | None = None
    id: Identifier | None = None


class TextAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """The analysis of the text with this `index`, counted from 0. If its `error` is set, it cost nothing."""

    object: Literal["analysis"] = "analysis"
    index: int
    id: str | None
    analysis: Analysis


class AnalysesUsage(msgspec.Struct, frozen=True, kw_only=True):
    credits_used: int


class AnalysisList(msgspec.Struct, frozen=True, kw_only=True):
    """One analysis for each text, in the order of the request."""

    object: Literal["list"] = "list"
    data: list[TextAnalysis]
    usage: AnalysesUsage


async def create_analyses(request: Request) -> Response:
    """Analyse texts, for credits."""
    principal = await authenticate(request, "responses")
    raw = await read_body(request, max_bytes=services_of(request).settings.max_body_bytes)
    texts = _list_texts(await decode(raw, CreateAnalyses))

    async def make() -> bytes:
        return json_bytes(await _analyse(request, principal, texts))

    return await keep_made(request, principal, raw, make, status=200)


def _list_texts(body: CreateAnalyses) -> list[TextToAnalyse]:
    """
    Return the texts of `body`.

    Raises InvalidRequest unless they are in one place, and ValidationFailed if they are too long together.
    """
    if body.input is None:
        if body.text is None:
            raise InvalidRequest(
                "'input' is missing. Send texts as 'input', or one as 'text'.", param="input"
            )
        return [TextToAnalyse(text=body.text, question=body.question, id=body.id)]
    for name in ("text", "question", "id"):
        if getattr(body, name) is not None:
            raise InvalidRequest(f"'{name}' belongs into 'input', not beside it.", param=name)
    together = sum(len(one.text) + len(one.question or "") for one in body.input)
    if together > MAX_CHARACTERS_TOGETHER:
        raise ValidationFailed(
            f"The texts and questions of 'input' have {together:,} characters together. "
            f"The most is {MAX_CHARACTERS_TOGETHER:,}.",
            param="input",
        )
    return body.input


async def _analyse(request: Request, principal: Principal, texts: list[TextToAnalyse]) -> AnalysisList:
    """Analyse and charge `texts`. If the client disconnects before the charge, they cost nothing."""
    asked = [AskedText(one.text, one.question or "") for one in texts]
    async with services_of(request).text_analyses.begin(principal, asked) as charged:
        analyses = None
        async with UntilDisconnect(partial(wait_for_disconnect, request.receive)):
            analyses = await charged.analyse()
        if analyses is None:
            raise ServiceUnavailable("The client disconnected before its texts were analysed.")
        credits = await charged.charge(analyses)
    return AnalysisList(
        data=[
            TextAnalysis(index=index, id=one.id, analysis=analysis)
            for index, (one, analysis) in enumerate(zip(texts, analyses, strict=True))
        ],
        usage=AnalysesUsage(credits_used=credits),
    )


OPERATIONS = (
    Operation(
        "POST",
        "/analyses",
        create_analyses,
        "Analyse texts",
        "Analyses",
        description="Analyses up to 100 texts. No model reads them. An analysed text costs 2 credits.",
        request=CreateAnalyses,
        parameters=(KEY_PARAMETER,),
        example={
            "input": [
                {
                    "id": "interview-7",
                    "question": "Would you pay €9 a month for this?",
                    "text": "I like it, but nine euros is too much for what it does.",
                }
            ]
        },
        response=AnalysisList,
        errors=(
            Forbidden,
            InvalidRequest,
            CreditsExhausted,
            BudgetExceeded,
            StillRunning,
            RequestTooLarge,
            ValidationFailed,
            ServiceUnavailable,
        ),
    ),
)
