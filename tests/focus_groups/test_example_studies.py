"""The example studies, and the study file of the documentation: each is read and fits its panel."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mavera.focus_groups.asks import Shown, plan_asks
from mavera.focus_groups.cells import count_reads, plan_cells
from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.draw import draw_respondents
from mavera.focus_groups.panel import build_panel
from mavera.focus_groups.panel_checks import check_panel
from mavera.focus_groups.repository import Method
from mavera.focus_groups.study import (
    NPS,
    Arm,
    Attribute,
    Block,
    Conjoint,
    Limits,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Option,
    PersonaChoice,
    Question,
    Quota,
    Ranking,
    Rating,
    Row,
    Sample,
    Stimulus,
    Study,
    YesNo,
    type_of,
)
from mavera.focus_groups.study_checks import list_notices
from mavera.focus_groups.study_file import QUESTION_TYPES, read_study_file
from mavera.personas.builtin import PersonaLibrary
from tests.docs.pages import DOCS, ROOT, rows, sections, ticked
from tests.focus_groups.books import make_book
from tests.focus_groups.studies import make_panel, make_study

EXAMPLES = sorted((ROOT / "examples" / "studies").glob("*.yaml"))
PAGE = DOCS / "reference" / "study-file.md"


@pytest.fixture(scope="module")
def library() -> PersonaLibrary:
    return PersonaLibrary.load()


def read_page() -> str:
    """Return the study file of the page, as a reader copies it."""
    found = re.search(r"```yaml\n(study: 1.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_there_are_five_examples() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "brand_perception",
        "concept_test",
        "message_test",
        "price_test",
        "product_choice",
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_its_command_and_can_be_drawn(path: Path, library: PersonaLibrary) -> None:
    text = path.read_text(encoding="utf-8")

    study = draw_study(text, library)

    assert f"#   mavera study run examples/studies/{path.name}\n" in text
    assert list_notices(study) == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_comment_beside_a_persona_is_its_name(path: Path, library: PersonaLibrary) -> None:
    named = re.findall(r"(c[0-9a-z]{24})\b.*# (.+)", path.read_text(encoding="utf-8"))

    assert named
    assert all(library.get(persona_id).name == name for persona_id, name in named)


def test_the_examples_and_the_page_use_every_type_of_question() -> None:
    texts = [*(path.read_text(encoding="utf-8") for path in EXAMPLES), read_page()]
    used = {type_of(question) for text in texts for question in read_study_file(text).study.questions}

    assert used == set(QUESTION_TYPES)


def draw_study(text: str, library: PersonaLibrary) -> Study:
    file = read_study_file(text)
    panel = build_panel(file.study, [library.get(one.id) for one in file.study.personas])
    check_panel(file.study, panel, file.lines)
    draw = draw_respondents(file.study, panel, make_book(file.study, panel))
    assert len(draw.completes) == file.study.sample.size
    return file.study


def test_the_study_of_the_page_can_be_drawn(library: PersonaLibrary) -> None:
    draw_study(read_page(), library)


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("Study", [Study]),
        ("Personas", [PersonaChoice]),
        ("Sample", [Sample, Quota]),
        ("Limits", [Limits]),
        ("Stimulus", [Stimulus]),
        ("Cells", [Arm]),
        ("Blocks", [Block]),
    ],
)
def test_the_page_lists_every_field(heading: str, kinds: list[type[msgspec.Struct]]) -> None:
    listed = [name for row in rows(sections(PAGE)[heading]) for name in ticked(row[0])]

    assert listed == [name for kind in kinds for name in kind.__struct_fields__]


@pytest.mark.parametrize("name", sorted(QUESTION_TYPES))
def test_the_page_lists_every_field_of_a_question(name: str) -> None:
    found = sections(PAGE)
    shared = [one for row in rows(found["Questions"]) for one in ticked(row[0])]
    own = [one for row in rows(found[name]) for one in ticked(row[0])]
    inner = {"multiple_choice": Option.__struct_fields__, "matrix": Row.__struct_fields__}.get(name, ())

    fields = [*QUESTION_TYPES[name].__struct_fields__]
    assert sorted(own) == sorted([*(one for one in fields if one not in shared), *inner])
    assert set(shared) <= {*fields, "type"}


def test_the_reads_of_the_page_are_those_that_are_planned() -> None:
    five = tuple(Option(text=text) for text in "ABCDE")
    matrix = Matrix(id="q", text="?", rows=tuple(Row(id=f"r{n}", text=f"{n}") for n in range(4)))
    maxdiff = MaxDiff(id="q", text="?", items=tuple("ABCDEFGH"))
    conjoint = Conjoint(id="q", text="?", attributes=(Attribute(name="a", levels=("x", "y", "z")),))
    study = Study(name="?", personas=(), questions=())
    planned = [
        count(NPS(id="q", text="?")),
        count(YesNo(id="q", text="?")),
        count(MultipleChoice(id="q", text="?", options=five), options=tuple("ABCDE")),
        count(MultipleChoice(id="q", text="?", options=five, multiple=True), options=tuple("ABCDE")),
        len(matrix.rows) * count(matrix, row="1"),
        count(Ranking(id="q", text="?", items=five[:4]), options=tuple("ABCD")),
        len(list_sets(study, maxdiff)) * count(maxdiff, alternatives=tuple("ABCD")),
        len(list_tasks(study, conjoint)) * count(conjoint, alternatives=tuple("ABC")),
        count(OpenEnded(id="q", text="?")),
        count_of_persona(OpenEnded(id="q", text="?", rounds=3)),
    ]

    table = [row for row in rows(sections(PAGE)["Reads of the model"]) if len(row) == 4]
    assert [int(row[3]) for row in table] == planned


def count_of_persona(question: Question) -> int:
    """Return the reads of one persona of two, over all rounds of a discussion."""
    method = Method(read="letters", elicitation="letters@1", model_digest="x", record="x")
    cells = plan_cells(make_study(question, personas=2), make_panel(2), method)
    return sum(count_reads(cell, "letters") for cell in cells if cell.id.persona == "p0")


def count(question: Question, **members: Any) -> int:
    return len(plan_asks(Shown(question, "?", "en", **members), "letters"))


def test_the_conditions_of_the_page_are_those_that_are_made() -> None:
    yes_no = YesNo(id="q2", text="?")
    choice = MultipleChoice(id="q1", text="?", options=tuple(Option(text=text) for text in "ABCDEFGH"))
    made = [
        count_conditions(OpenEnded(id="q3", text="Why?"), YesNo(id="s1", text="?", screen_out=("no",))),
        count_conditions(OpenEnded(id="q3", text="Why?", show_if="q1 >= 7"), NPS(id="q1", text="?")),
        count_conditions(OpenEnded(id="q3", text="{q1}"), NPS(id="q1", text="?")),
        count_conditions(OpenEnded(id="q3", text="{q1}"), Rating(id="q1", text="?", points=5)),
        count_conditions(OpenEnded(id="q3", text="{q1}"), Rating(id="q1", text="?", points=4)),
        count_conditions(OpenEnded(id="q3", text="{q2}"), yes_no),
        count_conditions(OpenEnded(id="q3", text="{q1}"), choice),
        count_conditions(OpenEnded(id="q3", text="{q1} {q2}"), NPS(id="q1", text="?"), yes_no),
    ]

    table = [row for row in rows(sections(PAGE)["Reads of the model"]) if len(row) == 2]
    assert [int(row[1]) for row in table] == made


def count_conditions(question: Question, *earlier: Question) -> int:
    study = Study(name="?", personas=(), questions=(*earlier, question))
    return len(conditions_of(study, question))


@pytest.mark.parametrize("size", [10, 2000])
def test_ten_personas_and_twenty_questions_make_440_reads_whatever_the_size(size: int) -> None:
    choice = MultipleChoice(id="q", text="?", options=tuple(Option(text=text) for text in "ABCDE"))
    questions = [
        msgspec.structs.replace(YesNo(id="q", text="?") if n % 2 else choice, id=f"q{n}") for n in range(20)
    ]
    study = make_study(*questions, personas=10, sample=Sample(size=size))

    cells = plan_cells(
        study, make_panel(10), Method(read="letters", elicitation="letters@1", model_digest="x", record="x")
    )

    assert sum(count_reads(cell, "letters") for cell in cells) == 440
