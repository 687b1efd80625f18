"""
Read the JSON of SurveyJS.

    pages → panels → elements, in order                 → questions
    boolean radiogroup dropdown checkbox tagbox         → yes_no, multiple_choice
    rating text comment matrix ranking slider           → nps, rating, open_ended, matrix, ranking, slider
    visibleIf of pages, panels and questions            → show_if, if every part of it has a counterpart

Everything else goes into the report: validators, triggers, calculated values, dynamic panels and matrices.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mavera.core.text import format_count
from mavera.focus_groups.imports.report import (
    Carrier,
    Imported,
    ImportRefused,
    check_count,
    clean_text,
    escape_braces,
)
from mavera.focus_groups.imports.surveyjs_conditions import Answerable, Untranslatable, translate_condition

DEPTH_MAX = 20

# Members that change nothing about the answers, or that are carried over elsewhere.
_READ = frozenset(
    re.findall(
        r"\w+",
        """
    type name title description choices visibleIf isRequired rateMin rateMax rateCount rateStep
    rateValues rateType rateDisplayMode rateColorMode displayMode minRateDescription
    maxRateDescription columns rows choicesOrder rowsOrder rowOrder hasOther showOtherItem otherText
    hasNone showNoneItem noneText maxSelectedChoices labelTrue labelFalse min max step items
    elements hasComment showCommentArea commentText colCount width minWidth maxWidth
    startWithNewLine titleLocation placeholder placeHolder page indent hideNumber showNumber
    requiredErrorText rateDescriptionLocation autoGenerate displayRateDescriptionsAsExtremeItems
    swapOrder size rightAngle titleTrue titleFalse showClearButton searchEnabled allowClear renderAs
    multiSelect showLabel contentMode imageFit imageHeight imageWidth autoGrow maxLength inputType
    descriptionLocation correctAnswer eachRowRequired alternateRows isAllRowRequired
    storeOthersAsComment selectToRankEnabled
    """,
    )
)
_SURVEY_READ = frozenset(
    re.findall(
        r"\w+",
        """
    title description pages elements questions locale logo logoPosition logoWidth logoHeight logoFit
    showProgressBar progressBarType showQuestionNumbers completedHtml completeText pageNextText
    pagePrevText widthMode width headerView fitToContainer firstPageIsStarted showTitle
    showPageTitles questionTitleLocation questionErrorLocation showCompletedPage
    focusFirstQuestionAutomatic requiredText themeVariables checkErrorsMode textUpdateMode
    clearInvisibleValues
    """,
    )
)
_NO_ANSWER = frozenset({"html", "image", "expression"})


@dataclass(frozen=True, slots=True)
class _Element:
    """A question with the conditions of the page and the panels that it stands in."""

    members: dict[str, Any]
    conditions: tuple[str, ...]


def read_questionnaire(text: str) -> Imported:
    """Return the study of a SurveyJS document. Raises ImportRefused."""
    try:
        survey = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ImportRefused(f"The file is not JSON: {error}.") from error
    if not isinstance(survey, dict):
        raise ImportRefused("A SurveyJS file is a JSON object with pages or elements.")
    return _Reader(survey).read()


class _Reader:
    """Reads one survey. `answerable` has the questions that a condition may name."""

    def __init__(self, survey: dict[str, Any]) -> None:
        self._survey = survey
        self._locale = survey.get("locale") if isinstance(survey.get("locale"), str) else None
        self._carrier = Carrier()
        self._answerable: dict[str, Answerable] = {}

    def read(self) -> Imported:
        survey = self._survey
        pages = survey.get("pages")
        if not isinstance(pages, list):
            pages = [{"elements": survey.get("elements") or survey.get("questions")}]
        elements = [
            element
            for page in pages
            if isinstance(page, dict)
            for element in self._list_elements(page, (), 0)
        ]
        if not elements:
            raise ImportRefused("The file has no questions: 'pages' and 'elements' are missing or empty.")
        check_count(len(elements))
        for name in survey:
            if name not in _SURVEY_READ:
                self._carrier.note("", f"The survey's '{name}' was not carried over.")
        for element in elements:
            self._read_element(element)
        language = self._locale or ("en" if "locale" not in survey else None)
        return self._carrier.finish(self._text(survey.get("title")), language)

    def _list_elements(
        self, container: dict[str, Any], conditions: tuple[str, ...], depth: int
    ) -> Iterator[_Element]:
        if depth > DEPTH_MAX:
            raise ImportRefused(f"Panels are nested more than {DEPTH_MAX} deep.")
        own = container.get("visibleIf")
        if isinstance(own, str) and own.strip():
            conditions = (*conditions, own)
        if container.get("questionsOrder") == "random":
            self._carrier.note(
                str(container.get("name", "")), "The random order of its questions was left out."
            )
        elements = container.get("elements") or container.get("questions")
        for member in elements if isinstance(elements, list) else []:
            if not isinstance(member, dict):
                continue
            if member.get("type") == "panel":
                yield from self._list_elements(member, conditions, depth + 1)
            else:
                yield _Element(member, conditions)

    def _text(self, value: Any) -> str:
        """Return a text in the language of the survey. SurveyJS stores translations as a mapping."""
        if isinstance(value, Mapping):
            value = (
                value.get(self._locale or "default") or value.get("default") or next(iter(value.values()), "")
            )
        return clean_text(value)

    def _read_element(self, element: _Element) -> None:
        members = element.members
        kind = str(members.get("type", ""))
        name = str(members.get("name") or kind or "question")
        if kind in _NO_ANSWER:
            shown = self._text(members.get("html") or members.get("title"))[:60]
            self._carrier.note(
                name, f"It shows something ({kind}: '{shown}') and asks nothing. It was left out."
            )
            return
        question = self._convert(kind, name, members)
        if question is None:
            return
        for member in members:
            if member not in _READ:
                self._carrier.note(name, f"Its '{member}' was not carried over.")
        if members.get("hasComment") or members.get("showCommentArea"):
            self._carrier.note(name, "Its comment box was left out.")
        show_if = self._translate(name, element)
        if show_if:
            question["show_if"] = show_if
        self._add(name, question, members)

    def _add(self, name: str, question: dict[str, Any], members: dict[str, Any]) -> None:
        title = self._text(members.get("title")) or name
        description = self._text(members.get("description"))
        question["text"] = escape_braces(f"{title} ({description})" if description else title)
        ordered = {"type": question.pop("type"), "text": question.pop("text"), **question}
        before = len(self._carrier.questions)
        self._carrier.add(name, ordered)
        if len(self._carrier.questions) > before:
            listed = [self._list_choices(members, one) for one in ("choices", "columns", "rateValues")]
            values = {value: escape_braces(text) for choices in listed for value, text in choices}
            rows = self._list_rows(members)
            self._answerable[name] = Answerable(self._carrier.ids[name], str(ordered["type"]), values, rows)
            if ordered["type"] == "yes_no":
                yes, no = ordered["labels"]
                self._answerable[name].values.update({"true": yes, "false": no})

    def _translate(self, name: str, element: _Element) -> str | None:
        conditions = [*element.conditions]
        own = element.members.get("visibleIf")
        if isinstance(own, str) and own.strip():
            conditions.append(own)
        parts = []
        for condition in conditions:
            try:
                parts.append(translate_condition(condition, self._answerable))
            except Untranslatable as error:
                self._carrier.note(name, f"Its condition '{condition[:120]}' was left out, because {error}.")
        if len(parts) > 1:
            return " and ".join(f"({part})" for part in parts)
        return parts[0] if parts else None

    def _list_choices(self, members: dict[str, Any], member: str = "choices") -> list[tuple[str, str]]:
        """Return values and texts. A choice is a text, a number, or a mapping of both."""
        found = []
        choices = members.get(member)
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, Mapping):
                value = choice.get("value", choice.get("name", ""))
                found.append((_write(value), self._text(choice.get("text") or choice.get("title") or value)))
            else:
                found.append((_write(choice), self._text(choice)))
        return found

    def _list_rows(self, members: dict[str, Any]) -> dict[str, str]:
        """Return the ids of the rows of a matrix by their values."""
        return {value: f"r{at}" for at, (value, _) in enumerate(self._list_choices(members, "rows"), 1)}

    def _convert(self, kind: str, name: str, members: dict[str, Any]) -> dict[str, Any] | None:
        match kind:
            case "boolean":
                labels = [self._text(members.get(one)) for one in ("labelTrue", "labelFalse")]
                return {"type": "yes_no", "labels": [labels[0] or "Yes", labels[1] or "No"]}
            case "radiogroup" | "dropdown" | "buttongroup":
                return self._convert_choice(name, members, multiple=False)
            case "checkbox" | "tagbox":
                return self._convert_choice(name, members, multiple=True)
            case "imagepicker":
                self._carrier.note(name, "The pictures of its choices were left out; their texts were kept.")
                return self._convert_choice(name, members, multiple=bool(members.get("multiSelect")))
            case "rating":
                return self._convert_rating(name, members)
            case "text" | "comment":
                if members.get("inputType") not in (None, "text"):
                    self._carrier.note(
                        name, f"It asks for a {members['inputType']}; it became an open question."
                    )
                return {"type": "open_ended"}
            case "matrix":
                return self._convert_matrix(name, members)
            case "ranking":
                return {
                    "type": "ranking",
                    "items": [escape_braces(text) for _, text in self._list_choices(members)],
                }
            case "slider":
                if (members.get("min", 0), members.get("max", 100)) != (0, 100):
                    self._carrier.note(name, "Its range became 0 to 100.")
                return {"type": "slider"}
        self._carrier.note(name, f"Questions of the type '{kind}' have no counterpart. It was left out.")
        return None

    def _convert_choice(self, name: str, members: dict[str, Any], *, multiple: bool) -> dict[str, Any] | None:
        options: list[Any] = [escape_braces(text) for _, text in self._list_choices(members)]
        if not options:
            self._carrier.note(name, "Its choices are not in the file (choicesByUrl?). It was left out.")
            return None
        if members.get("hasOther") or members.get("showOtherItem"):
            text = self._text(members.get("otherText")) or "Other"
            options.append({"text": text, "specify": True, "fixed": True})
        if members.get("hasNone") or members.get("showNoneItem"):
            text = self._text(members.get("noneText")) or "None"
            options.append({"text": text, "exclusive": True, "fixed": True} if multiple else text)
        question: dict[str, Any] = {"type": "multiple_choice", "options": options}
        if multiple:
            question["multiple"] = True
            most = members.get("maxSelectedChoices")
            together = sum(not (isinstance(one, dict) and one.get("exclusive")) for one in options)
            if isinstance(most, int) and 0 < most <= together:
                question["max"] = most
        order = members.get("choicesOrder")
        if order == "random":
            question["order"] = "random"
        elif order in ("asc", "desc"):
            self._carrier.note(name, f"The choices keep the order of the file, and not '{order}'.")
        return question

    def _convert_rating(self, name: str, members: dict[str, Any]) -> dict[str, Any] | None:
        values = self._list_choices(members, "rateValues")
        ends = [self._text(members.get(one)) for one in ("minRateDescription", "maxRateDescription")]
        labels = {"labels": [escape_braces(end) for end in ends]} if all(ends) else {}
        if values:
            if not 2 <= len(values) <= 11:
                self._carrier.note(
                    name, f"A scale of {len(values)} points has no counterpart. It was left out."
                )
                return None
            return {
                "type": "rating",
                "points": len(values),
                "labels": [escape_braces(text) for _, text in values],
            }
        low = members.get("rateMin", 1)
        high = members.get("rateMax", low + members["rateCount"] - 1 if "rateCount" in members else 5)
        if (low, high) == (0, 10):
            return {"type": "nps", **labels}
        if low == 0 and isinstance(high, int) and 1 <= high <= 10:
            self._carrier.note(name, f"Its scale 0 to {high} became 1 to {high + 1}.")
            return {"type": "rating", "points": high + 1, **labels}
        if low != 1 or not isinstance(high, int) or not 2 <= high <= 11:
            self._carrier.note(name, f"A scale from {low} to {high} has no counterpart. It was left out.")
            return None
        return {"type": "rating", "points": high, **labels}

    def _convert_matrix(self, name: str, members: dict[str, Any]) -> dict[str, Any] | None:
        columns = [text for _, text in self._list_choices(members, "columns")]
        rows = [
            {"id": f"r{at}", "text": escape_braces(text)}
            for at, (_, text) in enumerate(self._list_choices(members, "rows"), 1)
        ]
        if not 2 <= len(columns) <= 11 or not rows:
            self._carrier.note(
                name,
                f"A matrix of {format_count(len(rows), 'row')} and "
                f"{format_count(len(columns), 'column')} has no counterpart.",
            )
            return None
        question = {
            "type": "matrix",
            "rows": rows,
            "points": len(columns),
            "labels": [escape_braces(text) for text in columns],
        }
        if members.get("rowsOrder") == "random" or members.get("rowOrder") == "random":
            question["order"] = "random"
        return question


def _write(value: Any) -> str:
    """Return a value as conditions compare it: true is "true", and 3.0 is "3"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return re.sub(r"\s+", " ", str(value)).strip()
