"""
Read a subset of a Qualtrics survey file (QSF).

    BL  blocks, in the order of the flow        → the order of the questions; the trash is skipped
    SQ  MC, Matrix, Slider, TE, RO, MaxDiff     → multiple_choice, nps, matrix, semantic_differential, …
    DisplayLogic on selected choices            → show_if, if every part of it has a counterpart
    ${q://QID1/ChoiceGroup/…}                   → {q1}
    FL  branches, randomizers, embedded data    → the report

A bipolar matrix and a slider with several bars become one question for each row.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from mavera.focus_groups.imports.report import (
    Carrier,
    Imported,
    ImportRefused,
    check_count,
    clean_text,
    escape_braces,
    quote_answer,
)

_SINGLE = frozenset({"SAVR", "SAHR", "SACOL", "DL", "SB"})
_SEVERAL = frozenset({"MAVR", "MAHR", "MACOL", "MSB"})
_PIPE = re.compile(r"\$\{([^}]*)\}")
_PIPED_ANSWER = re.compile(r"q://(QID\d+)/ChoiceGroup/SelectedChoices")
_LOCATOR = re.compile(r"q://(QID\d+)/SelectableChoice/(\d+)$")
_NUMERIC = re.compile(r"q://(QID\d+)/(ChoiceNumericEntryValue|NPSValue|SelectedAnswerRecode)")
_NUMBER_OPERATORS = {
    "GreaterThan": ">",
    "GreaterThanOrEqual": ">=",
    "LessThan": "<",
    "LessThanOrEqual": "<=",
    "EqualTo": "==",
    "NotEqualTo": "!=",
}
_PIPEABLE = frozenset({"multiple_choice", "nps", "yes_no", "rating", "slider", "ranking"})


def read_questionnaire(text: str) -> Imported:
    """Return the study of a QSF file. Raises ImportRefused."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ImportRefused(f"The file is not JSON: {error}.") from error
    if not isinstance(document, dict) or not isinstance(document.get("SurveyElements"), list):
        raise ImportRefused("A Qualtrics file is a JSON object with SurveyEntry and SurveyElements.")
    return _Reader(document).read()


class _Reader:
    """Reads one file. `choices` has the texts of each question's choices by their number."""

    def __init__(self, document: dict[str, Any]) -> None:
        entry = document.get("SurveyEntry")
        self._entry: dict[str, Any] = entry if isinstance(entry, dict) else {}
        self._elements = [one for one in document["SurveyElements"] if isinstance(one, dict)]
        self._carrier = Carrier()
        self._choices: dict[str, dict[str, str]] = {}
        self._types: dict[str, dict[str, Any]] = {}

    def read(self) -> Imported:
        payloads = {
            str(one.get("PrimaryAttribute")): one["Payload"]
            for one in self._elements
            if one.get("Element") == "SQ" and isinstance(one.get("Payload"), dict)
        }
        check_count(len(payloads))
        for key in self._list_order(payloads):
            self._read_question(key, payloads[key])
        self._report_flow()
        language = str(self._entry.get("SurveyLanguage") or "").lower().split("-")[0]
        return self._carrier.finish(clean_text(self._entry.get("SurveyName")), language or None)

    def _list_order(self, payloads: dict[str, Any]) -> list[str]:
        """Return the questions in the order of their blocks. Without blocks, in the order of the file."""
        blocks = self._find_blocks()
        if not blocks:
            return list(payloads)
        ordered = [key for block in blocks for key in _list_members(block) if key in payloads]
        trash = {
            key
            for block in self._all_blocks()
            if block.get("Type") == "Trash"
            for key in _list_members(block)
        }
        for key in payloads:
            if key not in ordered and key not in trash:
                self._carrier.note(key, "It stands in no block, so it was left out.")
        return list(dict.fromkeys(ordered))

    def _all_blocks(self) -> Iterator[dict[str, Any]]:
        for element in self._elements:
            if element.get("Element") == "BL":
                payload = element.get("Payload")
                members = payload.values() if isinstance(payload, dict) else payload or []
                yield from (one for one in members if isinstance(one, dict))

    def _find_blocks(self) -> list[dict[str, Any]]:
        found = [block for block in self._all_blocks() if block.get("Type") != "Trash"]
        order = [str(one.get("ID")) for one in self._list_flow() if one.get("ID")]
        ranks = {key: at for at, key in reversed(list(enumerate(order)))}
        for block in found:
            options = block.get("Options")
            if isinstance(options, dict) and options.get("RandomizeQuestions") not in (
                None,
                "false",
                False,
                "",
            ):
                self._carrier.note(
                    str(block.get("Description", "")), "The random order of the block was left out."
                )
        return sorted(found, key=lambda block: ranks.get(str(block.get("ID")), len(ranks)))

    def _list_flow(self) -> Iterator[dict[str, Any]]:
        for element in self._elements:
            payload = element.get("Payload")
            if element.get("Element") == "FL" and isinstance(payload, dict):
                yield from _walk_flow(payload.get("Flow"), 0)

    def _report_flow(self) -> None:
        names = {
            "Branch": "A branch of the flow",
            "BlockRandomizer": "A randomizer of the flow",
            "Randomizer": "A randomizer of the flow",
            "EmbeddedData": "Embedded data",
            "WebService": "A web service of the flow",
            "Authenticator": "An authenticator",
            "Quota": "A quota check",
            "EndSurvey": "An end of the survey inside the flow",
            "Group": "A group of the flow",
        }
        for one in self._list_flow():
            if one.get("Type") in names:
                self._carrier.note("", f"{names[one['Type']]} was not carried over.")
        for element in self._elements:
            if element.get("Element") == "QO":
                self._carrier.note("", "The quotas were not carried over. Write them under 'sample'.")

    def _read_question(self, key: str, payload: dict[str, Any]) -> None:
        name = str(payload.get("DataExportTag") or key)
        converted = list(self._convert(name, payload))
        if not converted:
            return
        text = self._clean_piped(name, payload.get("QuestionText"))
        show_if = self._translate(name, payload.get("DisplayLogic"))
        self._report_members(name, payload)
        for suffix, label, question in converted:
            full = f"{text} – {label}" if label else text
            ordered = {"type": question.pop("type"), "text": full, **question}
            if show_if:
                ordered["show_if"] = show_if
            before = len(self._carrier.questions)
            self._carrier.add(f"{name}{suffix}", ordered)
            if len(self._carrier.questions) > before and not suffix:
                self._types[key] = self._carrier.questions[-1]
                self._choices[key] = dict(_list_choices(payload))

    def _report_members(self, name: str, payload: dict[str, Any]) -> None:
        if payload.get("InPageDisplayLogic"):
            self._carrier.note(name, "Its display logic within the page was left out.")
        if payload.get("SkipLogic"):
            self._carrier.note(name, "Its skip logic was left out. Write it as 'show_if' of later questions.")
        if payload.get("QuestionJS"):
            self._carrier.note(name, "Its JavaScript was left out.")
        if payload.get("DynamicChoices"):
            self._carrier.note(name, "Choices that come from another question were left out.")
        validation = payload.get("Validation")
        settings = validation.get("Settings") if isinstance(validation, dict) else None
        kind = settings.get("Type") if isinstance(settings, dict) else None
        if kind not in (None, "None", "MaxChoices", "ForceResponse", "RequestResponse"):
            self._carrier.note(name, f"Its validation ({kind}) was left out.")

    def _convert(self, name: str, payload: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield suffix of the id, label of the row, and members of each question that this one becomes."""
        kind, selector = str(payload.get("QuestionType")), str(payload.get("Selector"))
        choices = [text for _, text in _list_choices(payload)]
        match kind, selector:
            case "MC", "NPS":
                yield "", "", {"type": "nps"}
            case "MC", _ if selector in _SINGLE | _SEVERAL:
                yield "", "", _convert_choice(payload, multiple=selector in _SEVERAL)
            case "Matrix", "Likert":
                yield from self._convert_matrix(name, payload)
            case "Matrix", "Bipolar":
                yield from self._convert_bipolar(name, payload)
            case "Matrix" | "MaxDiff", "MaxDiff":
                yield "", "", {"type": "maxdiff", "items": choices}
            case "Slider", _:
                yield from self._convert_slider(name, selector, choices)
            case "TE", _:
                yield "", "", {"type": "open_ended"}
            case "RO", _:
                yield "", "", {"type": "ranking", "items": choices}
            case "DB", _:
                shown = clean_text(payload.get("QuestionText"))[:60]
                self._carrier.note(name, f"It shows a text and asks nothing: '{shown}'. It was left out.")
            case _:
                self._carrier.note(name, f"Questions of the type {kind} ({selector}) have no counterpart.")

    def _convert_bipolar(
        self, name: str, payload: dict[str, Any]
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        points = len(_list_choices(payload, "Answers"))
        for at, (_, text) in enumerate(_list_choices(payload), 1):
            left, _, right = text.partition(":")
            if not right or not 2 <= points <= 11:
                self._carrier.note(name, f"The row '{text}' has no two poles. It was left out.")
                continue
            poles = [left.strip(), right.strip()]
            yield f"_{at}", "", {"type": "semantic_differential", "poles": poles, "points": points}

    def _convert_slider(
        self, name: str, selector: str, choices: list[str]
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        if selector not in ("HSLIDER", "HBAR"):
            self._carrier.note(name, f"The look of the slider ({selector}) was left out.")
        alone = len(choices) < 2
        for at, text in enumerate(choices or [""], 1):
            yield ("" if alone else f"_{at}"), text, {"type": "slider"}

    def _convert_matrix(
        self, name: str, payload: dict[str, Any]
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        answers = [text for _, text in _list_choices(payload, "Answers")]
        rows = [text for _, text in _list_choices(payload)]
        if payload.get("SubSelector") == "MultipleAnswer" or not 2 <= len(answers) <= 11 or not rows:
            self._carrier.note(name, "A matrix of this kind has no counterpart. It was left out.")
            return
        entries = [{"id": f"r{at}", "text": text} for at, text in enumerate(rows, 1)]
        question = {"type": "matrix", "rows": entries, "points": len(answers), "labels": answers}
        yield "", "", {**question, **_read_order(payload)}

    def _clean_piped(self, name: str, value: Any) -> str:
        """Return the text of a question, with earlier answers piped as a study file writes them."""
        parts, start = [], 0
        text = str(value or "")
        for found in _PIPE.finditer(text):
            parts += [escape_braces(clean_text(text[start : found.start()])), self._pipe(name, found[1])]
            start = found.end()
        parts.append(escape_braces(clean_text(text[start:])))
        joined = " ".join(part for part in parts if part)
        return re.sub(r"\s+([?.,;:!])", r"\1", joined)

    def _pipe(self, name: str, field: str) -> str:
        match = _PIPED_ANSWER.fullmatch(field)
        question = self._types.get(match[1]) if match else None
        if question is not None and question["type"] in _PIPEABLE and not question.get("multiple"):
            return f"{{{question['id']}}}"
        self._carrier.note(name, f"The piped text '{field}' was left out.")
        return "…"

    def _translate(self, name: str, logic: Any) -> str | None:
        if not isinstance(logic, dict):
            return None
        try:
            groups = []
            for group in _list_numbered(logic):
                parts = ""
                for at, one in enumerate(_list_numbered(group)):
                    word = "and" if str(one.get("Conjuction", one.get("Conjunction"))) == "And" else "or"
                    term = self._translate_term(one)
                    # Qualtrics reads from left to right, so "and" may not bind tighter.
                    parts = term if at == 0 else f"({parts}) {word} {term}"
                if parts:
                    word = "and" if group.get("Type") in ("AndIf", "And") else "or"
                    groups.append((word, parts))
        except ValueError as error:
            self._carrier.note(name, f"Its display logic was left out, because {error}.")
            return None
        found = ""
        for word, parts in groups:
            found = parts if not found else f"({found}) {word} ({parts})"
        return found or None

    def _translate_term(self, term: dict[str, Any]) -> str:
        if term.get("LogicType") != "Question":
            raise ValueError(f"it depends on {term.get('LogicType') or 'something unknown'}")
        operator = str(term.get("Operator"))
        numeric = _NUMERIC.match(str(term.get("LeftOperand", "")))
        if numeric and operator in _NUMBER_OPERATORS and numeric[1] in self._types:
            return (
                f"{self._types[numeric[1]]['id']} {_NUMBER_OPERATORS[operator]} {int(term['RightOperand'])}"
            )
        found = _LOCATOR.match(str(term.get("ChoiceLocator") or term.get("LeftOperand") or ""))
        if not found or operator not in ("Selected", "NotSelected") or found[1] not in self._types:
            raise ValueError(f"the operator '{operator}' or its question has no counterpart")
        text = self._choices[found[1]].get(found[2])
        if text is None:
            raise ValueError(f"the choice {found[2]} is unknown")
        sign = "==" if operator == "Selected" else "!="
        return f"{self._types[found[1]]['id']} {sign} {quote_answer(text)}"


def _walk_flow(flow: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth > 20:
        raise ImportRefused("The flow is nested more than 20 deep.")
    for one in flow if isinstance(flow, list) else []:
        if isinstance(one, dict):
            yield one
            yield from _walk_flow(one.get("Flow"), depth + 1)


def _list_members(block: dict[str, Any]) -> list[str]:
    elements = block.get("BlockElements")
    return [
        str(one.get("QuestionID"))
        for one in (elements if isinstance(elements, list) else [])
        if isinstance(one, dict) and one.get("Type") == "Question"
    ]


def _list_numbered(value: Any) -> list[dict[str, Any]]:
    """Return the entries of a mapping with numbers as keys, in order."""
    if not isinstance(value, dict):
        return []
    return [
        value[key]
        for key in sorted((k for k in value if k.isdigit()), key=int)
        if isinstance(value[key], dict)
    ]


def _list_choices(payload: dict[str, Any], member: str = "Choices") -> list[tuple[str, str]]:
    """Return numbers and texts of choices, in the order of the file."""
    choices = payload.get(member)
    if isinstance(choices, list):
        choices = {str(at): one for at, one in enumerate(choices, 1)}
    if not isinstance(choices, dict):
        return []
    order = payload.get("ChoiceOrder" if member == "Choices" else "AnswerOrder")
    keys = [str(key) for key in order] if isinstance(order, list) else list(choices)
    found = []
    for key in keys:
        one = choices.get(key)
        if one is not None:
            text = one.get("Display") if isinstance(one, dict) else one
            found.append((key, escape_braces(clean_text(text))))
    return found


def _convert_choice(payload: dict[str, Any], *, multiple: bool) -> dict[str, Any]:
    choices = payload.get("Choices")
    raw = choices if isinstance(choices, dict) else {}
    options: list[Any] = []
    for key, text in _list_choices(payload):
        one = raw.get(key)
        extra: dict[str, Any] = {}
        if isinstance(one, dict):
            if one.get("TextEntry") in (True, "true", "on"):
                extra["specify"] = True
            if multiple and one.get("ExclusiveAnswer") in (True, "true"):
                extra["exclusive"] = True
        options.append({"text": text, **extra} if extra else text)
    question: dict[str, Any] = {"type": "multiple_choice", "options": options, **_read_order(payload)}
    if multiple:
        question["multiple"] = True
        validation = payload.get("Validation")
        settings = validation.get("Settings") if isinstance(validation, dict) else {}
        most = str(settings.get("MaxChoices", "")) if isinstance(settings, dict) else ""
        together = sum(not (isinstance(one, dict) and one.get("exclusive")) for one in options)
        if most.isdigit() and 0 < int(most) <= together:
            question["max"] = int(most)
    return question


def _read_order(payload: dict[str, Any]) -> dict[str, str]:
    randomization = payload.get("Randomization")
    kind = randomization.get("Type") if isinstance(randomization, dict) else None
    return {"order": "random"} if kind in ("All", "Advanced") else {}
