"""Imports: every question type, conditions, reports of what was left out, and files that are refused."""

import json
from typing import Any

import pytest

from mavera.focus_groups.imports import IMPORT_FORMATS, ImportFormat, import_study
from mavera.focus_groups.imports.report import Imported, ImportRefused
from mavera.focus_groups.study import Study
from mavera.focus_groups.study_file import check_members


def _check(imported: Imported) -> Study:
    """Return the study with a persona. It must pass all checks of a study file."""
    return check_members({**imported.study, "personas": ["p1"]}).study


def _surveyjs(*elements: dict[str, Any], **members: Any) -> Imported:
    return import_study(json.dumps({"title": "T", "pages": [{"elements": elements}], **members}), "surveyjs")


def _notes(imported: Imported) -> str:
    return "\n".join(map(str, imported.report))


SURVEYJS = (
    {
        "type": "boolean",
        "name": "s1",
        "title": "Do you drink it?",
        "labelTrue": "Sure",
        "labelFalse": "No way",
    },
    {
        "type": "checkbox",
        "name": "why",
        "title": {"default": "Why?", "de": "Warum?"},
        "choices": ["Taste", {"value": 2, "text": "Price"}],
        "showNoneItem": True,
        "showOtherItem": True,
        "maxSelectedChoices": 2,
        "choicesOrder": "random",
    },
    {"type": "rating", "name": "nps score", "title": "Recommend?", "rateMin": 0, "rateMax": 10},
    {
        "type": "rating",
        "name": "stars",
        "rateMax": 7,
        "minRateDescription": "bad",
        "maxRateDescription": "good",
    },
    {
        "type": "matrix",
        "name": "fit",
        "columns": ["a", "b", "c"],
        "rows": [{"value": "x", "text": "Fits me"}, "y"],
    },
    {"type": "ranking", "name": "order", "choices": ["one", "two", "three"]},
    {
        "type": "panel",
        "name": "p",
        "visibleIf": "{s1} = true",
        "elements": [
            {"type": "comment", "name": "words", "visibleIf": "{nps score} >= 9 and {why} contains 2"},
            {"type": "radiogroup", "name": "again", "choices": ["a", "b"], "visibleIf": "{fit.x} = 'c'"},
        ],
    },
    {"type": "slider", "name": "warm"},
)


def test_a_surveyjs_questionnaire_becomes_a_study() -> None:
    imported = _surveyjs(*SURVEYJS)

    study = _check(imported)
    assert [type(one).__name__ for one in study.questions] == [
        *("YesNo", "MultipleChoice", "NPS", "Rating", "Matrix", "Ranking"),
        *("OpenEnded", "MultipleChoice", "Slider"),
    ]
    by_id = {one["id"]: one for one in imported.study["questions"]}
    assert by_id["s1"]["labels"] == ["Sure", "No way"]
    assert by_id["why"]["text"] == "Why?"
    assert by_id["why"]["max"] == 2
    assert by_id["why"]["order"] == "random"
    assert by_id["why"]["options"][2:] == [
        {"text": "Other", "specify": True, "fixed": True},
        {"text": "None", "exclusive": True, "fixed": True},
    ]
    assert by_id["stars"]["labels"] == ["bad", "good"]
    assert by_id["words"]["show_if"] == '(s1 == "Sure") and (nps_score >= 9 and why in ["Price"])'
    assert by_id["again"]["show_if"] == '(s1 == "Sure") and (fit.r1 == "c")'
    assert imported.report == ()


def test_the_language_of_a_surveyjs_file_chooses_the_texts() -> None:
    imported = _surveyjs(
        {"type": "text", "name": "q", "title": {"default": "Why?", "de": "Warum?"}}, locale="de"
    )

    assert imported.study["language"] == "de"
    assert imported.study["questions"][0]["text"] == "Warum?"


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"type": "html", "name": "x", "html": "<b>Hello</b>"}, "x: It shows something (html: 'Hello')"),
        ({"type": "signaturepad", "name": "x"}, "type 'signaturepad' have no counterpart"),
        ({"type": "paneldynamic", "name": "x"}, "type 'paneldynamic' have no counterpart"),
        ({"type": "dropdown", "name": "x", "choicesByUrl": {"url": "u"}}, "Its choices are not in the file"),
        ({"type": "text", "name": "x", "validators": []}, "x: Its 'validators' was not carried over."),
        ({"type": "text", "name": "x", "inputType": "date"}, "It asks for a date"),
        (
            {"type": "text", "name": "x", "visibleIf": "{unknown} = 1"},
            "'unknown' is not among the earlier questions",
        ),
        ({"type": "text", "name": "x", "visibleIf": "age() > 3"}, "'age' is not a question"),
        ({"type": "text", "name": "x", "visibleIf": "{q} = 'nothing'"}, "'nothing' is not an answer of 'q'"),
        ({"type": "text", "name": "x", "visibleIf": "{q} notempty"}, "always has an answer"),
        (
            {"type": "rating", "name": "x", "rateMin": 3, "rateMax": 9},
            "A scale from 3 to 9 has no counterpart",
        ),
        ({"type": "radiogroup", "name": "x", "choices": ["a", "a"]}, "repeats another one"),
    ],
)
def test_what_a_surveyjs_file_loses_is_reported(element: dict[str, Any], expected: str) -> None:
    imported = _surveyjs({"type": "radiogroup", "name": "q", "choices": ["a", "b"]}, element, triggers=[])

    assert expected in _notes(imported)
    assert "The survey's 'triggers' was not carried over." in _notes(imported)
    _check(imported)


def _question(key: str, kind: str, selector: str, text: str = "?", **members: Any) -> dict[str, Any]:
    payload = {
        "QuestionText": text,
        "QuestionType": kind,
        "Selector": selector,
        "DataExportTag": f"Q{key}",
        **members,
    }
    return {"Element": "SQ", "PrimaryAttribute": f"QID{key}", "Payload": payload}


def _display(*texts: str) -> dict[str, Any]:
    return {str(at): {"Display": text} for at, text in enumerate(texts, 1)}


def _logic(key: str, choice: int, operator: str = "Selected") -> dict[str, Any]:
    term = {
        "LogicType": "Question",
        "ChoiceLocator": f"q://QID{key}/SelectableChoice/{choice}",
        "Operator": operator,
    }
    return {"0": {"0": term, "Type": "If"}, "Type": "BooleanExpression"}


def _qsf(*elements: dict[str, Any], order: tuple[int, ...] = ()) -> Imported:
    block = {
        "Element": "BL",
        "Payload": {
            "0": {
                "ID": "BL1",
                "Type": "Default",
                "BlockElements": [{"Type": "Question", "QuestionID": f"QID{at}"} for at in order],
            },
            "1": {
                "ID": "BL2",
                "Type": "Trash",
                "BlockElements": [{"Type": "Question", "QuestionID": "QID99"}],
            },
        },
    }
    entry = {"SurveyName": "A <b>test</b>", "SurveyLanguage": "EN"}
    parts = [*elements, block] if order else list(elements)
    return import_study(json.dumps({"SurveyEntry": entry, "SurveyElements": parts}), "qsf")


QSF = (
    _question(
        "2",
        "MC",
        "MAVR",
        "Which&nbsp;ones?",
        Choices={**_display("A", "B"), "3": {"Display": "None", "ExclusiveAnswer": True}},
        Randomization={"Type": "All"},
        Validation={"Settings": {"Type": "MaxChoices", "MaxChoices": "2"}},
    ),
    _question("1", "MC", "SAVR", "<p>Do you&amp;I like {it}?</p>", Choices=_display("Yes", 'A "bit"', "No")),
    _question("3", "MC", "NPS", "Recommend?"),
    _question(
        "4",
        "Matrix",
        "Likert",
        "Agree?",
        SubSelector="SingleAnswer",
        Choices=_display("r", "s"),
        Answers=_display("1", "2", "3"),
    ),
    _question(
        "5",
        "Matrix",
        "Bipolar",
        "It is",
        Choices=_display("Old:New", "Cheap:Dear"),
        Answers=_display(*"1234567"),
    ),
    _question("6", "TE", "SL", "Why ${q://QID1/ChoiceGroup/SelectedChoices}?", DisplayLogic=_logic("1", 2)),
    _question("7", "RO", "DND", "Rank", Choices=_display("x", "y", "z")),
    _question("8", "Slider", "HBAR", "How warm?", Choices=_display("Now")),
    _question("99", "TE", "SL", "In the trash"),
)


def test_a_qualtrics_file_becomes_a_study() -> None:
    imported = _qsf(*QSF, order=(1, 2, 3, 4, 5, 6, 7, 8))

    study = _check(imported)
    assert study.name == "A test"
    assert [type(one).__name__ for one in study.questions] == [
        *(
            "MultipleChoice",
            "MultipleChoice",
            "NPS",
            "Matrix",
            "SemanticDifferential",
            "SemanticDifferential",
        ),
        *("OpenEnded", "Ranking", "Slider"),
    ]
    by_id = {one["id"]: one for one in imported.study["questions"]}
    assert by_id["Q1"]["text"] == "Do you&I like {{it}}?"
    assert by_id["Q2"]["text"] == "Which ones?"
    assert by_id["Q2"]["max"] == 2
    assert by_id["Q2"]["options"][2] == {"text": "None", "exclusive": True}
    assert by_id["Q5_2"]["poles"] == ["Cheap", "Dear"]
    assert by_id["Q6"]["text"] == "Why {Q1}?"
    assert by_id["Q6"]["show_if"] == "Q1 == 'A \"bit\"'"
    assert imported.report == ()


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (_question("2", "DB", "TB", "Welcome"), "Q2: It shows a text and asks nothing: 'Welcome'."),
        (_question("2", "Timing", "PageTimer"), "type Timing (PageTimer) have no counterpart"),
        (_question("2", "CS", "HR"), "type CS (HR) have no counterpart"),
        (_question("2", "TE", "SL", "Hi ${e://Field/name}"), "The piped text 'e://Field/name' was left out."),
        (_question("2", "TE", "SL", QuestionJS="x()"), "Its JavaScript was left out."),
        (_question("2", "TE", "SL", SkipLogic=[1]), "Its skip logic was left out."),
        (_question("2", "TE", "SL", DisplayLogic=_logic("1", 1, "Displayed")), "the operator 'Displayed'"),
        (_question("2", "TE", "SL", DisplayLogic=_logic("7", 1)), "or its question has no counterpart"),
        (
            {"Element": "FL", "Payload": {"Flow": [{"Type": "Branch", "Flow": [{"Type": "EndSurvey"}]}]}},
            "A branch of the flow was not carried over.\nAn end of the survey inside the flow",
        ),
    ],
)
def test_what_a_qualtrics_file_loses_is_reported(element: dict[str, Any], expected: str) -> None:
    imported = _qsf(_question("1", "MC", "SAVR", Choices=_display("Yes", "No")), element)

    assert expected in _notes(imported)
    _check(imported)


CSV = """id,type,text,options,points,labels,rows,items,multiple,max,missing,show_if,attributes,poles,colour
s1,yes_no,Do you drink it?
q1,nps,"How likely, from 0 to 10?"
q2,multiple choice,Why?,Taste|Price|Texture,,,,,yes,2
q3,likert,Agree?,,5,no|rather no|so so|rather yes|yes
q4,matrix,How well?,,7,,Natural|Modern,,,,Don't know
q5,ranking,Rank,,,,,Oat|Soy|Rice
q6,maxdiff,Most?,a|b|c|d|e
q7,conjoint,Which?,,,,,,,,,,brand: A|B; price: 3.49|4.49
q8,,Why?,,,,,,,,,q1 >= 7
q9,semantic-differential,It is,,,,,,,,,,,Old|New
"""


def test_a_csv_of_questions_becomes_a_study() -> None:
    imported = import_study(CSV, "csv")

    study = _check(imported)
    assert [one.__struct_config__.tag for one in study.questions] == [
        *("yes_no", "nps", "multiple_choice", "likert", "matrix", "ranking"),
        *("maxdiff", "conjoint", "open_ended", "semantic_differential"),
    ]
    assert imported.study["questions"][8]["show_if"] == "q1 >= 7"
    assert imported.study["questions"][4]["missing"] == ["Don't know"]
    assert _notes(imported) == "The column 'colour' is unknown and was not carried over."


def test_a_csv_with_semicolons_and_other_names_of_columns_is_read() -> None:
    imported = import_study("Name;Question;Choices\nq1;Why?;a|b\n;And now?;\n", "csv")

    assert [one["type"] for one in imported.study["questions"]] == ["multiple_choice", "open_ended"]
    assert [one["id"] for one in imported.study["questions"]] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("q1,hologram,Why?,a|b", "q1: The type 'hologram' is unknown."),
        ("q1,matrix,Why?,", "needs 'rows'"),
        ("q1,multiple_choice,Why?,a", "fewer than 2 options"),
        ("q1,nps,Why?,a|b", "A question of the type nps has no 'options'."),
        ("persona,nps,Why?,", "Its id became 'persona_q'."),
    ],
)
def test_what_a_csv_loses_is_reported(line: str, expected: str) -> None:
    assert expected in _notes(import_study(f"id,type,text,options\nq0,nps,Fine?,\n{line}\n", "csv"))


def test_questions_beyond_twenty_are_reported_and_the_first_twenty_kept() -> None:
    lines = "".join(f"q{at},nps,Question {at}?\n" for at in range(25))

    imported = import_study("id,type,text\n" + lines, "csv")

    assert len(imported.study["questions"]) == 20
    assert "q24: A study has at most 20 questions, so this one was left out." in _notes(imported)


def _many(file_format: ImportFormat, count: int) -> str:
    match file_format:
        case "csv":
            return "id,type,text\n" + "".join(f"q{at},nps,?\n" for at in range(count))
        case "surveyjs":
            return json.dumps({"elements": [{"type": "text", "name": f"q{at}"} for at in range(count)]})
        case "qsf":
            return json.dumps({"SurveyElements": [_question(str(at), "TE", "SL") for at in range(count)]})


@pytest.mark.parametrize("file_format", IMPORT_FORMATS)
def test_ten_thousand_questions_are_a_clear_error(file_format: ImportFormat) -> None:
    with pytest.raises(ImportRefused, match=r"The file has 10,000 questions\. A study has at most 20"):
        import_study(_many(file_format, 10_000), file_format)


@pytest.mark.parametrize("file_format", IMPORT_FORMATS)
@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "[" * 5000, "no questionnaire", '{"pages": 3}', "\x00"]
)
def test_a_file_that_is_no_questionnaire_is_refused(file_format: ImportFormat, text: str) -> None:
    with pytest.raises(ImportRefused):
        import_study(text, file_format)


def test_a_file_that_is_not_text_or_too_large_is_refused() -> None:
    with pytest.raises(ImportRefused, match="not UTF-8"):
        import_study(b"\xff\xfe\x00", "csv")
    with pytest.raises(ImportRefused, match="The limit is 4,000,000"):
        import_study("x" * 4_000_001, "csv")


def test_panels_that_are_nested_too_deep_are_refused() -> None:
    element: dict[str, Any] = {"type": "text", "name": "q"}
    for _ in range(30):
        element = {"type": "panel", "elements": [element]}

    with pytest.raises(ImportRefused, match="nested"):
        _surveyjs(element)
