"""In which order questions, options and rows are shown, and what that changes: prompts, and the codebook."""

import csv
import io
from typing import Any

import msgspec
import pytest

from mavera.focus_groups.asks import Shown, plan_asks
from mavera.focus_groups.cells import Cell, count_reads, plan_cells
from mavera.focus_groups.elicit import _read_shares
from mavera.focus_groups.exports import build_export
from mavera.focus_groups.orders import find_places, list_shown, shuffle_for_cell
from mavera.focus_groups.repository import Method
from mavera.focus_groups.study import (
    Arm,
    Block,
    Matrix,
    MultipleChoice,
    OpenEnded,
    Option,
    Question,
    Ranking,
    Row,
    Sample,
    Study,
    YesNo,
)
from tests.focus_groups.studies import make_panel, make_study
from tests.support.simulations import build_study, simulate_plainly

METHOD = Method(read="letters", elicitation="letters@1", model_digest="x", record="x")
TEXTS = ("tea", "milk", "water", "juice", "wine", "beer")
OPTIONS = (*(Option(text=text) for text in TEXTS), Option(text="none", fixed=True))
CHOICE = MultipleChoice(id="q1", text="Which?", options=OPTIONS, order="random", missing=("Don't know",))


def plan(study: Study) -> list[Cell]:
    return list(plan_cells(study, make_panel(3), METHOD))


def test_a_random_list_is_read_in_a_shuffle_of_each_persona_and_in_its_reverse() -> None:
    cells = plan(make_study(CHOICE))
    orders = [[ask.order for ask in plan_asks(cell.shown, "letters")] for cell in cells]

    assert len({first for first, _ in orders}) == 4
    for first, second in orders:
        assert first[6:] == second[6:] == (6, 7)
        assert sorted(first[:6]) == list(range(6))
        assert first[:6] == second[5::-1]
    text = plan_asks(cells[0].shown, "letters")[0].text
    assert "G) none\nH) Don't know" in text
    assert f"A) {TEXTS[orders[0][0][0]]}\n" in text


def test_arms_share_an_order_so_that_they_differ_by_nothing_else() -> None:
    cells = plan(make_study(CHOICE, cells=(Arm(id="a"), Arm(id="b"))))
    orders = {(cell.id.persona, cell.shown.first_order) for cell in cells}
    assert len(cells) == 8
    assert len(orders) == 4


def test_a_random_ranking_is_read_in_each_rotation_of_its_shuffle() -> None:
    items = (*(Option(text=text) for text in TEXTS[:3]), Option(text="last", fixed=True))
    (cell, *_) = plan(make_study(Ranking(id="q1", text="Rank.", items=items, order="random")))
    orders = [ask.order for ask in plan_asks(cell.shown, "letters")]

    assert count_reads(cell, "letters") == 3
    assert {order[3] for order in orders} == {3}
    assert sorted(order[0] for order in orders) == [0, 1, 2]


@pytest.mark.parametrize(
    "question",
    [
        msgspec.structs.replace(CHOICE, multiple=True),
        Matrix(id="q1", text="Agree?", rows=tuple(Row(id=f"r{n}", text=f"{n}") for n in range(4))),
    ],
)
def test_the_order_of_what_is_read_one_by_one_changes_no_cell(question: Any) -> None:
    fixed = plan(make_study(msgspec.structs.replace(question, order="fixed")))
    random = plan(make_study(msgspec.structs.replace(question, order="random")))
    assert [cell.key for cell in random] == [cell.key for cell in fixed]


def test_a_fixed_order_and_its_key_stay_as_they_are() -> None:
    (cell, *_) = plan(make_study(msgspec.structs.replace(CHOICE, order="fixed")))
    assert cell.key == "e7f94063e4c02dee75d07ee87d8fff6d8ffd6d6ea694936e6339485348da9246"
    assert [ask.order for ask in plan_asks(cell.shown, "letters")] == [
        (0, 1, 2, 3, 4, 5, 6, 7),
        (6, 5, 4, 3, 2, 1, 0, 7),
    ]


def test_a_copy_with_another_seed_asks_for_the_same_cells() -> None:
    keys = [[cell.key for cell in plan(make_study(CHOICE, sample=Sample(seed=seed)))] for seed in (1, 2)]
    assert keys[0] == keys[1]


def test_shares_of_a_shuffled_list_belong_to_the_answers_that_stood_there() -> None:
    shown = Shown(CHOICE, "Which?", "en", options=(*TEXTS, "none"), first_order=(5, 4, 3, 2, 1, 0, 6))
    (ask,) = plan_asks(shown, "shares")
    said = {f"answer_{place}": float(10 * (place == 1)) for place in range(1, 9)}

    assert "1. beer\n2. wine\n" in ask.text
    assert _read_shares(ask, msgspec.json.encode(said).decode()) == (0, 0, 0, 0, 0, 1, 0, 0)


def test_a_question_of_another_type_has_no_shuffle() -> None:
    assert shuffle_for_cell(YesNo(id="q", text="?"), "p0", 0) == ()


# The questionnaire


def ask(name: str, block: str | None = None, **members: Any) -> Question:
    return YesNo(id=name, text="?", block=block, **members)


BLOCKS = tuple(ask(f"{block}{n}", block) for block in "abcdef" for n in range(4))


def ids(study: Study) -> list[str]:
    return [question.id for question in list_shown(study)]


def test_blocks_and_their_questions_are_shuffled_and_stay_together() -> None:
    blocks = tuple(Block(id=name, order="random" if name == "a" else "fixed") for name in "abcdef")
    study = make_study(ask("first"), *BLOCKS, blocks=blocks, block_order="random", sample=Sample(seed=1))
    shown = ids(study)
    names = [name[0] for name in shown[1:]]

    assert shown[0] == "first"
    assert names != sorted(names)
    assert [names[at : at + 4] for at in range(0, 24, 4)] == [[names[at]] * 4 for at in range(0, 24, 4)]
    assert [one for one in shown if one[0] == "b"] == ["b0", "b1", "b2", "b3"]
    assert {tuple(one for one in ids(seeded(study, seed)) if one[0] == "a") for seed in range(20)} != {
        ("a0", "a1", "a2", "a3")
    }


def seeded(study: Study, seed: int) -> Study:
    return msgspec.structs.replace(study, sample=Sample(seed=seed))


@pytest.mark.parametrize("seed", range(10))
def test_a_question_stays_behind_what_decides_about_it(seed: int) -> None:
    study = make_study(
        ask("early", "a"),
        ask("screener", screen_out=("no",)),
        ask("q1", "b"),
        ask("q2", "b", show_if="q1 == yes"),
        OpenEnded(id="q3", text="You said {q1}. Why?", block="c"),
        blocks=(Block(id="a"), Block(id="b", order="random"), Block(id="c")),
        block_order="random",
        sample=Sample(seed=seed),
    )
    shown = ids(study)
    assert shown[:2] == ["early", "screener"]
    assert shown.index("q1") < shown.index("q2")
    assert shown.index("q1") < shown.index("q3")


def test_without_random_the_questionnaire_is_the_file() -> None:
    woven = make_study(ask("q1", "a"), ask("q2", "b"), ask("q3", "a"), blocks=(Block(id="a"), Block(id="b")))
    assert ids(woven) == ["q1", "q2", "q3"]


def test_places_of_rows_and_of_options_in_random_order() -> None:
    rows = tuple(Row(id=f"r{n}", text=f"{n}", fixed=n == 5) for n in range(6))
    study = make_study(CHOICE, Matrix(id="q2", text="?", rows=rows, order="random"), sample=Sample(seed=3))
    places = find_places(study)

    assert (places["q1"].describe(), places["q1"].describe(0)) == ("1", "1.*")
    assert sorted(places["q2"].entries) == [1, 2, 3, 4, 5, 6]
    assert places["q2"].entries != (1, 2, 3, 4, 5, 6)
    assert places["q2"].describe(5) == "2.6"


def test_the_codebook_numbers_what_is_shown_and_says_that_no_own_words_are_drawn() -> None:
    other = Option(text="Other", specify=True)
    several = MultipleChoice(id="q2", text="Which?", options=(*OPTIONS[:2], other), multiple=True)
    simulation = simulate_plainly(study=build_study(questions=(CHOICE, several), banner=(), cells=()))
    content = build_export(simulation, "csv")[1].content.decode("utf-8-sig")
    lines = [line for line in csv.DictReader(io.StringIO(content)) if line["question"]]

    found = {(line["variable"], line["code_label"]): (line["shown_order"], line["note"]) for line in lines}
    assert found["q1", "tea"] == ("1.*", "")
    assert found["q1", "Don't know"] == ("1", "")
    assert found["q2_2", "Yes"] == ("2.2", "")
    assert found["q2_3", "Yes"] == ("2.3", "Asks for own words. None are drawn.")
