"""`mavera personas` as a user types it, with files in and out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.personas.builtin import PersonaLibrary
from mavera.personas.custom import Sheet
from mavera.personas.files import from_csv, from_toml, to_sheet, to_toml
from tests.support.command import Mavera

CSV = """\
name,type,description,goals,mcda_weights
Café owners,B2C,"They open at six; they close at four",a quiet Sunday;a dishwasher,
Lab managers,b2b,They buy pipettes,,price=2;risk=5
"""


@pytest.fixture
def store(mavera: Mavera) -> None:
    mavera("workspaces", "create", "Studies")


def test_a_persona_is_exported_changed_and_imported_under_another_name(
    mavera: Mavera, store: None, tmp_path: Path
) -> None:
    file = tmp_path / "bakery.toml"
    mavera("personas", "export", "smb owner", "-o", str(file))
    file.write_text(file.read_text("utf-8").replace('name = "SMB Owner"', 'name = "Bakery owner"'), "utf-8")

    [made] = json.loads(mavera("personas", "import", str(file), "--json").stdout)

    assert made["done"] == "made"
    shown = mavera("personas", "show", "bakery owner").stdout
    assert made["id"] in shown
    again = mavera("personas", "import", str(file)).stdout
    assert again.startswith("skipped")
    replaced = mavera("personas", "import", str(file), "--on-duplicate", "replace").stdout
    assert replaced.startswith("replaced")
    assert len(json.loads(mavera("personas", "list", "--custom", "--json").stdout)) == 1


def test_a_csv_of_segments_becomes_personas(mavera: Mavera, store: None, tmp_path: Path) -> None:
    file = tmp_path / "segments.csv"
    file.write_bytes(b"\xef\xbb\xbf" + CSV.encode())

    made = json.loads(mavera("personas", "import", str(file), str(file), "--json", "--draft").stdout)

    assert [one["done"] for one in made] == ["made", "made", "skipped", "skipped"]
    toml = mavera("personas", "export", "lab managers").stdout
    assert "[details.mcda_weights]\nprice = 2\nrisk = 5\n" in toml
    assert "[demographics]" in toml


def test_a_persona_is_made_and_edited_from_the_command_line(
    mavera: Mavera, store: None, tmp_path: Path
) -> None:
    made = json.loads(mavera("personas", "create", "Divers", "--description", "They dive", "--json").stdout)
    file = tmp_path / "divers.toml"
    mavera("personas", "export", made["id"], "-o", str(file))
    file.write_text(file.read_text("utf-8").replace("They dive", "They dive deep"), "utf-8")

    mavera("personas", "edit", "divers", EDITOR="true")
    assert "version 2" in mavera("personas", "edit", "divers", "--file", str(file)).stdout
    assert "They dive deep" in mavera("personas", "show", "divers").stdout
    refused = mavera("personas", "edit", "gen x", "--file", str(file), code=1)
    assert "belongs to the library" in refused.stderr


def test_a_draft_is_shown_and_written_before_it_is_a_persona(
    mavera: Mavera, store: None, tmp_path: Path
) -> None:
    file = tmp_path / "nurse.toml"
    asked = (
        "personas",
        "draft",
        "Night nurse",
        "--description",
        "Nurses aged 41 in Leeds who wait 35 minutes",
    )

    shown = mavera(*asked, "-o", str(file)).stdout

    assert "41, " in shown
    assert "Home: Leeds" in shown
    assert "? Do you " in shown
    assert "does not repeat: 35" in shown
    assert json.loads(mavera("personas", "list", "--custom", "--json").stdout) == []
    assert mavera("personas", "import", str(file)).stdout.startswith("made")
    refused = mavera(*asked, "-o", str(tmp_path / "missing" / "nurse.toml"), code=1)
    assert "No such folder" in refused.stderr
    assert "Drafting" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "name,gaols\nx,y\n", "goals"),
        ("a.csv", "title\nx\n", "no column 'name'"),
        ("a.csv", "name\nx\n", "line 2"),
        ("a.csv", "name,type\nDivers,b2x\n", "line 2"),
        ("a.csv", 'name\n"Divers\n', "line 2"),
        ("a.csv", "name,name,description\nDivers,Sailors,x\n", "twice"),
        ("a.csv", "name,,description\nDivers,what,x\n", "no column: 'what'"),
        ("a.csv", "name,description\nDivers,x,y\n", "no column: 'y'"),
        ("a.csv", "name,description,is_localized\nDivers,x,maybe\n", "yes or no"),
        ("a.csv", "name,description\n", "no rows"),
        ("a.toml", "name = ", "TOML"),
        ("a.toml", "age = " + "9" * 5000, "TOML"),
        ("a.toml", "age = " + "[" * 5000, "TOML"),
        ("a.toml", 'name = "Divers"\nvalues = ["one"]\n', "is not valid"),
        ("a.txt", "Divers", "neither"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_place(
    mavera: Mavera, tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8")

    refused = mavera("personas", "import", str(tmp_path / name), code=1)

    assert said in " ".join(refused.stderr.split())
    assert name in refused.stderr


@pytest.mark.parametrize("persona", PersonaLibrary.load().list()[::9], ids=lambda persona: persona.name)
def test_a_persona_of_the_library_survives_its_file(persona: object) -> None:
    sheet = to_sheet(persona)  # type: ignore[arg-type]
    assert from_toml(to_toml(sheet).encode(), "a.toml") == sheet


@given(st.text(min_size=1, max_size=200), st.lists(st.text(min_size=1, max_size=50), max_size=5))
def test_any_text_survives_its_file(description: str, goals: list[str]) -> None:
    sheet = Sheet.from_members(
        pipeline_type="advanced",
        name="Anyone",
        category="Lifestyle",
        description=f"x{description}",
        details={"goals": goals, "mcda_weights": {"a b": 3}},
    )
    assert from_toml(to_toml(sheet).encode(), "a.toml") == sheet


def test_semicolons_may_part_the_columns() -> None:
    [sheet] = from_csv("Name;Description\nDivers;They dive, deep\n".encode("utf-8-sig"), "a.csv")
    assert (sheet.name, sheet.description) == ("Divers", "They dive, deep")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_may_come_from_any_spreadsheet(encoding: str, end: str) -> None:
    lines = ["Name,Description,,", "Café owners,They open at six,,,", "", ",,,,", "Divers,They dive,,"]
    sheets = from_csv(end.join(lines).encode(encoding), "a.csv")
    assert [sheet.name for sheet in sheets] == ["Café owners", "Divers"]


def test_too_many_personas_are_refused_before_one_is_stored(
    mavera: Mavera, store: None, tmp_path: Path
) -> None:
    file = tmp_path / "many.csv"
    file.write_text("name,description\n" + "".join(f"People {n},x\n" for n in range(10_000)), "utf-8")

    assert "10,000 new" in mavera("personas", "import", str(file), code=1).stderr
    assert json.loads(mavera("personas", "list", "--custom", "--json").stdout) == []


def test_one_of_the_workspaces_own_answers_at_the_terminal(mavera: Mavera, store: None) -> None:
    made = json.loads(
        mavera("personas", "create", "Divers", "--description", "They dive", "--no-draft", "--json").stdout
    )

    asked = json.loads(mavera("ask", "Cold?", "--persona", "diver", "--json").stdout)
    compared = json.loads(mavera("compare", "Cold?", "-p", made["id"], "-p", "gen x", "--json").stdout)

    assert asked["persona_id"] == made["id"]
    assert asked["text"]
    assert [one["persona"] for one in compared] == [made["id"], "gen x"]
    assert "Divers?" in mavera("ask", "Cold?", "--persona", "divvers", code=1).stderr
