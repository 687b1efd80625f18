"""
Arrange the `analysis` of an answer for a page: scales, insights with links, biases with their evidence.

    read_analysis(raw, answer=…, place=…)   AnalysisView: what the templates draw
        marks                               the pieces of the answer to mark, with the ids that links point to

The page gets an analysis as JSON, and another version of the server may have made it. So a member that is
missing, new or of another type is left out, and the others are still drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mavera.console.highlights import Mark
from mavera.console.markdown import to_plain
from mavera.reading.sentences import split_sentences

LOWEST, MIDDLE, HIGHEST = 1.0, 5.5, 10.0
_MOST_EMOTIONS, _LEAST_SHARE = 3, 0.05
_MOST_BIASES, _MOST_QUOTES, _MOST_INSIGHTS, _MOST_TOPICS = 20, 8, 10, 8

_LIMITS = {
    "sarcasm": "sarcasm is read as it is written",
    "code": "code is not read",
    "data": "numbers, tables and addresses are not read",
    "repetition": "what is said again and again is read once",
    "other_language": "sentences in another language have no part in emotion",
    "short_text": "the text is very short, so one word decides",
    "emoji": "emoji are not read",
    "long_text": "the text is long, so a part of it was read",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """
    A number to draw between `lowest` and `highest`.

    The bar begins at `origin`. `left` and `width` are its place in percent of the whole scale.
    """

    name: str
    value: float
    ends: tuple[str, str]
    lowest: float = LOWEST
    highest: float = HIGHEST
    origin: float = LOWEST
    note: str = ""

    @property
    def at(self) -> float:
        return self._percent(self.value)

    @property
    def left(self) -> float:
        return min(self.at, self._percent(self.origin))

    @property
    def width(self) -> float:
        return round(abs(self.at - self._percent(self.origin)), 2)

    @property
    def middle(self) -> float | None:
        """The place of the origin in percent, if it is not an end of the scale."""
        return self._percent(self.origin) if self.origin != self.lowest else None

    def _percent(self, value: float) -> float:
        share = (value - self.lowest) / (self.highest - self.lowest)
        return round(100 * min(1.0, max(0.0, share)), 2)


@dataclass(frozen=True, slots=True)
class Quote:
    """A piece of the answer. `anchor` is the id of its mark."""

    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class BiasView:
    name: str
    description: str
    probability: float | None
    evidence: tuple[Quote, ...]


@dataclass(frozen=True, slots=True)
class Insight:
    """An insight, and the ids of the marks on the sentences that support it."""

    text: str
    anchors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmotionShare:
    """An emotion, and how probable it is in percent. `percent` is None if the analysis does not say."""

    name: str
    percent: int | None


@dataclass(frozen=True, slots=True)
class StanceView:
    """
    How far the answer says yes to the question.

    `shares` are five parts of 1, from a firm no to a firm yes. They are empty if the analysis has none.
    """

    scale: Scale
    verdict: str
    is_mixed: bool
    anchor: str | None
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AnalysisView:
    """The part of an analysis that a page draws. With an `error`, everything else may be empty."""

    error: str | None = None
    emotions: tuple[EmotionShare, ...] = ()
    stance: StanceView | None = None
    scales: tuple[Scale, ...] = ()
    insights: tuple[Insight, ...] = ()
    biases: tuple[BiasView, ...] = ()
    topics: tuple[str, ...] = ()
    is_time_sensitive: bool = False
    limits: tuple[str, ...] = ()
    method: str = ""
    marks: tuple[Mark, ...] = field(default=(), repr=False)


def read_analysis(raw: Any, *, answer: str, place: str) -> AnalysisView | None:
    """
    Return what to draw of `raw`, the analysis of `answer`, or None if there is none.

    `place` begins every id, so that several answers can stand on one page.
    """
    if not isinstance(raw, dict):
        return None
    error = _dict(raw.get("error"))
    news, method, emotion = (_dict(raw.get(name)) for name in ("news_relevance", "method", "emotion"))
    sentences = [one.text for one in split_sentences(answer)]
    insights, insight_marks = _read_insights(raw, sentences, place)
    biases, bias_marks = _read_biases(raw, place)
    stance, stance_marks = _read_stance(raw.get("stance"), sentences, place)
    return AnalysisView(
        error=_text(error.get("message")) or _text(error.get("code")) or None,
        emotions=_read_emotions(emotion),
        stance=stance,
        scales=tuple(_list_scales(raw, emotion, news)),
        insights=insights,
        biases=biases,
        topics=tuple(filter(None, map(_text, _list(news.get("topics"))[:_MOST_TOPICS]))),
        is_time_sensitive=news.get("time_sensitive") is True,
        limits=tuple(_LIMITS.get(one, one) for one in map(_text, _list(method.get("limits"))) if one),
        method=_describe_method(method),
        marks=(*insight_marks, *bias_marks, *stance_marks),
    )


def _list_scales(raw: dict[str, Any], emotion: dict[str, Any], news: dict[str, Any]) -> list[Scale]:
    raws = _dict(emotion.get("raw"))
    found: list[Scale] = []
    for name, title, ends in (
        ("emotional_valence", "Valence", ("unpleasant", "pleasant")),
        ("arousal", "Arousal", ("calm", "excited")),
        ("dominance", "Dominance", ("controlled", "in control")),
    ):
        value, plain = _number(emotion.get(name)), _number(raws.get(name))
        if value is not None:
            note = "" if plain is None else f"raw {plain:g}"
            found.append(Scale(title, value, ends, origin=MIDDLE, note=note))
    for value, title, ends in (
        (_number(raw.get("confidence")), "Confidence", ("unsure", "sure")),
        (_number(raw.get("expressed_certainty")), "Expressed certainty", ("hedged", "certain")),
        (_number(news.get("score")), "News relevance", ("none", "high")),
    ):
        if value is not None:
            found.append(Scale(title, value, ends))
    return found


def _read_emotions(emotion: dict[str, Any]) -> tuple[EmotionShare, ...]:
    """Return the most probable emotions, the first of which is the primary one."""
    given = _dict(emotion.get("probabilities"))
    shares = [
        EmotionShare(name, round(100 * share))
        for name, value in given.items()
        if (share := _number(value)) is not None and share >= _LEAST_SHARE
    ]
    if shares:
        return tuple(sorted(shares, key=lambda one: -(one.percent or 0))[:_MOST_EMOTIONS])
    primary = _text(emotion.get("primary_emotion"))
    return (EmotionShare(primary, None),) if primary else ()


def _read_insights(
    raw: dict[str, Any], sentences: Sequence[str], place: str
) -> tuple[tuple[Insight, ...], list[Mark]]:
    texts = [_text(one) for one in _list(raw.get("key_insights"))[:_MOST_INSIGHTS]]
    sources = _list(raw.get("insight_sources"))
    insights, numbers_seen = [], set[int]()
    for position, text in enumerate(texts):
        source = _dict(sources[position]) if position < len(sources) else {}
        numbers = [
            n for n in _list(source.get("sentences")) if isinstance(n, int) and 0 <= n < len(sentences)
        ]
        numbers_seen.update(numbers)
        if text:
            insights.append(Insight(to_plain(text), tuple(f"{place}-s{n}" for n in numbers)))
    marks = [Mark("insight", f"{place}-s{n}", sentences[n], "Key insight") for n in sorted(numbers_seen)]
    return tuple(insights), marks


def _read_biases(raw: dict[str, Any], place: str) -> tuple[tuple[BiasView, ...], list[Mark]]:
    biases, marks = [], []
    for position, one in enumerate(map(_dict, _list(raw.get("biases"))[:_MOST_BIASES])):
        name = _text(one.get("name"))
        if not name:
            continue
        texts = [text for text in map(_text, _list(one.get("evidence"))[:_MOST_QUOTES]) if text]
        quotes = tuple(Quote(to_plain(text), f"{place}-b{position}-{n}") for n, text in enumerate(texts))
        marks += [
            Mark("evidence", quote.anchor, text, name) for quote, text in zip(quotes, texts, strict=True)
        ]
        share = _number(one.get("probability"))
        probability = share if share is not None and 0 <= share <= 1 else None
        biases.append(BiasView(name, _text(one.get("description")), probability, quotes))
    return tuple(biases), marks


def _read_stance(raw: Any, sentences: Sequence[str], place: str) -> tuple[StanceView | None, list[Mark]]:
    members = raw if isinstance(raw, dict) else {"score": raw}
    value = next((n for key in ("score", "value") if (n := _number(members.get(key))) is not None), None)
    if value is None:
        return None, []
    number = members.get("sentence")
    found = sentences[number : number + 1] if isinstance(number, int) and number >= 0 else ()
    marks = [Mark("stance", f"{place}-stance", sentence, "Stance") for sentence in found]
    shares = [_number(share) for share in _list(members.get("distribution"))]
    whole = tuple(share for share in shares if share is not None and 0 <= share <= 1)
    scale = Scale("Stance", value, ("no", "yes"), lowest=-1.0, highest=1.0, origin=0.0)
    is_mixed = members.get("mixed") is True
    shown = whole if len(whole) == len(shares) == 5 else ()
    anchor = marks[0].id if marks else None
    return StanceView(scale, _text(members.get("verdict")), is_mixed, anchor, shown), marks


def _describe_method(method: dict[str, Any]) -> str:
    version = _text(method.get("version"))
    names = [version and f"Method {version}", _text(method.get("emotion"))]
    sentences = method.get("sentences")
    counted = f"{sentences:,} sentences read" if isinstance(sentences, int) else ""
    evidence = _text(method.get("confidence"))
    return ", ".join(part for part in (*names, counted, evidence and f"confidence from {evidence}") if part)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
