"""
Draw an answer of the playground: Markdown as HTML, its analysis, its calls and artifacts.

The script of the page has the answer from the public API, and posts its members here when it has ended.
The history draws kept answers with the same template. Members come from a browser, so none is trusted to have
the shape that the API gives it.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from markupsafe import Markup
from msgspec import Meta

from mavera.console.analysis_view import AnalysisView, read_analysis
from mavera.console.markdown import render_markdown

MOST_TEXT = 4_000_000
_MOST_LISTED = 100
_STATUSES = ("completed", "incomplete", "failed", "stopped")


class AnswerParts(msgspec.Struct, kw_only=True):
    """
    The members of an answer, as `playground-events.js` collects them.

    `place` begins the ids of its marks.
    """

    place: Annotated[str, Meta(pattern="^[a-z][a-z0-9]{0,15}$", max_length=16)] = "a0"
    who: Annotated[str, Meta(max_length=2_000)] = ""
    status: Annotated[str, Meta(max_length=40)] = "completed"
    text: Annotated[str, Meta(max_length=MOST_TEXT)] = ""
    reasoning: Annotated[str, Meta(max_length=MOST_TEXT)] = ""
    refusal: Annotated[str, Meta(max_length=MOST_TEXT)] = ""
    error: Any = None
    calls: Annotated[list[Any], Meta(max_length=1_000)] = []
    server_calls: Annotated[list[Any], Meta(max_length=1_000)] = msgspec.field(default=[], name="serverCalls")
    artifacts: Annotated[list[Any], Meta(max_length=1_000)] = []
    analysis: Any = None
    mosaic: Any = None
    usage: Any = None


@dataclass(frozen=True, slots=True)
class CallView:
    """A call of a tool. `status` and `result` are empty for a tool of the caller's own."""

    name: str
    arguments: str
    status: str = ""
    result: str = ""
    sources: tuple[tuple[str, str], ...] = ()
    url: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactView:
    title: str
    language: str
    content: str
    is_complete: bool


@dataclass(frozen=True, slots=True)
class VoiceView:
    """The answer of one persona of a mosaic. `share` is its weight in percent."""

    name: str
    share: float
    html: Markup
    analysis: AnalysisView | None


@dataclass(frozen=True, slots=True)
class PositionView:
    position: str
    share: float


@dataclass(frozen=True, slots=True)
class AnswerView:
    """Everything that the template of an answer shows."""

    place: str
    who: str
    status: str
    html: Markup
    is_json: bool
    reasoning: str
    refusal: str
    error: str
    analysis: AnalysisView | None
    calls: tuple[CallView, ...]
    artifacts: tuple[ArtifactView, ...]
    voices: tuple[VoiceView, ...]
    positions: tuple[PositionView, ...]
    credits: int | None
    input_tokens: int
    output_tokens: int


async def draw_answer(parts: AnswerParts) -> AnswerView:
    """Return what to show of an answer. A thread reads the Markdown, because that may take seconds."""
    return await asyncio.to_thread(_draw, parts)


def _draw(parts: AnswerParts) -> AnswerView:
    analysis = read_analysis(parts.analysis, answer=parts.text, place=parts.place)
    as_json = _format_json(parts.text)
    marks = analysis.marks if analysis else ()
    mosaic = parts.mosaic if isinstance(parts.mosaic, dict) else {}
    usage = parts.usage if isinstance(parts.usage, dict) else {}
    error = parts.error if isinstance(parts.error, dict) else {}
    return AnswerView(
        place=parts.place,
        who=parts.who,
        status=parts.status if parts.status in _STATUSES else "failed",
        # The HTML has been cleaned, and JSON is escaped by the template.
        html=Markup(render_markdown(parts.text, marks)) if as_json is None else Markup.escape(as_json),  # noqa: S704
        is_json=as_json is not None,
        reasoning=parts.reasoning,
        refusal=parts.refusal,
        error=_text(error.get("message")),
        analysis=analysis,
        calls=(*_read_calls(parts.calls), *_read_calls(parts.server_calls)),
        artifacts=tuple(_read_artifacts(parts.artifacts)),
        voices=tuple(_read_voices(mosaic, parts.place)),
        positions=tuple(_read_positions(mosaic)),
        credits=_whole(usage.get("credits_used")),
        input_tokens=_whole(usage.get("input_tokens", usage.get("prompt_tokens"))) or 0,
        output_tokens=_whole(usage.get("output_tokens", usage.get("completion_tokens"))) or 0,
    )


def _format_json(text: str) -> str | None:
    """Return a JSON object or list with indents, or None for any other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _read_calls(given: Iterable[Any]) -> Iterable[CallView]:
    for one in list(given)[:_MOST_LISTED]:
        if not isinstance(one, dict) or not _text(one.get("name")):
            continue
        arguments = _text(one.get("arguments"))
        sources = [source for source in _list(one.get("sources")) if isinstance(source, dict)]
        yield CallView(
            name=_text(one["name"]),
            arguments=_format_json(arguments) or arguments,
            status=_text(one.get("status")),
            result=_text(one.get("result")),
            sources=tuple((_link(source.get("url")), _text(source.get("title"))) for source in sources),
            url=_link(one.get("url")),
        )


def _read_artifacts(given: Iterable[Any]) -> Iterable[ArtifactView]:
    for one in list(given)[:_MOST_LISTED]:
        if isinstance(one, dict):
            yield ArtifactView(
                title=_text(one.get("title")) or _text(one.get("identifier")) or "Artifact",
                language=_text(one.get("language")),
                content=_text(one.get("content")),
                is_complete=one.get("complete") is not False,
            )


def _read_voices(mosaic: dict[str, Any], place: str) -> Iterable[VoiceView]:
    for number, one in enumerate(_list(mosaic.get("answers"))[:_MOST_LISTED]):
        if not isinstance(one, dict):
            continue
        text = _text(one.get("text"))
        analysis = read_analysis(one.get("analysis"), answer=text, place=f"{place}v{number}")
        html = Markup(render_markdown(text, analysis.marks if analysis else ()))  # noqa: S704 - it is cleaned
        yield VoiceView(_text(one.get("name")), _percent(one.get("weight")), html, analysis)


def _read_positions(mosaic: dict[str, Any]) -> Iterable[PositionView]:
    for one in _list(mosaic.get("positions"))[:_MOST_LISTED]:
        if isinstance(one, dict) and _text(one.get("position")):
            yield PositionView(_text(one["position"]), _percent(one.get("share")))


def _link(value: Any) -> str:
    """Return an address that a link may have: on the web, or a path of this server."""
    address = _text(value)
    is_path = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_path or address.lower().startswith(("http://", "https://")) else ""


def _percent(value: Any) -> float:
    is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return round(100 * value, 1) if is_share else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
