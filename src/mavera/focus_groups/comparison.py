"""
Put studies side by side, question by question: waves, models, versions of a concept. Pure.

    results of 2–5 studies  →  for each question, lines: figure, label, values, intervals

Questions meet by their id and type. A study without the question has null there.
"""

from collections.abc import Iterator, Sequence
from typing import Any

_SCALARS = ("score", "mean")
_SHARES = ("distribution", "nets", "boxes", "best", "worst", "chosen_when_shown")


def compare_results(studies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all questions in the order of the studies, with the figures of each study."""
    by_study = [{(one["question_id"], one["type"]): one for one in study["results"]} for study in studies]
    keys = list(dict.fromkeys(key for questions in by_study for key in questions))
    compared = []
    for key in keys:
        found = [questions.get(key) for questions in by_study]
        text = next(one["text"] for one in found if one is not None)
        compared.append(
            {"question_id": key[0], "type": key[1], "text": text, "lines": list(_list_lines(found))}
        )
    return compared


def _list_lines(found: Sequence[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    for name in _SCALARS:
        values = [None if one is None else one.get(name) for one in found]
        if any(value is not None for value in values):
            intervals = [
                one.get("simulation_interval") if one and one.get("interval_of") == name else None
                for one in found
            ]
            yield {"figure": name, "label": name, "values": values, "intervals": intervals}
    for name in _SHARES:
        labels = dict.fromkeys(label for one in found if one for label in one.get(name) or {})
        for label in labels:
            yield {
                "figure": name,
                "label": label,
                "values": [None if one is None else (one.get(name) or {}).get(label) for one in found],
                "intervals": [
                    None if one is None else (one.get("intervals") or {}).get(label) for one in found
                ],
            }
