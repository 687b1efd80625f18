"""Choices of invented people: their file, their part-worths, and the command with the scripted model."""

import json
import math
import random
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from mavera.errors import ConfigurationError
from mavera.evaluation.survey_choices import ChoiceDeclaration, ChoiceSurvey, compare_choices, draw_tasks
from mavera.evaluation.survey_data import load_surveys, read_declaration
from mavera.evaluation.survey_measures import Floats
from mavera.evaluation.survey_panel import choose_everyone
from mavera.personas.builtin import PersonaLibrary
from tests.support.command import Mavera

pytest_plugins = ["tests.support.command"]

DECLARATION = """
file = "bikes.csv"
question = "Which bike would you buy?"
respondent = "who"
task = "task"
choice = "chosen"

[[attributes]]
name = "motor"
base = "none"
columns = { weak = "weak", strong = "strong" }

[[attributes]]
name = "price"
number = "price"
text = "${value}00"
is_price = true
"""
WORTHS = (0.5, 1.5, -0.4)


def write_choices(folder: Path, respondents: int = 60) -> None:
    """Write eight tasks of three bikes for each respondent, who chooses by WORTHS and chance."""
    dice = random.Random(5)
    lines = ["who,task,chosen,weak,strong,price"]
    for number in range(respondents * 8):
        bikes = [(motor == 1, motor == 2, dice.choice((5, 8, 12))) for motor in dice.sample(range(3), 3)]
        odds = [math.exp(sum(w * x for w, x in zip(WORTHS, bike, strict=True))) for bike in bikes]
        chosen = dice.choices(range(3), odds)[0]
        lines += [
            f"{number // 8},{number},{int(place == chosen)},{int(weak)},{int(strong)},{price}"
            for place, (weak, strong, price) in enumerate(bikes)
        ]
    folder.mkdir(parents=True)
    (folder / "survey.toml").write_text(DECLARATION, encoding="utf-8")
    # Some exports end their lines with CR alone.
    (folder / "bikes.csv").write_bytes("\r".join(lines).encode())


def load_bikes(tmp_path: Path) -> ChoiceSurvey:
    write_choices(tmp_path / "bikes")
    survey = load_surveys(tmp_path)[0]
    assert isinstance(survey, ChoiceSurvey)
    return survey


def choose(survey: ChoiceSurvey, worths: tuple[float, ...]) -> Mapping[int, Floats]:
    """Return the expected shares of somebody with these part-worths, by task."""
    odds = np.exp(survey.designs @ np.array(worths))
    return dict(enumerate(odds / odds.sum(axis=1, keepdims=True)))


def test_choices_are_read_and_put_into_words(tmp_path: Path) -> None:
    survey = load_bikes(tmp_path)

    assert survey.designs.shape == (480, 3, 3)
    assert survey.declaration.parameters == ("weak", "strong", "price")
    words = survey.word_alternatives(0)
    assert sorted(one.split(",")[0] for one in words) == ["motor: none", "motor: strong", "motor: weak"]
    assert words[0].endswith(f", price: ${survey.designs[0, 0, 2]:g}00")


def test_part_worths_are_compared_with_those_of_the_people(tmp_path: Path) -> None:
    survey = load_bikes(tmp_path)
    tasks = draw_tasks(survey, 20)
    opposite = tuple(-worth for worth in WORTHS)

    report = compare_choices(
        survey, tasks, {"personas": choose(survey, WORTHS), "no_persona": choose(survey, opposite)}
    )

    expected = np.array(WORTHS) * survey.designs.reshape(-1, 3).std(axis=0)
    assert report.worths["personas"] == pytest.approx(expected, abs=1e-6)
    assert np.all(np.abs(report.worths["people"] - expected) < 3 * report.errors)
    assert report.correlate("personas") > 0.98
    assert report.correlate("no_persona") < -0.98
    assert report.halves > 0.9
    assert (report.count_signs("personas").hits, report.count_signs("no_persona").hits) == (3, 0)
    assert math.isnan(report.correlate("nobody"))


def test_choices_that_determine_nothing_are_a_failure_and_no_figure(tmp_path: Path) -> None:
    survey = load_bikes(tmp_path)
    certain = {task: np.array([1.0, 0.0, 0.0]) for task in (0,)}

    report = compare_choices(survey, (0, 1), {"personas": certain, "no_persona": {}})

    assert set(report.worths) == {"people"}
    assert set(report.failures) == {"personas"}
    assert report.count_signs("personas").cases == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\r0,0,1,", "\r0,0,0,", "one chosen alternative in each task"),
        ("weak,strong", "weak,mighty", "does not fit its declaration"),
        ("who,task", "who,number", "does not fit its declaration"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    write_choices(tmp_path / "bikes", 2)
    file = tmp_path / "bikes" / "bikes.csv"
    text = file.read_bytes().decode()
    assert old in text
    file.write_bytes(text.replace(old, new).encode())

    with pytest.raises(ConfigurationError, match=said):
        load_surveys(tmp_path)


def test_the_shipped_declaration_of_cars_words_every_level() -> None:
    text = (resources.files("mavera.evaluation") / "declarations" / "cars-conjoint.toml").read_bytes()
    declaration = read_declaration(text, "cars")
    assert isinstance(declaration, ChoiceDeclaration)
    rows = np.zeros((1, 2, 16))
    rows[0, 0, [3, 7, 9, 10, 11, 14]] = 1, 1, 23, 12, 8.5, 1
    survey = ChoiceSurvey("cars", declaration, rows, np.array([[1.0, 0.0]]), ["1"])

    assert survey.word_alternatives(0)[0] == (
        "type: plug-in hybrid with 40 miles of electric range, fast charging: yes, price: $23,000, "
        "operating cost: 12 cents per mile, acceleration from 0 to 60 mph: 8.5 seconds, brand: Chinese"
    )
    assert survey.word_alternatives(0)[1].startswith("type: conventional gasoline car, fast charging: no")
    assert survey.word_alternatives(0)[1].endswith("brand: German")


def test_people_of_unknown_age_are_personas_of_every_age() -> None:
    library = PersonaLibrary.load()

    assert len(choose_everyone(library, 1)) == 8
    assert 8 < len(choose_everyone(library, 2)) <= 16


def test_the_command_compares_part_worths(tmp_path: Path, mavera: Mavera) -> None:
    write_choices(tmp_path / "surveys" / "bikes")
    answers = tmp_path / "answers.jsonl"
    arguments = ["eval", "surveys", "--data", str(tmp_path / "surveys"), "--answers", str(answers)]

    found = json.loads(mavera(*arguments, "--tasks", "12", "--json").stdout)["choices"]["bikes"]
    drawn = mavera(*arguments, "--tasks", "12").stdout

    # The prior of three places, then 12 tasks of 8 personas and of nobody.
    assert len(answers.read_bytes().splitlines()) == 36 + 12 * 9
    assert found["tasks"] == 12
    assert set(found["worths"]) == {"people", "personas", "no_persona"}
    assert found["correlation"]["halves"] > 0.9
    assert found["signs"]["personas"]["cases"] == 3
    assert "bikes, part-worths" in drawn
