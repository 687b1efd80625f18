"""`mavera study` as a user types it: real processes, files and Ctrl-C, with the scripted model."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from mavera.personas.builtin import PersonaLibrary
from tests.support.command import Mavera, call_mavera, run_mavera
from tests.support.upstream_stub import answer, running_upstream

STUDY = """\
study: 1
name: Oat [drink]
personas: [gen-z-consumer, boomer, budget-shopper]
sample: {size: 30, seed: 7}
questions:
  - {id: q1, type: yes_no, text: Would you try it?}
  - {id: q2, type: nps, text: Would you recommend it?}
  - id: q3
    type: matrix
    text: How much do you agree?
    points: 5
    rows: [It is cheap, It is tasty]
  - id: q4
    type: multiple_choice
    multiple: true
    text: What speaks for it?
    options: [Taste, Price]
banner: [persona]
"""
PEOPLE = "q1,q2,persona_id\n" + "".join(
    f"{'Yes' if n % 3 else 'No'},{n % 11},{('gen-z-consumer', 'boomer')[n % 2]}\n" for n in range(40)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")}
    data = {"MAVERA_DATA_DIR": str(folder / "data"), "MAVERA_MODEL_BACKEND": "scripted"}
    return {**own, **data, "COLUMNS": "100"}


@pytest.fixture(scope="module")
def start(environment: dict[str, str]) -> Mavera:
    """Run a command in a process of its own."""
    return run_mavera(environment)


@pytest.fixture
def mavera(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Mavera:
    """Run a command that asks no model."""
    return call_mavera(environment, monkeypatch)


@pytest.fixture(scope="module")
def concept(folder: Path) -> Path:
    path = folder / "concept.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(start: Mavera, concept: Path, folder: Path) -> dict[str, Any]:
    """Return the results of a study that has run, with all its files in the folder `out`."""
    ran = start("study", "run", str(concept), "--json", "--out", str(folder / "out"))
    results: dict[str, Any] = json.loads(ran.stdout)
    return results


def test_a_new_study_is_valid_and_is_not_written_over_a_file(mavera: Mavera, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"

    mavera("study", "new", str(path))

    assert json.loads(mavera("study", "check", str(path), "--json").stdout)["ok"]
    assert "exists already" in mavera("study", "new", str(path), code=1).stderr
    refused = mavera("study", "new", str(tmp_path / "none" / "study.yaml"), code=1)
    assert refused.stderr.count("\n") == 1
    assert "No such file or directory" in refused.stderr


def test_check_names_the_lines_of_unknown_personas_and_of_a_sample_that_fits_nobody(
    mavera: Mavera, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(STUDY.replace("boomer", "boomr").replace("gen-z-consumer", "nobody-at-all"), "utf-8")

    faults = json.loads(mavera("study", "check", str(path), "--json", code=1).stdout)["faults"]

    assert [(one["line"], one["path"]) for one in faults] == [(3, "personas[0]"), (3, "personas[1]")]
    assert "Did you mean 'boomer'?" in faults[1]["message"]
    for command in ("estimate", "run"):
        assert "line 3, personas[1]" in mavera("study", command, str(path), code=1).stderr

    path.write_text(STUDY.replace("seed: 7}", "seed: 7, weights: {region: {North: 100}}}"), "utf-8")
    checked = mavera("study", "check", str(path), code=1)
    assert "line 4, sample.weights.region: No persona has the attribute 'region'" in checked.stderr


def test_check_finds_the_personas_of_the_workspace(mavera: Mavera, tmp_path: Path) -> None:
    mavera("workspaces", "create", "Studies")
    made = json.loads(mavera("personas", "create", "Divers", "--description", "They dive", "--json").stdout)
    path = tmp_path / "divers.yaml"
    path.write_text(STUDY.replace("boomer", made["id"]), "utf-8")

    assert "3 personas" in mavera("study", "check", str(path)).stdout


def test_an_estimate_counts_the_reads_that_the_run_makes(
    mavera: Mavera, concept: Path, done: dict[str, Any]
) -> None:
    quote = json.loads(mavera("study", "estimate", str(concept), "--json").stdout)

    assert quote["model_reads"] == done["usage"]["model_reads"]
    assert quote["prior_reads"] == 0  # the run has measured them
    assert quote["credits"] == 33 + 50 + 8
    shown = mavera("study", "estimate", str(concept)).stdout
    assert f"{quote['model_reads']} reads of the model; " in shown
    assert "91 credits" in shown
    refused = mavera("study", "estimate", str(concept), "--model", "no-such-model", code=1)
    assert "There is no model" in refused.stderr


def test_a_run_writes_every_file(done: dict[str, Any], folder: Path) -> None:
    assert done["status"] == "COMPLETED"
    names = sorted(path.name.removeprefix(done["id"]) for path in (folder / "out").iterdir())
    assert names == sorted(
        ["-csv.zip", ".xlsx", "-sav.zip", "-triples.zip", ".json", "-cells.jsonl", ".html"]
    )


def test_a_run_that_cannot_write_its_files_does_not_begin(
    mavera: Mavera, concept: Path, done: dict[str, Any]
) -> None:
    before = mavera("study", "list", "--json").stdout

    refused = mavera("study", "run", str(concept), "--out", str(concept / "out"), code=1)

    assert "cannot be made: Not a directory" in refused.stderr
    assert mavera("study", "list", "--json").stdout == before


def test_the_last_study_is_shown_and_listed(mavera: Mavera, done: dict[str, Any]) -> None:
    shown = mavera("study", "show").stdout
    assert "Oat [drink]" in shown
    assert re.search(r"Yes .*█.* \d+%", shown)

    listed = json.loads(mavera("study", "list", "--json").stdout)
    assert [one["id"] for one in listed if one["id"] == done["id"]] == [done["id"]]
    assert "Oat [drink]" in mavera("study", "list").stdout
    assert json.loads(mavera("study", "show", done["id"], "--json").stdout)["results"] == done["results"]


def test_a_study_is_exported_into_a_new_folder(
    mavera: Mavera, done: dict[str, Any], tmp_path: Path, concept: Path
) -> None:
    out = tmp_path / "a" / "b"

    written = json.loads(
        mavera("study", "export", done["id"], "--out", str(out), "--format", "html", "--json").stdout
    )

    assert written["files"] == [str(out / f"{done['id']}.html")]
    assert "synthetic" in (out / f"{done['id']}.html").read_text("utf-8").lower()
    refused = mavera("study", "export", done["id"], "--out", str(concept / "x"), code=1)
    assert "cannot be made" in refused.stderr
    assert "no format 'pdf'" in mavera("study", "export", "--format", "pdf", code=1).stderr


@pytest.mark.parametrize("command", ["show", "export", "retry", "cancel", "copy", "share"])
def test_an_unknown_study_is_one_line(mavera: Mavera, done: dict[str, Any], command: str) -> None:
    refused = mavera("study", command, "fg_000000000000000000000000", code=1)

    assert refused.stderr == (
        "mavera: This workspace has no such focus group. `mavera study list` lists them.\n"
    )


def test_a_copy_with_changes_keeps_the_cells_and_is_compared(
    mavera: Mavera, start: Mavera, done: dict[str, Any], tmp_path: Path
) -> None:
    changes = tmp_path / "changes.yaml"
    changes.write_text("name: Second wave\nsample: {size: 60}\n", "utf-8")

    copy = json.loads(start("study", "copy", done["id"], str(changes), "--json").stdout)

    assert copy["name"] == "Second wave"
    assert copy["usage"]["model_reads"] == 0
    assert copy["sample"]["respondents"] == 60
    assert copy["method"]["seed"] == 7  # a change of the sample leaves its seed

    ids = (done["id"], copy["id"])
    compared = json.loads(mavera("study", "compare", *ids, "--json").stdout)
    assert [one["id"] for one in compared["studies"]] == list(ids)
    shown = mavera("study", "compare", *ids).stdout
    share = next(iter(done["results"][0]["distribution"].values()))
    assert f"{share:.0%}" in shown
    assert f"{share:.3g}" not in shown
    assert "How much do you agree? · It is tasty" in shown
    assert "Oat [drink] A" in shown


def test_a_comparison_needs_different_studies(mavera: Mavera, done: dict[str, Any]) -> None:
    for ids in ((done["id"],), (done["id"], done["id"])):
        refused = mavera("study", "compare", *ids, code=1)
        assert "two to five" in refused.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"name: [", "line 2: This is not valid YAML"),
        (b"a: &a [x]\nname: *a\n", "line 1: Anchors and aliases"),
        (b"- name\n", "has no fields to change"),
        (b"colour: red\n", "'colour' is not a field here"),
    ],
)
def test_changes_that_are_none_are_refused(
    mavera: Mavera, done: dict[str, Any], tmp_path: Path, text: bytes, says: str
) -> None:
    changes = tmp_path / "changes.yaml"
    changes.write_bytes(text)

    assert says in mavera("study", "copy", done["id"], str(changes), code=1).stderr


def test_answers_of_people_are_drawn_beside_the_simulation(
    mavera: Mavera, done: dict[str, Any], tmp_path: Path
) -> None:
    answers = tmp_path / "people.csv"
    personas = {persona.name: persona.id for persona in PersonaLibrary.load()}
    text = PEOPLE.replace("gen-z-consumer", personas["Gen Z Consumer"]).replace("boomer", personas["Boomer"])
    answers.write_text(text, "utf-8-sig")

    drawn = mavera("study", "human", done["id"], str(answers)).stdout

    assert "Answers of 40 people" in drawn
    assert "Would you recommend it?   base 40 people" in drawn
    assert re.search(r"Yes +│ \d+% +│ 65% +│ \d+–\d+ +│ \d+% +│ \d+–\d+", drawn)
    assert re.search(r"│ [+-]\d+ +│ [+-]\d+ +│ [+-]\d+ to [+-]\d+ +│ [+-]\d+ +│ [+-]\d+ to [+-]\d+", drawn)
    assert "Answers of 40 people" in mavera("study", "show", done["id"]).stdout
    human = json.loads(mavera("study", "human", done["id"], str(answers), "--json").stdout)
    assert human["people"] == 40
    assert {one["question_id"] for one in human["estimates"]} == {"q1", "q2"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q1\nYes\n", "The file has 1 person"),
        ("q1\nYes\nNo\nMaybe\n", "Line 4, q1: 'Maybe' is not an answer"),
        ("q1,q9\nYes,1\nNo,2\nNo,3\n", "The column 'q9' is not a question"),
        ("q4_1\n1\n0\n1\n", "The column 'q4_2' is missing"),
        ("q1,persona_id\nYes,x\nNo,x\nNo,x\n", "'x' is not a persona of this study"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    mavera: Mavera, done: dict[str, Any], tmp_path: Path, text: str, says: str
) -> None:
    answers = tmp_path / "people.csv"
    answers.write_text(text, "utf-8")

    assert says in mavera("study", "human", done["id"], str(answers), code=1).stderr


def test_a_questionnaire_is_imported_once(mavera: Mavera, tmp_path: Path) -> None:
    source, out = tmp_path / "survey.json", tmp_path / "study.yaml"
    elements = [
        {"type": "boolean", "name": "q1", "title": "Do you drink oat milk?"},
        {"type": "file", "name": "q2", "title": "Upload a photo."},
    ]
    source.write_text(json.dumps({"elements": elements}), "utf-8")

    imported = mavera("study", "import", str(source), "--out", str(out))

    assert msgspec.yaml.decode(out.read_bytes())["questions"][0]["type"] == "yes_no"
    assert "Not carried over: " in imported.stderr
    assert "exists already" in mavera("study", "import", str(source), "--out", str(out), code=1).stderr
    again = json.loads(mavera("study", "import", str(source), "--json").stdout)
    assert again["report"]
    assert "no format 'pdf'" in mavera("study", "import", str(source), "--format", "pdf", code=1).stderr
    source.write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in mavera("study", "import", str(source), code=1).stderr


def test_a_panel_is_shown_and_then_made(mavera: Mavera, tmp_path: Path) -> None:
    table = tmp_path / "customers.csv"
    table.write_text("age,region\n" + "18-34,North\n55+,South\n18-34,South\n" * 4, "utf-8")

    shown = mavera("study", "panel", str(table), "--by", "age")
    assert "66.7%" in shown.stdout
    assert "Nothing is made yet" in shown.stdout

    made = json.loads(mavera("study", "panel", str(table), "--by", "age", "--create", "--json").stdout)
    assert [one["weight"] for one in made["personas"]] == [0.6667, 0.3333]
    assert made["personas"][0]["id"] in mavera("personas", "list", "--custom", "--json").stdout

    assert "no column 'sex'" in mavera("study", "panel", str(table), "--by", "sex", code=1).stderr
    table.write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in mavera("study", "panel", str(table), "--by", "age", code=1).stderr


@pytest.mark.parametrize(
    "command",
    [
        ("check", "{}"),
        ("run", "{}"),
        ("import", "{}"),
        ("panel", "{}", "--by", "age"),
        ("human", "last", "{}"),
        ("copy", "last", "{}"),
    ],
)
def test_a_folder_or_a_missing_file_is_no_file(
    mavera: Mavera, tmp_path: Path, command: tuple[str, ...]
) -> None:
    for path in (tmp_path, tmp_path / "none"):
        refused = mavera("study", *(one.format(path) for one in command), code=2)
        assert "is a directory" in refused.stderr or "does not exist" in refused.stderr


CELLS = 12
LONG = """\
study: 1
name: {name}
personas: [gen-z-consumer, boomer, budget-shopper]
sample: {{size: 10}}
questions:
  - {{id: q1, type: open_ended, text: What do you drink?, verbatims: 1}}
  - {{id: q2, type: open_ended, text: What do you eat?, verbatims: 1}}
  - {{id: q3, type: open_ended, text: What do you buy?, verbatims: 1}}
"""


class Gate:
    """Lets an upstream answer five requests, and the others once the gate is open."""

    def __init__(self) -> None:
        self.left = 5
        self.is_open = False

    async def behave(self, request: web.Request) -> web.StreamResponse:
        self.left -= 1
        # The test opens the gate in another thread.
        while self.left < 0 and not self.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return await answer()(request)


@dataclass
class Interrupted:
    """A study whose command waits for its model, after five of its twelve cells."""

    environment: dict[str, str]
    gate: Gate
    file: Path
    process: "subprocess.Popen[str]"

    def interrupt(self) -> str:
        """Press Ctrl-C, and return what the command says on standard error."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=120)
        assert self.process.returncode == 130
        return said

    def read_cells(self) -> dict[str, str]:
        return read_cells(self.environment)


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Interrupted]:
    gate, file = Gate(), tmp_path / "long.yaml"
    file.write_text(LONG.format(name=tmp_path.name), "utf-8")
    with running_upstream() as upstream:
        upstream.script = [gate.behave]
        environment = {
            **os.environ,
            "MAVERA_DATA_DIR": str(tmp_path / "data"),
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": upstream.url,
            "MAVERA_UPSTREAM_MODEL": "slow",
            "MAVERA_MAX_RUNNING": "1",
        }
        command = [sys.executable, "-m", "mavera", "study", "run", str(file)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                deadline = time.monotonic() + 120
                while len(read_cells(environment)) < 5:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                yield Interrupted(environment, gate, file, process)
            finally:
                process.kill()


def read_cells(environment: dict[str, str]) -> dict[str, str]:
    """Return the answers of the only study of a store, by the keys of their cells."""
    path = Path(environment["MAVERA_DATA_DIR"]) / "mavera.db"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return dict(database.execute("SELECT key, body FROM focus_group_cells WHERE status = 'answered'"))
    except sqlite3.OperationalError:  # there are no tables yet
        return {}


def test_ctrl_c_keeps_the_answers_and_the_same_command_goes_on(
    interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    mavera = call_mavera(interrupted.environment, monkeypatch)
    refused = mavera("study", "run", str(interrupted.file), code=1)
    assert "Another process runs fg_" in refused.stderr

    said = interrupted.interrupt()

    assert "is interrupted. The same command goes on with it." in said
    assert "Traceback" not in said
    kept = interrupted.read_cells()
    assert len(kept) == 5
    (listed,) = json.loads(mavera("study", "list", "--json").stdout)
    assert (listed["status"], listed["cells"]["answered"]) == ("PROCESSING", 5)
    assert "PROCESSING" in mavera("study", "show").stdout

    interrupted.gate.is_open = True
    resumed = mavera("study", "run", str(interrupted.file), "--json")

    assert f"Going on with {listed['id']}." in resumed.stderr
    assert json.loads(resumed.stdout)["status"] == "COMPLETED"
    answers = interrupted.read_cells()
    assert len(answers) == CELLS
    assert kept.items() <= answers.items()


def test_an_interrupted_study_can_be_cancelled_and_taken_up_again(
    interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    mavera = call_mavera(interrupted.environment, monkeypatch)
    interrupted.interrupt()

    cancelled = json.loads(mavera("study", "cancel", "last", "--json").stdout)

    assert cancelled["status"] == "CANCELLED"
    interrupted.gate.is_open = True
    ended = json.loads(mavera("study", "retry", cancelled["id"], "--json").stdout)
    assert (ended["id"], ended["status"]) == (cancelled["id"], "COMPLETED")
    assert len(interrupted.read_cells()) == CELLS
    nothing = mavera("study", "retry", cancelled["id"], code=1)
    assert "There is nothing to retry" in nothing.stderr


def test_a_study_that_runs_is_cancelled_from_another_terminal(
    interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    mavera = call_mavera(interrupted.environment, monkeypatch)

    assert "stops now" in mavera("study", "cancel", "last").stdout

    interrupted.process.communicate(timeout=120)
    assert interrupted.process.returncode == 0
    (listed,) = json.loads(mavera("study", "list", "--json").stdout)
    assert (listed["status"], listed["cells"]["answered"]) == ("CANCELLED", 5)
