"""
Every bad study is refused before work starts, by the route and by the command line, with the same message.

Others happen later. `test_program.py` has a limit in the middle, a deletion, an edited persona, credits that
run out, and a model that is away or answers nonsense. `test_images.py` has images that are none,
`test_human_answers.py` answers of people that do not fit, and `test_study_file.py` a YAML bomb.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from tests.conftest import Served, running_server
from tests.support.command import call_mavera

PEOPLE = [persona.id for persona in list(PersonaLibrary.load())[:11]]
TWO = PEOPLE[:2]
YES_NO = {"id": "q1", "type": "yes_no", "text": "Do you drink it?"}
NPS = {"id": "q1", "type": "nps", "text": "Would you recommend it?"}
SEVERAL = {"id": "q1", "type": "multiple_choice", "multiple": True, "text": "?", "options": ["A", "B"]}
CONJOINT = {"id": "q1", "type": "conjoint", "text": "?", "attributes": {"brand": ["A", "B"], "price": []}}
AGES = {"attributes": {"age": "18-34"}}


def build(*questions: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "study": 1,
        "name": "Bad",
        "personas": PEOPLE[:3],
        "sample": {"size": 10},
        "questions": questions or [YES_NO],
        **members,
    }


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a condition on people who were screened out": (
        build({**YES_NO, "screen_out": "no"}, {**YES_NO, "id": "q2", "show_if": "q1 == no"}),
        "questions[1].show_if",
        "is screened out",
    ),
    "more ticks than options": (build({**SEVERAL, "max": 3}), "questions[0].max", "3 is more than the 2"),
    "quotas that contradict the size": (
        build(sample={"size": 10, "quotas": [{"where": {"category": "Generational"}, "size": 11}]}),
        "sample.quotas[0].size",
        "11 is more than the sample of 10",
    ),
    "quotas that contradict each other": (
        build(
            personas=[
                {"id": one, "attributes": {"age": age, "sex": "f"}}
                for one, age in zip(TWO, "ab", strict=True)
            ],
            sample={
                "size": 10,
                "quotas": [{"where": {"age": "a"}, "size": 8}, {"where": {"age": "b"}, "size": 1}],
            },
        ),
        "sample.quotas",
        "The quotas contradict each other",
    ),
    "quotas that contradict the weights": (
        build(
            personas=[{"id": one, "attributes": {"age": age}} for one, age in zip(TWO, "ab", strict=True)],
            sample={
                "size": 10,
                "quotas": [{"where": {"age": "a"}, "size": 10}],
                "weights": {"age": {"a": 50, "b": 50}},
            },
        ),
        "sample.weights.age.b",
        "The quotas leave no respondent",
    ),
    "an answer piped into itself": (
        build({**YES_NO, "text": "Why {q1}?"}),
        "questions[0].text",
        "pipes its own answer",
    ),
    "21 questions": (
        build(*({**YES_NO, "id": f"q{n}"} for n in range(21))),
        "questions",
        "There are 21 questions",
    ),
    "11 personas": (build(personas=PEOPLE), "personas", "There are 11 personas"),
    "a sample of 0": (build(sample={"size": 0}), "sample.size", "0 is outside 1"),
    "ids twice": (build(YES_NO, YES_NO), "questions[1].id", "is number 1 already"),
    "a condition that looks forwards": (
        build({**YES_NO, "show_if": "q2 == yes"}, {**YES_NO, "id": "q2"}),
        "questions[0].show_if",
        "The condition refers to",
    ),
    "a condition that is none": (
        build(NPS, {**NPS, "id": "q2", "show_if": "q1 >="}),
        "questions[1].show_if",
        "",
    ),
    "an option twice": (build({**SEVERAL, "options": ["A", "a"]}), "questions[0].options[1]", "repeats"),
    "too few items": (
        build({"id": "q1", "type": "maxdiff", "text": "?", "items": ["A", "B", "C"]}),
        "questions[0].items",
        "3 items cannot fill sets",
    ),
    "no level of the price": (build(CONJOINT), "questions[0].attributes.price", "at least two levels"),
    "an image that is none": (
        build(stimulus={"images": ["notes.txt"]}),
        "stimulus.images[0]",
        "is not an image",
    ),
    "weights that do not sum up": (
        build(sample={"size": 10, "weights": {"age": {"18-34": 30, "35+": 60}}}),
        "sample.weights.age",
        "add up to 90",
    ),
    "weights of no attribute": (
        build(sample={"size": 10, "weights": {"colour": {"red": 100}}}),
        "sample.weights.colour",
        "No persona has the attribute 'colour'",
    ),
    "weights of nobody": (
        build(
            personas=[{"id": PEOPLE[0], "attributes": {"age": "a"}}],
            sample={"size": 10, "weights": {"age": {"a": 50, "b": 50}}},
        ),
        "sample.weights.age.b",
        "No persona has the age 'b'",
    ),
    "a banner of nothing": (build(banner=["colour"]), "banner[0]", "neither an attribute nor a question"),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("data")
    folder.chmod(0o700)
    with running_server(folder, ScriptedModel()) as server:
        yield server


def send(served: Served, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{served.base_url}{path}", headers=served.headers, json=body, timeout=120)


@pytest.mark.parametrize("name", CASES)
def test_a_bad_study_is_refused_by_the_route_and_starts_nothing(served: Served, name: str) -> None:
    study, path, message = CASES[name]

    for more in ({}, {"dry_run": True}):
        refused = send(served, "/focus-groups", {"study": study, **more})
        assert refused.status_code == 422, refused.text
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("validation_error", f"study.{path}")
        assert message in error["message"]
    listed = httpx.get(f"{served.base_url}/focus-groups", headers=served.headers, timeout=120)
    assert listed.json()["data"] == []


@pytest.mark.parametrize("name", CASES)
def test_a_bad_study_is_refused_by_the_command_line_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    study, path, message = CASES[name]
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps(study, indent=1), "utf-8")
    mavera = call_mavera({"MAVERA_DATA_DIR": str(tmp_path / "data")}, monkeypatch)

    checked = json.loads(mavera("study", "check", str(file), "--json", code=1).stdout)

    fault = next(one for one in checked["faults"] if one["path"] == path)
    assert message in fault["message"]
    assert fault["line"]


def test_short_members_are_named_as_the_caller_wrote_them(served: Served) -> None:
    body = {"name": "Bad", "persona_ids": PEOPLE[:2], "questions": [YES_NO], "sample_size": 10}
    for change, status, param in (
        ({"weights": {"colour": {"red": 100}}}, 422, "weights.colour"),
        ({"banner": ["colour"]}, 422, "banner[0]"),
        ({"persona_ids": [PEOPLE[0], "cmwqagvb8bptiksd9igrduuzz"]}, 404, "persona_ids[1]"),
    ):
        refused = send(served, "/focus-groups", {**body, **change})
        assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text


def test_an_unknown_persona_of_a_nested_study_is_named(served: Served) -> None:
    study = build(personas=[PEOPLE[0], "nobody-at-all"])

    refused = send(served, "/focus-groups", {"study": study})

    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "persona_not_found"
    assert refused.json()["error"]["param"] == "study.personas[1]"


def test_a_language_that_the_encoder_does_not_know_is_no_mistake(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = build(language="ja")

    quoted = send(served, "/focus-groups", {"study": study, "dry_run": True})

    assert quoted.status_code == 200, quoted.text
    assert quoted.json()["model_reads"] > 0


def test_an_import_of_ten_thousand_questions_is_refused(served: Served) -> None:
    content = "type,text\n" + "yes_no,Do you?\n" * 10_000

    refused = send(served, "/focus-groups/import", {"content": content})

    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == "content"


def test_answers_of_people_need_a_study_with_answers(served: Served) -> None:
    made = send(served, "/focus-groups", {"study": build()})
    assert made.status_code == 202, made.text

    refused = send(
        served,
        f"/focus-groups/{made.json()['id']}/human",
        {"csv": "q1\nYes\nNo\nYes\n"},
    )

    assert refused.status_code == 400, refused.text
    assert "has no answers yet" in refused.json()["error"]["message"]
