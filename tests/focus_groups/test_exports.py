"""
Every export is read back with the tools of its readers: labels, bases, weights, and no formula anywhere.
"""

import csv
import io
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openpyxl
import pandas as pd
import pyreadstat
import pytest

from mavera.core.text import escape_formula
from mavera.focus_groups.exports import FORMATS, ExportFile, Format, build_export, pack_files
from mavera.focus_groups.respondents import Status
from mavera.focus_groups.simulation import SYNTHETIC, Simulation
from mavera.focus_groups.study import MultipleChoice, Option, YesNo
from mavera.focus_groups.themes import Theme
from tests.support.simulations import build_panel, build_study, elicit_randomly, simulate_plainly


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    theme = Theme("=Yes", ("yes",), ("=persona0 says yes, a",), 1.0)
    return simulate_plainly(themes={"q8": (theme,)})


def _export(simulation: Simulation, file_format: Format) -> tuple[ExportFile, ...]:
    return build_export(simulation, file_format)


def _read_sav(content: bytes) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.sav"
        path.write_bytes(content)
        frame, meta = pyreadstat.read_sav(str(path), user_missing=True)
    return frame, meta


# CSV


def test_the_csv_has_a_row_for_each_respondent(simulation: Simulation) -> None:
    data, book = _export(simulation, "csv")
    frame = pd.read_csv(io.BytesIO(data.content))
    codes = pd.read_csv(io.BytesIO(book.content))

    assert len(frame) == 60
    assert (frame["synthetic"] == 1).all()
    assert frame["weight"].sum() == pytest.approx(60, abs=1e-3)
    assert set(frame["q1"]) <= {*range(11), 99}
    assert (frame.loc[frame["q1"] == 99, "q1_status"] == "missing").all()
    labels = codes[codes["variable"] == "q2"].set_index("code")["code_label"]
    assert labels[5] == "Strongly agree"
    assert set(frame.columns) - set(codes["variable"]) == {
        f"{one.id}_status" for one in simulation.study.questions
    }
    assert SYNTHETIC in set(codes["label"])


def test_the_weights_of_the_file_reach_the_targets(simulation: Simulation) -> None:
    frame = pd.read_csv(io.BytesIO(_export(simulation, "csv")[0].content))

    # The codes of an attribute follow the alphabet: 1 is 18-34.
    assert frame.loc[frame["age"] == 1, "weight"].sum() / frame["weight"].sum() == pytest.approx(
        0.4, abs=1e-4
    )


@pytest.mark.parametrize("file_format", ["csv", "triples"])
def test_no_cell_of_a_csv_starts_a_formula(simulation: Simulation, file_format: Format) -> None:
    contents = []
    for file in _export(simulation, file_format):
        if file.name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
                contents += [archive.read(name) for name in archive.namelist() if name.endswith(".csv")]
        else:
            contents.append(file.content)

    cells = [
        cell for one in contents for row in csv.reader(io.StringIO(one.decode("utf-8-sig"))) for cell in row
    ]

    assert any("says yes" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_text_that_starts_a_formula_is_escaped(text: str) -> None:
    assert escape_formula(text) == f"'{text}"


def test_other_texts_are_left_alone() -> None:
    assert escape_formula("a = b") == "a = b"


# Excel


def test_the_workbook_has_tables_with_bases_per_cents_means_and_letters(simulation: Simulation) -> None:
    (file,) = _export(simulation, "xlsx")
    book = openpyxl.load_workbook(io.BytesIO(file.content))

    assert book.sheetnames == ["Contents", "Tables", "Choices", "Verbatims", "Method"]
    rows = [[cell.value for cell in row] for row in book["Tables"].iter_rows()]
    start = next(at for at, row in enumerate(rows) if str(row[0]).startswith("q2  "))
    head, labels, letters, base, first = rows[start + 1 : start + 6]
    assert head[1] == "Total"
    assert "Persona" in head
    assert labels[4] == "'=Person 1"
    assert letters[4:10] == list("ABCDEF")
    assert base[0] == "Base (rows of the file)"
    assert base[1] == 60
    assert first[0] == "Strongly disagree"
    assert 0 < first[1] < 1
    assert first[2] < first[1] < first[3]
    block = [row[0] for row in rows[start : start + 30]]
    assert {"Top 2 boxes", "Mean", "Standard deviation"} <= set(block)
    table = next(one for one in simulation.tables if one.question_id == "q2")
    shown = {cell for row in rows for cell in row if isinstance(cell, str)}
    assert {entry.letters for line in table.lines for entry in line.entries if entry.letters} <= shown


def test_the_workbook_holds_no_formula(simulation: Simulation) -> None:
    book = openpyxl.load_workbook(io.BytesIO(_export(simulation, "xlsx")[0].content))

    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]

    assert not [cell for cell in cells if cell.data_type == "f"]
    assert not [cell for cell in cells if str(cell.value)[:1] in set("=+@")]
    assert not [cell for cell in cells if isinstance(cell.value, str) and cell.value.startswith("-")]


def test_the_workbook_says_synthetic_on_every_sheet_and_explains_letters(simulation: Simulation) -> None:
    book = openpyxl.load_workbook(io.BytesIO(_export(simulation, "xlsx")[0].content))

    for sheet in book:
        assert SYNTHETIC in {cell.value for row in sheet.iter_rows(max_row=3) for cell in row}
    method = " ".join(str(cell.value) for row in book["Method"].iter_rows() for cell in row if cell.value)
    assert "Holm" in method
    assert "no margin of error" in method
    assert "sha256:0123" in method


def test_the_verbatims_have_persona_and_theme(simulation: Simulation) -> None:
    book = openpyxl.load_workbook(io.BytesIO(_export(simulation, "xlsx")[0].content))
    rows = [[cell.value for cell in row] for row in book["Verbatims"].iter_rows(min_row=3)]

    assert len(rows) == 6 * 2 * 3
    assert rows[0] == ["q8", "'=Person 1", "a", "", "'=persona0 says yes, a", "'=Yes"]


# SPSS


def test_the_sav_has_labels_and_user_missing_values(simulation: Simulation) -> None:
    data, _ = _export(simulation, "sav")
    frame, meta = _read_sav(data.content)

    assert len(frame) == 60
    assert meta.file_label.startswith("SYNTHETIC - Oat drink")
    assert meta.column_names_to_labels["q2"].startswith('It is "worth" its price')
    assert meta.variable_value_labels["q2"][5] == "Strongly agree"
    assert meta.variable_value_labels["q1"][99] == "Don't know"
    assert meta.missing_ranges["q1"] == [{"lo": 99.0, "hi": 99.0}]
    assert meta.variable_value_labels["persona"][1] == "=Person 1"
    assert meta.variable_measure["q1"] == "ordinal"
    assert meta.variable_measure["weight"] == "scale"
    assert SYNTHETIC in " ".join(meta.notes)
    assert frame["weight"].sum() == pytest.approx(60)


def test_the_sav_agrees_with_the_respondents(simulation: Simulation) -> None:
    frame, meta = _read_sav(_export(simulation, "sav")[0].content)
    answers = simulation.draw.completes.answers

    assert frame["q2"].tolist() == (answers["q2"].choices + 1).tolist()
    assert frame["q3_2"].tolist() == answers["q3"].choices[:, 1].astype(float).tolist()
    assert frame["q8"].tolist() == [answers["q8"].texts[at] for at in answers["q8"].choices]
    ranks = frame[["q5_1", "q5_2", "q5_3", "q5_4"]].to_numpy()
    assert (np.sort(ranks, axis=1) == [1, 2, 3, 4]).all()
    assert (ranks.argmin(axis=1) == answers["q5"].choices[:, 0]).all()
    assert meta.variable_value_labels["q6_1_best"][1] == "Price"
    assert meta.variable_value_labels["q7_1"][4] == "None of these"


def test_the_syntax_defines_the_set_and_the_weight(simulation: Simulation) -> None:
    syntax = _export(simulation, "sav")[1].content.decode()

    assert "/MDGROUP NAME=$q3" in syntax
    assert "VARIABLES=q3_1 q3_2 q3_3 q3_4 q3_5 VALUE=1" in syntax
    assert "WEIGHT BY weight." in syntax
    assert SYNTHETIC in syntax
    assert max(map(len, syntax.splitlines())) <= 256


def test_the_header_carries_the_date_of_the_study_and_not_the_clock(simulation: Simulation) -> None:
    content = _export(simulation, "sav")[0].content

    assert content[92:101] == b"14 Nov 23"
    assert content[101:109] == b"22:13:20"


# Triple-S


def _read_triples(archive: bytes) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Read a Triple-S 2.0 archive with CSV data, as the public format describes it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        definition = next(name for name in files.namelist() if name.endswith(".sss"))
        root = ElementTree.fromstring(files.read(definition))
        assert root.tag == "sss"
        assert root.get("version") == "2.0"
        record = root.find("survey/record")
        assert record is not None
        assert record.get("format") == "csv"
        lines = list(csv.reader(io.StringIO(files.read(str(record.get("href"))).decode())))
    skipped = int(record.get("skip") or 0)
    variables: dict[str, Any] = {}
    for one in record.findall("variable"):
        position = one.find("position")
        assert position is not None
        values = one.find("values")
        variables[str(one.findtext("name"))] = {
            "type": one.get("type"),
            "use": one.get("use"),
            "label": one.findtext("label"),
            "field": int(str(position.get("start"))),
            "values": {}
            if values is None
            else {str(value.get("code")): value.text for value in values.findall("value")},
            "range": None if values is None else values.find("range"),
        }
    rows = [{name: line[one["field"] - 1] for name, one in variables.items()} for line in lines[skipped:]]
    return variables, rows


def test_the_archive_is_read_by_a_triple_s_reader(simulation: Simulation) -> None:
    (file,) = _export(simulation, "triples")
    variables, rows = _read_triples(file.content)

    assert len(rows) == 60
    assert variables["respondent_id"]["use"] == "serial"
    assert variables["weight"]["use"] == "weight"
    assert variables["q3"]["type"] == "multiple"
    assert variables["q3"]["values"]["2"] == "=Price, +value"
    ticks = simulation.draw.completes.answers["q3"].choices
    assert [row["q3"] for row in rows] == ["".join(str(int(tick)) for tick in row) for row in ticks]
    assert variables["q8"]["type"] == "character"
    assert variables["q1"]["values"]["99"] == "Don't know"
    for name, one in variables.items():
        for row in rows:
            if one["type"] == "single" and row[name]:
                assert row[name] in one["values"]
            if one["type"] == "quantity" and row[name]:
                low, high = (float(one["range"].get(end)) for end in ("from", "to"))
                assert low <= float(row[name]) <= high or row[name] in one["values"]


# JSON, cells, HTML


def test_json_and_cells_are_what_the_server_answers(simulation: Simulation) -> None:
    wire = msgspec.json.decode(_export(simulation, "json")[0].content)
    lines = [msgspec.json.decode(line) for line in _export(simulation, "cells")[0].content.splitlines()]

    assert wire["object"] == "focus_group"
    assert lines[0]["notice"] == SYNTHETIC
    assert len(lines) == 1 + len(simulation.book)
    assert {line["status"] for line in lines[1:]} == {"answered"}
    parts = list(dict.fromkeys(line["part"] for line in lines[1:] if line["question_id"] == "q7"))
    assert parts == [str(at) for at in range(1, 9)]


def test_a_failed_cell_is_in_the_record_with_its_reason() -> None:
    study = build_study(3, cells=(), questions=(YesNo(id="y", text="?"),))
    book = elicit_randomly(study, build_panel(study))
    failed = next(iter(book))
    del book[failed]
    simulation = simulate_plainly(study, book, failures={failed: "The model answered no letter."})

    lines = [msgspec.json.decode(line) for line in _export(simulation, "cells")[0].content.splitlines()]

    assert lines[1]["status"] == "failed"
    assert lines[1]["error"] == "The model answered no letter."
    frame = pd.read_csv(io.BytesIO(_export(simulation, "csv")[0].content))
    assert (frame.loc[frame["persona_id"] == failed.persona, "y_status"] == "failed").all()
    assert frame.loc[frame["persona_id"] == failed.persona, "y"].isna().all()


class _Page(HTMLParser):
    """Collects the tags and the visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_is_one_page_that_loads_nothing(simulation: Simulation) -> None:
    content = _export(simulation, "html")[0].content.decode()
    page = _Page()
    page.feed(content)

    assert SYNTHETIC in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) >= 12
    assert not [tag for tag, _ in page.tags if tag in {"img", "link", "iframe", "object"}]
    assert not [attrs for tag, attrs in page.tags if tag == "script" and "src" in attrs]
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert links
    assert all(link.startswith("#") for link in links)
    for one in simulation.study.questions:
        assert one.text in page.text
    assert "<not>" in page.text
    assert "Share simulator" in page.text


def test_the_charts_are_well_formed_svg(simulation: Simulation) -> None:
    content = _export(simulation, "html")[0].content.decode()
    charts = [f"<svg{part.split('</svg>')[0]}</svg>" for part in content.split("<svg")[1:]]

    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.find("{http://www.w3.org/2000/svg}title") is not None
        for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
            assert float(str(rect.get("width"))) >= 0


def test_a_text_cannot_leave_the_script_of_the_simulator() -> None:
    study = build_study(
        3,
        cells=(),
        questions=(
            MultipleChoice(
                id="q",
                text="</script><script>alert(1)</script>",
                options=(Option(text="<b>"), Option(text="\"'&")),
            ),
        ),
    )
    content = _export(simulate_plainly(study), "html")[0].content.decode()

    assert "<script>alert" not in content
    assert "<b>" not in content.split("</style>")[1].split("<details>")[0]


# All formats


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_study_gives_the_same_bytes(file_format: Format) -> None:
    first = [file.content for file in _export(simulate_plainly(), file_format)]
    second = [file.content for file in _export(simulate_plainly(), file_format)]

    assert first == second
    assert all(first)


def test_the_date_follows_the_epoch_of_the_source() -> None:
    content = _export(simulate_plainly(source_date=0), "sav")[0].content

    assert content[92:109] == b"01 Jan 7000:00:00"


def test_several_files_are_packed_into_an_archive_without_a_clock(simulation: Simulation) -> None:
    files = _export(simulation, "sav")
    packed = pack_files(files, "fg_test-sav")

    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.namelist() == ["fg_test.sav", "fg_test.sps"]
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    assert pack_files(files[:1], "x") is files[0]


def test_a_question_that_nobody_was_asked_has_no_values() -> None:
    study = build_study(
        3,
        cells=(),
        questions=(
            YesNo(id="a", text="?"),
            MultipleChoice(
                id="b",
                text="?",
                multiple=True,
                show_if="a = yes",
                options=(Option(text="x"), Option(text="y")),
            ),
        ),
        banner=(),
    )
    simulation = simulate_plainly(study)
    skipped = simulation.draw.completes.answers["b"].status == Status.SKIPPED

    frame, _ = _read_sav(_export(simulation, "sav")[0].content)
    _, rows = _read_triples(_export(simulation, "triples")[0].content)

    assert skipped.any()
    assert frame.loc[skipped, "b_1"].isna().all()
    assert frame.loc[~skipped, "b_1"].notna().all()
    assert [row["b"] == "" for row in rows] == skipped.tolist()
