"""
The fields of the form that builds a study, by type of question, and the study that they describe.

    fields of the form  →  read_members  →  the members of a study file, which `study_file.py` checks

The form knows what most studies need. Blocks, quotas, nets and the like are written as YAML.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mavera.console.forms import Form
from mavera.focus_groups.explanations import TYPE_NAMES
from mavera.focus_groups.study import PERSONAS_MAX, QUESTIONS_MAX

Kind = Literal["line", "lines", "number", "check", "attributes"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a question. `hint` says what to type."""

    name: str
    label: str
    kind: Kind
    hint: str = ""


_POINTS = Field("points", "Points", "number", "5, or as many as there are labels")
_LABELS = Field("labels", "Labels", "lines", "one for each point, or two for the ends; one a line")
_ENDS = Field("labels", "Labels of the two ends", "lines", "two lines, such as “Not at all” and “Very much”")
_ORDER = Field("order", "Random order", "check")
FIELDS: dict[str, tuple[Field, ...]] = {
    "yes_no": (),
    "multiple_choice": (
        Field("options", "Options", "lines", "one a line, 2 or more"),
        Field("multiple", "Several answers", "check"),
        Field("max", "At most", "number", "with several answers; empty for any number"),
        _ORDER,
    ),
    "nps": (_ENDS,),
    "likert": (_POINTS, _LABELS),
    "rating": (_POINTS, _LABELS),
    "slider": (_ENDS,),
    "semantic_differential": (
        Field("poles", "The two poles", "lines", "two lines, such as “Old” and “New”"),
        Field("points", "Points", "number", "7 unless you say otherwise"),
    ),
    "matrix": (Field("rows", "Rows", "lines", "one a line, 2 or more"), _POINTS, _LABELS),
    "ranking": (Field("items", "Items", "lines", "one a line, 2 or more"), _ORDER),
    "maxdiff": (
        Field("items", "Items", "lines", "one a line, 4 or more"),
        Field("per_set", "Items in a set", "number", "4 unless you say otherwise"),
    ),
    "conjoint": (
        Field("attributes", "Attributes", "attributes", "one a line, such as “price: 3.49, 4.49”"),
        Field("tasks", "Tasks", "number", "10 unless you say otherwise"),
        Field("alternatives", "Products in a task", "number", "3 unless you say otherwise"),
        Field("none", "Offer “none of these”", "check"),
    ),
    "open_ended": (
        Field("verbatims", "Answers of each persona", "number", "5 unless you say otherwise"),
        Field("rounds", "Rounds of discussion", "number", "1 is none; 2 to 4"),
    ),
}
SHARED_FIELDS = (
    Field("show_if", "Ask only if", "line", "such as: q1 >= 7, or: q2 = yes"),
    Field("missing", "Answers that do not count", "lines", "such as “Don't know”; one a line"),
    Field("screen_out", "Answers that end the interview", "lines", "one a line"),
)
# Types whose respondents cannot say "don't know", or be screened by an answer.
_WITHOUT_MISSING = frozenset({"ranking", "maxdiff", "conjoint", "open_ended"})
TYPES: tuple[tuple[str, str], ...] = tuple((name, TYPE_NAMES[name]) for name in FIELDS)


@dataclass(frozen=True, slots=True)
class QuestionFields:
    """A question of the form. `place` counts from 0, and `prefix` begins the names of its fields."""

    place: int
    form: Form

    @property
    def prefix(self) -> str:
        return f"q{self.place}."

    @property
    def type(self) -> str:
        found = self.form.text(f"{self.prefix}type")
        return found if found in FIELDS else "yes_no"

    @property
    def fields(self) -> tuple[Field, ...]:
        return FIELDS[self.type]

    @property
    def shared(self) -> tuple[Field, ...]:
        if self.type in _WITHOUT_MISSING:
            return SHARED_FIELDS[:1]
        return SHARED_FIELDS

    @property
    def id(self) -> str:
        return self.form.text(f"{self.prefix}id") or f"q{self.place + 1}"

    def value(self, field: Field) -> str:
        return self.form.raw(self.prefix + field.name)


def list_questions(form: Form) -> list[QuestionFields]:
    """Return the questions of a form in their order, at least one."""
    text = form.text("count")
    count = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 1
    return [QuestionFields(at, form) for at in range(min(max(count, 1), QUESTIONS_MAX))]


def change_questions(form: Form, action: str) -> Form:
    """Return the form with one more question, or without the question that `remove:2` names."""
    questions = list_questions(form)
    places = [one.place for one in questions]
    if action == "add" and len(places) < QUESTIONS_MAX:
        places.append(len(places))
    elif action.startswith("remove:") and len(places) > 1:
        places = [place for place in places if str(place) != action.removeprefix("remove:")]
    fields = [(name, value) for name, value in form.fields if not _is_of_question(name)]
    fields = [(name, value) for name, value in fields if name != "count"]
    for at, place in enumerate(places):
        prefix = f"q{place}."
        fields += [
            (f"q{at}.{name.removeprefix(prefix)}", value)
            for name, value in form.fields
            if name.startswith(prefix)
        ]
    return Form((*fields, ("count", str(len(places)))))


def read_members(form: Form) -> dict[str, Any]:
    """Return the study that a form describes, as the members of a study file. Nothing is checked here."""
    members: dict[str, Any] = {
        "study": 1,
        "name": form.text("name"),
        "personas": [*form.texts("personas"), *_read_lines(form.raw("more_personas"))][: PERSONAS_MAX + 1],
        "sample": {
            "size": _read_number(form.text("size")) or 200,
            "seed": _read_number(form.text("seed")) or 0,
        },
        "questions": [_read_question(one) for one in list_questions(form)],
    }
    if form.text("model"):
        members["model"] = form.text("model")
    if form.text("language"):
        members["language"] = form.text("language")
    if form.text("stimulus"):
        members["stimulus"] = {"text": form.text("stimulus")}
    cells = [_read_cell(line) for line in _read_lines(form.raw("cells"))]
    if cells:
        members["cells"] = cells
    if form.text("limit"):
        members["limits"] = {"credits": _read_number(form.text("limit"))}
    members["banner"] = ["persona", "cell"] if cells else ["persona"]
    return members


def _read_question(question: QuestionFields) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": question.id,
        "type": question.type,
        "text": question.form.text(f"{question.prefix}text"),
    }
    for field in (*question.fields, *question.shared):
        value = _read_field(field, question.value(field))
        if value not in (None, "", [], {}, False):
            found[field.name] = value
    return found


def _read_field(field: Field, text: str) -> Any:
    match field.kind:
        case "line":
            return text.strip()
        case "lines":
            return _read_lines(text)
        case "number":
            return _read_number(text)
        case "check":
            checked = bool(text)
            return ("random" if checked else "fixed") if field.name == "order" else checked
        case "attributes":
            pairs = (line.partition(":") for line in _read_lines(text))
            return {name.strip(): _split(levels) for name, _, levels in pairs}


def _read_cell(line: str) -> dict[str, Any]:
    """Return a monadic cell from a line such as `a: price = 3.49, size = 1 l`."""
    name, _, rest = line.partition(":")
    pairs = (one.partition("=") for one in _split(rest))
    return {"id": name.strip(), "vars": {key.strip(): value.strip() for key, _, value in pairs}}


def _read_number(text: str) -> Any:
    """Return a number, or the text itself, which the check of the study then refuses by name."""
    text = text.strip().replace(",", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else text or None


def _read_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_of_question(name: str) -> bool:
    head = name.partition(".")[0]
    return "." in name and head[:1] == "q" and head[1:].isdecimal()


def to_form(members: dict[str, Any]) -> Form:
    """Return a filled form for a study of the example's kind. Fields that the form lacks are left out."""
    fields: list[tuple[str, str]] = [("name", str(members.get("name", "")))]
    fields += [("personas", str(one)) for one in members.get("personas", ())]
    sample = members.get("sample", {})
    fields += [(name, str(sample[name])) for name in ("size", "seed") if name in sample]
    fields.append(("stimulus", str(members.get("stimulus", {}).get("text", "")).strip()))
    questions: Sequence[dict[str, Any]] = members.get("questions", ())
    fields.append(("count", str(len(questions))))
    for at, question in enumerate(questions):
        for name, value in question.items():
            fields.append((f"q{at}.{name}", _write_value(value)))
    return Form(tuple(fields))


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, list):
        return "\n".join(str(one["text"]) if isinstance(one, dict) else str(one) for one in value)
    return str(value)
