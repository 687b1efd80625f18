"""
Describe the result of a question in one line: the figure, its interval, and the figure without personas.

    QuestionResult  →  Headline("NPS +12", "+1 to +23", "+15")
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mavera.focus_groups.schemas import Figures, QuestionResult, Range

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Headline:
    """Three texts. A missing interval or baseline is a dash."""

    text: str
    interval: str = NOTHING
    baseline: str = NOTHING


def describe_result(result: QuestionResult, missing: Sequence[str] = ()) -> Headline:
    """Return the headline of a question. `missing` answers never count as the most frequent answer."""
    without = result.baseline.no_persona if result.baseline else None
    if isinstance(result.score, float):
        return _describe_number("NPS {}", result.score, "score", result, without, format_score)
    if isinstance(result.model, dict):
        return _describe_model(result.model)
    if isinstance(result.mean, float) and result.type != "multiple_choice":
        return _describe_number("Mean {}", result.mean, "mean", result, without, "{:.2f}".format)
    if isinstance(result.distribution, dict) and result.distribution:
        return _describe_choice(result, result.distribution, without, missing)
    if isinstance(result.rows, list):
        return _describe_rows(result)
    if isinstance(result.verbatims, list):
        themes = result.themes if isinstance(result.themes, list) else []
        return Headline(themes[0].name if themes else f"{len(result.verbatims)} verbatims")
    return Headline("No answer")


def describe_figures(figures: Figures) -> str | None:
    """Return the figure of one persona or cell in a few words, or None if there is no figure."""
    if isinstance(figures.score, float):
        return f"NPS {format_score(figures.score)}"
    if (
        isinstance(figures.distribution, dict)
        and figures.distribution
        and not isinstance(figures.median, float)
    ):
        best = sorted(figures.distribution.items(), key=lambda pair: -pair[1])[:3]
        return ", ".join(f"{label} {share:.0%}" for label, share in best)
    return f"Mean {figures.mean:.2f}" if isinstance(figures.mean, float) else None


def format_score(score: float) -> str:
    """Return a score from −100 to 100 with its sign."""
    return f"{score:+.0f}".replace("-", "−")


def _describe_number(
    form: str,
    value: float,
    member: str,
    result: QuestionResult,
    without: Figures | None,
    write: Callable[[float], str],
) -> Headline:
    base = getattr(without, member, None)
    return Headline(
        form.format(write(value)),
        _write_range(result.simulation_interval, write),
        write(base) if isinstance(base, float) else NOTHING,
    )


def _describe_choice(
    result: QuestionResult, shares: dict[str, float], without: Figures | None, missing: Sequence[str]
) -> Headline:
    valid = {label: share for label, share in shares.items() if label not in missing} or shares
    label = max(valid, key=lambda one: valid[one])
    spans = result.intervals if isinstance(result.intervals, dict) else {}
    others = without.distribution if without is not None else None
    base = others.get(label) if isinstance(others, dict) else None
    return Headline(
        f"{label}: {shares[label]:.0%}",
        _write_range(spans.get(label), "{:.0%}".format),
        NOTHING if base is None else f"{base:.0%}",
    )


def _write_range(span: Range | None, write: Callable[[float], str]) -> str:
    return NOTHING if span is None else f"{write(span[0])} to {write(span[1])}"


def _describe_rows(result: QuestionResult) -> Headline:
    means = [(row.mean, row.text) for row in result.rows or () if isinstance(row.mean, float)]
    return Headline(f"Highest: {max(means)[1]}" if means else "No answer")


def _describe_model(model: dict[str, Any]) -> Headline:
    if "items" in model:
        best = max(model["items"], key=lambda one: one["utility"]["value"])
        return Headline(f"Most important: {best['item']}")
    first = max(model["attributes"], key=lambda one: one["importance"]["value"])
    return Headline(f"{first['attribute']} decides {first['importance']['value']:.0%}")
