"""
Collect the questions of an import, and what could not be carried over.

    Carrier.add(question)   gives it an id, shortens what is too long, keeps at most 20 questions
    Carrier.note(where, …)  says in a sentence what was left out, and why
    Carrier.finish()        →  Imported: the study's members and the report
"""

import html
import re
from dataclasses import dataclass, field
from typing import Any

from mavera.focus_groups.expressions import KEYWORDS
from mavera.focus_groups.faults import LABEL_MAX
from mavera.focus_groups.question_checks import RESERVED, TEXT_MAX
from mavera.focus_groups.study import QUESTIONS_MAX

# More questions than this are no questionnaire that somebody could shorten by hand.
QUESTIONS_READ_MAX = 500
NOTES_MAX = 500

_TAG = re.compile(r"<(br|/p|/div|/li)[^>]*>|<[^>]*>", re.IGNORECASE)
_ID_LENGTH = 40


class ImportRefused(ValueError):
    """A file that cannot be imported at all. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was not carried over. `where` is the name of the question in the foreign file, or ""."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(frozen=True, slots=True)
class Imported:
    """
    The members of a study file, without personas, and the report.

    `study` is plain data, ready for YAML. It passes the checks of a study file once personas are added.
    """

    study: dict[str, Any]
    report: tuple[Note, ...]


@dataclass(slots=True)
class Carrier:
    """Collects what an import finds. `ids` maps names of the foreign file to ids of the study."""

    questions: list[dict[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    def note(self, where: str, message: str) -> None:
        """Add a sentence to the report."""
        if len(self.notes) < NOTES_MAX:
            self.notes.append(Note(where[:LABEL_MAX], message))

    def add(self, name: str, question: dict[str, Any]) -> None:
        """Add a question whose id comes from `name`. Questions beyond the limit go into the report."""
        if len(self.questions) >= QUESTIONS_MAX:
            self.left_out += 1
            self.note(name, f"A study has at most {QUESTIONS_MAX} questions, so this one was left out.")
            return
        if not self._shorten(name, question):
            return
        self.questions.append({"id": self.give_id(name), **question})

    def give_id(self, name: str) -> str:
        """Return a new id that is valid in a study file."""
        base = re.sub(r"\W+", "_", name).strip("_")[:_ID_LENGTH].rstrip("_") or "q"
        if base[0].isdigit():
            base = f"q{base}"[:_ID_LENGTH]
        if base.lower() in KEYWORDS | RESERVED:
            base = f"{base}_q"
        taken = {question["id"] for question in self.questions}
        found, number = base, 2
        while found in taken:
            found, number = f"{base[: _ID_LENGTH - 4]}_{number}", number + 1
        self.ids[name] = found
        return found

    def _shorten(self, name: str, question: dict[str, Any]) -> bool:
        """Cut texts that are too long, and make labels unique. Returns False if the question has no text."""
        question["text"] = self.cut(name, question.get("text") or name, TEXT_MAX)
        for member in ("options", "items", "rows", "labels", "missing"):
            if member in question:
                question[member] = self._tidy(name, question[member])
        fewest = {"options": 2, "items": 2, "rows": 1}
        for member, least in fewest.items():
            if member in question and len(question[member]) < least:
                self.note(name, f"It has fewer than {least} {member}, so it was left out.")
                return False
        return True

    def cut(self, name: str, text: str, size: int) -> str:
        """Return a text of at most `size` characters, and report a cut."""
        if len(text) <= size:
            return text
        self.note(name, f"A text of {len(text):,} characters was cut to {size:,}.")
        return text[: size - 1].rstrip() + "…"

    def _tidy(self, name: str, entries: list[Any]) -> list[Any]:
        found, seen = [], set()
        for entry in entries:
            text = entry["text"] if isinstance(entry, dict) else entry
            text = self.cut(name, text, LABEL_MAX)
            if not text or text.casefold() in seen:
                self.note(name, f"The entry '{text[:60]}' is empty or repeats another one. It was left out.")
                continue
            seen.add(text.casefold())
            found.append({**entry, "text": text} if isinstance(entry, dict) else text)
        return found

    def finish(self, name: str, language: str | None = None) -> Imported:
        """Return the study and the report. Raises ImportRefused if no question was carried over."""
        if not self.questions:
            reasons = " ".join(map(str, self.notes[:3]))
            raise ImportRefused(f"No question could be carried over. {reasons}".strip())
        study: dict[str, Any] = {"study": 1, "name": name[:LABEL_MAX] or "Imported study"}
        if language:
            study["language"] = language
        study["questions"] = self.questions
        return Imported(study, tuple(self.notes))


def check_count(count: int) -> None:
    """Raise ImportRefused if a file has far more questions than a study can have."""
    if count > QUESTIONS_READ_MAX:
        raise ImportRefused(
            f"The file has {count:,} questions. A study has at most {QUESTIONS_MAX}, and a file with more "
            f"than {QUESTIONS_READ_MAX} is not read. Split it first."
        )


def clean_text(text: Any) -> str:
    """Return a text without tags and entities, and with braces that pipe nothing."""
    plain = html.unescape(_TAG.sub(lambda tag: " " if tag[1] else "", str(text or "")))
    return " ".join(plain.replace("\xa0", " ").split())


def escape_braces(text: str) -> str:
    """Return a text in which braces stand for themselves."""
    return text.replace("{", "{{").replace("}", "}}")


def quote_answer(text: str) -> str:
    """Return an answer as a condition names it. Raises ValueError if the text has both kinds of quotes."""
    if '"' not in text:
        return f'"{text}"'
    if "'" not in text:
        return f"'{text}'"
    raise ValueError("the answer contains both kinds of quotes")
