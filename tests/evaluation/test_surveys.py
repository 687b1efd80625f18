"""Surveys of invented people: their files, the report, and the command with the scripted model."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mavera.errors import ConfigurationError
from mavera.evaluation.survey_asking import Simulation
from mavera.evaluation.survey_data import (
    GENDERS,
    NO_ANSWER,
    AgeGroup,
    Declaration,
    Survey,
    load_survey,
    load_surveys,
    read_declaration,
)
from mavera.evaluation.survey_panel import AMERICANS, choose_personas, list_contrasts
from mavera.evaluation.surveys import limit_items, make_report
from mavera.personas.builtin import PersonaLibrary
from tests.support.command import Mavera

pytest_plugins = ["tests.support.command"]

LIBRARY = PersonaLibrary.load()
SHIPPED = {
    file.name.removesuffix(".toml"): file.read_bytes()
    for file in (resources.files("mavera.evaluation") / "declarations").iterdir()
    if file.name.endswith(".toml")
}

DECLARATION = """
file = "tea.csv"
encoding = "latin-1"

[age]
column = "Age"
groups = { "18-29" = "18-29", "30-44" = "30-44", "45-60" = "45-60", "> 60" = "61+" }

[gender]
column = "Gender"
values = { Female = "female", Male = "male" }

[[items]]
id = "tea"
column = "How often do you drink tea?"
options = ["Never", "Some times", "Always"]
ordered = true

[[items]]
id = "liked"
column = "Do you like {row}?"
rows = ["milk", "lemon"]
options = ["Y", "N"]
labels = ["Yes", "No"]
missing = ["N/A"]
"""
# The exports have stray characters, as those of survey tools do.
HEAD = 'ID,"How often do youÊdrink tea?",Do you like milk?,Do you like lemon?,Gender,Age'


def write_survey(folder: Path, rows: list[str], declaration: str = DECLARATION) -> Path:
    folder.mkdir(parents=True)
    (folder / "survey.toml").write_text(declaration, encoding="utf-8")
    (folder / "tea.csv").write_bytes("\r\n".join([HEAD, *rows, ""]).encode("latin-1"))
    return folder


def load_tea(data: Path) -> Survey:
    survey = load_surveys(data)[0]
    assert isinstance(survey, Survey)
    return survey


def invent_rows(count: int) -> list[str]:
    """Young people drink tea always and old people never, and everybody else answers by chance."""
    dice = random.Random(3)
    rows = []
    for number in range(count):
        age = ("18-29", "30-44", "45-60", "> 60")[number % 4]
        likely = "Always" if number % 4 < 2 else "Never"
        tea = likely if dice.random() < 0.7 else "Some timesÊ"
        gender = ("Female", "Male")[number % 2]
        rows.append(f"{number},{tea},{dice.choice('YN')},{dice.choice('YN')},{gender},{age}")
    return rows


def test_a_survey_is_read_with_its_missing_answers(tmp_path: Path) -> None:
    write_survey(
        tmp_path / "tea", ["1,Never,Y,N/A,Female,18-29", "2,Some timesÊ,,N,Male,> 60", "3,Always,N,Y,,"]
    )

    survey = load_tea(tmp_path)

    assert (survey.name, survey.language) == ("tea", "en")
    assert [item.id for item in survey.items] == ["tea", "liked.1", "liked.2"]
    assert [item.text for item in survey.items][1:] == ["Do you like milk?", "Do you like lemon?"]
    assert survey.items[2].options == ("Yes", "No")
    assert survey.answers.tolist() == [[0, 0, NO_ANSWER], [1, NO_ANSWER, 1], [2, 1, 0]]
    assert survey.ages.tolist() == [0, 3, NO_ANSWER]
    assert survey.genders.tolist() == [0, 1, NO_ANSWER]
    assert survey.age_groups[3] == AgeGroup(61, 200)


def test_an_age_in_years_belongs_to_its_group(tmp_path: Path) -> None:
    rows = [
        f"{number},Never,Y,Y,Male,{age}" for number, age in enumerate(("18", "29", "44", "99", "17", "> 60"))
    ]
    write_survey(tmp_path / "tea", rows)

    assert load_tea(tmp_path).ages.tolist() == [0, 0, 1, 3, NO_ANSWER, 3]


def test_a_question_that_nobody_answered_is_an_error(tmp_path: Path) -> None:
    write_survey(tmp_path / "tea", ["1,Never,Y,N/A,Male,18-29"])

    with pytest.raises(ConfigurationError, match=r"nobody answered 'Do you like lemon\?'"):
        load_surveys(tmp_path)


def test_a_second_header_row_names_the_rows_of_a_question(tmp_path: Path) -> None:
    declaration = DECLARATION.replace('"latin-1"', '"latin-1"\nhead = 2').replace(
        "Do you like {row}?", "Which of these do you like? {row}"
    )
    folder = write_survey(tmp_path / "tea", [], declaration)
    rows = (
        'ID,"How often do youÊdrink tea?",Which of these do you like?,,Gender,Age',
        ",Response,milk,lemon,Response,Response",
        "1,Never,Y,N,Female,18-29",
    )
    (folder / "tea.csv").write_bytes("\n".join(rows).encode("latin-1"))

    survey = load_tea(tmp_path)

    assert survey.answers.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"Always"]', '"Often"]', "'Always' is in no list"),
        ("drink tea?", "drink coffee?", "no column 'How often do you drink coffee?'"),
        ('labels = ["Yes", "No"]', 'labels = ["Yes"]', "'liked' needs a label for each option"),
        ('["Y", "N"]', '["Y", "y"]', "'liked' needs two or more different options"),
        ('"61+"', '"old"', "'old' is no age group"),
        ("ordered = true", "order = true", "order"),
        ("tea.csv", "coffee.csv", "coffee.csv cannot be read"),
    ],
)
def test_a_declaration_that_does_not_fit_is_an_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in DECLARATION
    write_survey(tmp_path / "tea", ["1,Always,Y,N,Male,18-29"], DECLARATION.replace(old, new))

    with pytest.raises(ConfigurationError, match=said.replace("?", r"\?")):
        load_surveys(tmp_path)


def test_an_unknown_survey_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    write_survey(tmp_path / "tea", [])
    (tmp_path / "notes").mkdir()

    with pytest.raises(ConfigurationError, match=r"no survey 'coffee'\. The surveys there: tea"):
        load_surveys(tmp_path, ["coffee"])
    with pytest.raises(ConfigurationError, match="has no survey"):
        load_surveys(tmp_path / "nowhere")


def test_five_surveys_have_a_declaration() -> None:
    questioned = {"flying-etiquette-survey", "food-world-cup", "star-wars-survey", "steak-survey"}
    assert set(SHIPPED) == {*questioned, "cars-conjoint"}


@pytest.mark.parametrize(
    ("name", "items", "scales"),
    [
        ("flying-etiquette-survey", 20, 12),
        ("food-world-cup", 42, 42),
        ("star-wars-survey", 20, 14),
        ("steak-survey", 9, 1),
    ],
)
def test_a_shipped_declaration_reads_a_file_of_its_form(
    tmp_path: Path, name: str, items: int, scales: int
) -> None:
    declaration = read_declaration(SHIPPED[name], name)
    assert isinstance(declaration, Declaration)
    head: list[str] = ["RespondentID"]
    second: list[str] = [""]
    answers: list[str] = ["1"]
    for entry in declaration.items:
        for number, row in enumerate(entry.rows or ("",)):
            if declaration.head == 2 and row and not entry.column.startswith("{row}"):
                # The question stands over its first row only.
                head.append("" if number else entry.column.replace(" {row}", ""))
                second.append(row)
            else:
                head.append(entry.column.replace("{row}", row))
                second.append("Response")
            answers.append(entry.options[-1])
    head += [declaration.gender.column, declaration.age.column]
    second += ["Response", "Response"]
    answers += ["Female", "> 60"]
    lines = [head, second, answers] if declaration.head == 2 else [head, answers]
    text = "\r\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    (tmp_path / declaration.file).write_bytes(text.encode("latin-1"))

    survey = load_survey(tmp_path, declaration)

    assert len(survey.items) == items
    assert sum(item.ordered for item in survey.items) == scales
    assert survey.answers.tolist() == [[len(item.options) - 1 for item in survey.items]]
    assert (survey.ages.tolist(), survey.genders.tolist()) == ([3], [0])


def test_the_personas_exist_and_have_their_age() -> None:
    for name, age, gender in AMERICANS:
        identity = LIBRARY.find(name).demographics.identity
        assert identity.startswith(f"{age}, ")
        assert gender in GENDERS


def invent_survey(tmp_path: Path, count: int = 400) -> Survey:
    write_survey(tmp_path / "tea", invent_rows(count))
    return load_tea(tmp_path)


def test_every_group_of_people_has_a_persona_of_its_age_and_gender(tmp_path: Path) -> None:
    survey = invent_survey(tmp_path, 8)
    cast = choose_personas(survey, LIBRARY, 2)

    assert len(cast) == 8
    assert {len(personas) for personas in cast.values()} == {1, 2}
    assert [persona.name for persona in cast[3, 1]] == ["Silent Generation"]
    young, women = list_contrasts(survey)
    assert young.first == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert women.second == {(age, 1) for age in range(4)}


def simulate_by_age(survey: Survey, young: Mapping[str, list[float]], old: list[float]) -> Simulation:
    found = Simulation()
    for (age, _), personas in choose_personas(survey, LIBRARY, 1).items():
        for item in survey.items[:1]:
            shares = young["tea"] if age < 2 else old
            found.shares[survey.name, item.id, personas[0].id] = np.array(shares)
    found.shares[survey.name, "tea", None] = np.array([0.0, 1.0, 0.0])
    return found


def test_the_report_mixes_personas_as_the_people_are_and_counts_signs(tmp_path: Path) -> None:
    survey = invent_survey(tmp_path)
    casts = {"tea": choose_personas(survey, LIBRARY, 1)}
    right = simulate_by_age(survey, {"tea": [0.0, 0.3, 0.7]}, [0.7, 0.3, 0.0])
    wrong = simulate_by_age(survey, {"tea": [0.7, 0.3, 0.0]}, [0.0, 0.3, 0.7])

    report = make_report([survey], right, casts)
    tea = report.items[0]

    assert tea.shares["personas"].tolist() == pytest.approx([0.35, 0.3, 0.35])
    assert tea.total_variation["personas"] < 0.05 < tea.total_variation["no_persona"]
    assert tea.variance_ratio["no_persona"] == 0
    assert tea.variance_ratio["personas"] == pytest.approx(1, abs=0.1)
    assert [(one.contrast, one.sign) for one in tea.differences] == [("age", 1)]
    assert (report.count_signs().hits, report.count_signs().cases) == (1, 1)
    assert make_report([survey], wrong, casts).count_signs().hits == 0
    assert report.compare("personas", "no_persona").value < 0
    # Yes and no has no order, so it has no KS.
    assert report.items[1].ks == {}
    assert set(report.items[1].total_variation) == {"uniform", "mode", "halves"}


def test_a_persona_without_an_answer_leaves_the_mixture(tmp_path: Path) -> None:
    survey = invent_survey(tmp_path)
    casts = {"tea": choose_personas(survey, LIBRARY, 1)}
    found = simulate_by_age(survey, {"tea": [0.0, 0.0, 1.0]}, [1.0, 0.0, 0.0])
    for age in (0, 1):
        for gender in (0, 1):
            cell = "tea", "tea", casts["tea"][age, gender][0].id
            del found.shares[cell]
            found.failures[cell] = "The letters hold 3% of the probability."

    report = make_report([survey], found, casts)

    assert report.items[0].shares["personas"].tolist() == [1, 0, 0]
    assert report.items[0].differences[0].simulated is None
    assert report.count_signs().cases == 0
    assert report.count_differences() == 1
    assert len(report.failures) == 4


def test_items_are_limited_evenly(tmp_path: Path) -> None:
    survey = invent_survey(tmp_path, 8)
    long = replace(survey, items=survey.items * 4, answers=np.tile(survey.answers, 4))

    assert [item.id for item in limit_items(survey, 2).items] == ["tea", "liked.1"]
    assert limit_items(long, 4).answers.shape == (8, 4)
    assert [item.id for item in limit_items(long, 4).items] == ["tea"] * 4
    assert limit_items(survey, None) is survey


def test_the_command_asks_once_and_goes_on_after_an_interruption(tmp_path: Path, mavera: Mavera) -> None:
    write_survey(tmp_path / "surveys" / "tea", invent_rows(80))
    answers, plot = tmp_path / "answers.jsonl", tmp_path / "plot.svg"
    arguments = ["eval", "surveys", "--data", str(tmp_path / "surveys"), "--json", "--answers", str(answers)]

    first = json.loads(mavera(*arguments, "--plot", str(plot)).stdout)
    lines = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(b"".join(lines[:40]) + lines[40][:9])
    again = json.loads(mavera(*arguments).stdout)
    once_more = json.loads(mavera(*arguments).stdout)

    # A prior of two places and of three, then 8 personas and nobody for 3 items.
    assert len(lines) == 12 * (2 + 3) + 9 * 3
    assert again == once_more == first
    assert len(answers.read_bytes().splitlines()) == len(lines)
    assert first["items"] == 3
    assert first["failures"] == {}
    assert first["total_variation"]["personas"]["items"] == 3
    assert first["surveys"]["tea"]["significant"] == 1
    assert first["signs"]["cases"] == 1
    assert len(first["by_item"][0]["shares"]["personas"]) == 3
    ElementTree.fromstring(plot.read_text(encoding="utf-8"))


def test_the_command_prints_the_figures_of_the_people_without_a_model(tmp_path: Path, mavera: Mavera) -> None:
    write_survey(tmp_path / "surveys" / "tea", invent_rows(80))

    done = mavera("eval", "surveys", "--data", str(tmp_path / "surveys"), "--people-only", "--items", "1")
    missing = mavera("eval", "surveys", "--data", str(tmp_path), "--people-only", code=1)

    assert "1 item" in done.stdout
    assert "two halves" in done.stdout
    assert "has no survey" in missing.stderr
