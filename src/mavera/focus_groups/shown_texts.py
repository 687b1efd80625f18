"""
Write the texts of a study for readers, who see the answers of all monadic cells at once.

    "At {price} a month?", cells of $3.49 and $4.49   →  "At [$3.49 / $4.49] a month?"
    a variable with long values                       →  "How do you like [concept]?"
    "Why {q1}?"                                       →  "Why [q1]?"

A piped answer stays in the text of its question until it is shown, because `conditions.py` finds it there.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from mavera.focus_groups.study import Question, Study
from mavera.focus_groups.wording import fill_names

Q = TypeVar("Q", bound=Question)

# Longer lists of values stand in the legend of the cells only.
MOST_LETTERS = 48


def show_text(study: Study, text: str) -> str:
    """Return `text` with the values of all cells in place of each variable, and ids in place of answers."""
    return fill_names(text, {**{one.id: f"[{one.id}]" for one in study.questions}, **_list_values(study)})


def show_question(study: Study, question: Q) -> Q:
    """Return a question whose text is for readers."""
    shown: Any = replace(question, text=show_text(study, question.text))
    return shown  # type: ignore[no-any-return]


def show_answers(study: Study) -> Study:
    """
    Return the study with variables shown in all texts of its questions, except in their own texts.

    A condition that names an answer is changed like the answer, so it still finds it.
    """
    values = _list_values(study)
    if not values:
        return study
    return replace(study, questions=tuple(_show_members(one, values) for one in study.questions))


def describe_cells(study: Study) -> dict[str, str]:
    """Return what each monadic cell shows, by its id, such as `price: $3.49; size: 1 l`."""
    found = {}
    for arm in study.cells:
        shown = [f"{name}: {value}" for name, value in arm.vars.items()]
        if arm.stimulus is not None and arm.stimulus.text:
            shown.append(fill_names(arm.stimulus.text, arm.vars))
        found[arm.id] = "; ".join(shown)
    return found


def _list_values(study: Study) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for arm in study.cells for name in arm.vars):
        values = list(dict.fromkeys(arm.vars.get(name, "…") for arm in study.cells))
        listed = " / ".join(values)
        is_short = len(listed) <= MOST_LETTERS and not {'"', "'"} & set(listed)
        found[name] = values[0] if len(values) == 1 else f"[{listed}]" if is_short else f"[{name}]"
    return found


def _show_members(question: Question, values: Mapping[str, str]) -> Question:
    def show(value: Any) -> Any:
        if isinstance(value, str):
            return fill_names(value, values)
        if isinstance(value, dict):
            return {show(name): show(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(show(one) for one in value)
        if isinstance(value, msgspec.Struct):
            members = {name: show(getattr(value, name)) for name in value.__struct_fields__}
            return replace(value, **members)
        return value

    own = {name: getattr(question, name) for name in question.__struct_fields__ if name not in ("id", "text")}
    return replace(question, **{name: show(value) for name, value in own.items()})
