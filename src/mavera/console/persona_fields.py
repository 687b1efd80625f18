"""
The fields of the form that makes and edits a persona, and the sheet that they describe.

    Sheet  →  list_groups  →  fields with their values
    form   →  read_sheet   →  Sheet, checked and cleaned

Every field of the API is here. A list is a text with one entry a line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from mavera.console.forms import Form
from mavera.personas.custom import Constant, Details, Pipeline, Sheet, Weights, Words
from mavera.personas.persona import BigFive, Profile, SampleTurn

Kind = Literal["line", "lines", "check", "weights", "number", "text", "stance"]
PIPELINES: dict[Pipeline, tuple[str, str]] = {
    "north_star": ("Describe", "A name and a description. The model invents the rest of the person."),
    "intermediate": ("Outline", "Whether it buys for a company or at home, and the details that you know."),
    "advanced": ("Specify", "Every detail, as you know it. Nothing is invented."),
}
# The details that most people know come first. The others are folded.
_FIRST = (
    "goals", "pains", "values", "triggers", "objections", "channels", "age_band", "income_band", "life_stage",
    "role_title", "industry", "company_size",
)  # fmt: skip
_CONSTANTS = {"buying_stage": "SOLUTION_AWARE", "decision_role": "ECONOMIC_BUYER"}
STANCES = ("yes", "no", "undecided")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form. `name` is its path in the sheet, such as `details.pains`."""

    name: str
    label: str
    kind: Kind
    value: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Fields under a heading. Those of a folded group are seldom needed."""

    title: str
    fields: tuple[Field, ...]
    is_folded: bool = False


def list_groups(form: Form, *, has_profile: bool) -> list[Group]:
    """Return the fields of a form below name and description, in groups."""
    details = [_fill(form, one) for one in _list_details()]
    first = tuple(one for one in details if one.name.removeprefix("details.") in _FIRST)
    rest = tuple(one for one in details if one not in first)
    is_folded = not any(one.value for one in rest)
    groups = [Group("Details", first), Group("More details", rest, is_folded)]
    if has_profile:
        person = tuple(_fill(form, one) for one in _list_profile())
        turns = tuple(_fill(form, one) for one in _list_turns())
        groups += [Group("The person", person), Group("Sample answers", turns, is_folded=True)]
    return groups


def to_form(sheet: Sheet) -> Form:
    """Return a form that is filled with a sheet."""
    fields = [
        ("name", sheet.name),
        ("description", sheet.description),
        ("category", sheet.category),
        ("type", sheet.type or ""),
        ("pipeline", sheet.pipeline_type),
    ]
    if sheet.expert:
        fields.append(("expert", "on"))
    details = msgspec.to_builtins(sheet.details)
    fields += [(f"details.{name}", _write(value)) for name, value in details.items()]
    if sheet.profile is not None:
        fields.append(("has_profile", "on"))
        fields += _flatten("profile", msgspec.to_builtins(sheet.profile))
    return Form(tuple(fields))


def read_sheet(form: Form) -> Sheet:
    """Return the sheet that a form describes. Raises InvalidRequest and ValidationFailed."""
    details = {
        field.name.removeprefix("details."): value
        for field in _list_details()
        if (value := _read(field, form.raw(field.name))) not in ("", [], None, {})
    }
    profile = _read_profile(form) if form.has("has_profile") else None
    kind = form.text("type") or None
    return Sheet.from_members(
        name=form.text("name"),
        description=form.text("description"),
        category=form.text("category") or ("Professional" if kind == "B2B" else "Lifestyle"),
        expert=form.has("expert"),
        pipeline_type=form.text("pipeline"),
        type=kind,
        details=details,
        profile=profile,
    )


def _list_details() -> Iterator[Field]:
    for field in msgspec.structs.fields(Details):
        kinds = get_args(field.type)
        kind: Kind = "line"
        if Words in kinds:
            kind = "lines"
        elif Weights in kinds:
            kind = "weights"
        elif bool in kinds:
            kind = "check"
        label = field.name.replace("_", " ").capitalize()
        if Constant in kinds:
            label += (
                ", such as SOLUTION_AWARE" if field.name == "buying_stage" else ", such as ECONOMIC_BUYER"
            )
        yield Field(f"details.{field.name}", label, kind)


def _list_profile() -> Iterator[Field]:
    for path, kind in _walk(Profile, "profile"):
        if not path.startswith("profile.turns"):
            yield Field(path, _label(path), kind)


def _list_turns() -> Iterator[Field]:
    for at in range(8):
        for name in SampleTurn.__struct_fields__:
            kind: Kind = "stance" if name == "stance" else "text"
            label = {"ask": f"Question {at + 1}", "answer": f"Answer {at + 1}", "stance": "It says"}[name]
            yield Field(f"profile.turns.{at}.{name}", label, kind)


def _walk(kind: type[msgspec.Struct], path: str) -> Iterator[tuple[str, Kind]]:
    for field in msgspec.structs.fields(kind):
        inner = f"{path}.{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _walk(field.type, inner)
        elif kind is BigFive:
            yield inner, "number"
        else:
            is_list = isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.VarTupleType)
            yield inner, "lines" if is_list else "line"


def _label(path: str) -> str:
    names = {
        "profile.demographics.speaker": "Full name",
        "profile.demographics.identity": "Age and occupation",
    }
    return names.get(path, path.rpartition(".")[2].replace("_", " ").capitalize())


def _fill(form: Form, field: Field) -> Field:
    return Field(field.name, field.label, field.kind, form.raw(field.name))


def _read_profile(form: Form) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for field in _list_profile():
        _place(members, field.name.split(".")[1:], _read(field, form.raw(field.name)))
    turns = []
    for at in range(8):
        turn = {name: form.text(f"profile.turns.{at}.{name}") for name in SampleTurn.__struct_fields__}
        if turn["ask"] or turn["answer"]:
            turns.append(turn)
    return {**members, "turns": turns}


def _place(members: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        members = members.setdefault(name, {})
    members[path[-1]] = value


def _read(field: Field, text: str) -> Any:
    match field.kind:
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case "check":
            return True if text else None
        case "number":
            return int(text) if text.strip().isdecimal() else text.strip()
        case "weights":
            pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
            return {
                key.strip(): int(weight) if weight.strip().isdecimal() else weight.strip()
                for key, _, weight in pairs
            }
        case _:
            return text.strip()


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, dict):
        return "\n".join(f"{key} = {weight}" for key, weight in value.items())
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flatten(f"{path}.{name}", inner)
    elif path == "profile.turns":
        for at, turn in enumerate(value):
            yield from _flatten(f"{path}.{at}", turn)
    else:
        yield path, _write(value)
