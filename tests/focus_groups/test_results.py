"""The wire object: its members, intervals, flags, and that nothing but counts depends on the respondents."""

from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest

from mavera.focus_groups.draw import draw_reference
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.headlines import describe_result
from mavera.focus_groups.intervals import find_mean_interval
from mavera.focus_groups.mixtures import score_each_nps
from mavera.focus_groups.results import build_question, build_results, merge_flags, select_group
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import Likert, MultipleChoice, Option, Sample, Study, YesNo
from tests.support.simulations import build_panel, build_study, elicit_randomly, simulate_plainly


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate_plainly()


@pytest.fixture(scope="module")
def wire(simulation: Simulation) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(build_results(simulation)))
    return decoded


def _result(wire: dict[str, Any], question_id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in wire["results"] if one["question_id"] == question_id)
    return found


def test_the_object_says_what_it_is(wire: dict[str, Any]) -> None:
    assert wire["object"] == "focus_group"
    assert wire["synthetic"] is True
    assert wire["notices"][0] == "Simulated answers. Not a sample of people."
    assert wire["sample"]["respondents"] == 60
    assert 0 < wire["sample"]["weighting_efficiency"] < 1
    assert wire["usage"] == {"credits_used": 406, "model_reads": 440}
    assert wire["method"]["latent_correlation"] == 0.3


def test_a_score_is_the_exact_mixture_with_its_interval(simulation: Simulation, wire: dict[str, Any]) -> None:
    result = _result(wire, "q1")
    shares = np.array(
        [
            [simulation.book[CellId("q1", None, one.id, arm)].shares for arm in ("a", "b")]
            for one in simulation.panel
        ]
    )
    # Three of six personas are aged 18-34, with a target of 40 %.
    weights = np.array([0.2 if at % 2 == 0 else 0.4 / 3 for at in range(6)])
    answered = shares[..., :11].sum(axis=2)
    scores = np.array([score_each_nps(one) for one in shares])
    own = weights[:, None] / 2 * answered
    by_persona = (scores * own).sum(axis=1) / own.sum(axis=1)
    expected = float((scores * own).sum() / own.sum())
    low, high = find_mean_interval(by_persona, -100, 100, own.sum(axis=1))

    assert result["score"] == pytest.approx(expected, abs=1e-5)
    assert result["simulation_interval"] == pytest.approx([float(low), float(high)], abs=1e-5)
    assert result["interval_from"] == "6 personas"
    assert result["by_persona"][0]["score"] == pytest.approx(by_persona[0], abs=1e-5)
    assert sum(result["distribution"].values()) == pytest.approx(1, abs=1e-5)
    assert result["promoters"] + result["passives"] + result["detractors"] == pytest.approx(1, abs=1e-5)
    assert result["baseline"]["no_persona"]["score"] != result["score"]
    assert result["base"] == result["answered"] + result["missing"] == 60


def test_every_type_has_its_figures(wire: dict[str, Any]) -> None:
    assert set(_result(wire, "s1")["distribution"]) == {"Yes", "No"}
    assert set(_result(wire, "q2")["boxes"]) == {"Top 2 boxes", "Bottom 2 boxes"}
    assert set(_result(wire, "q3")["nets"]) == {"Product"}
    assert [one["row_id"] for one in _result(wire, "q4")["rows"]] == ["r1", "r2"]
    assert sum(_result(wire, "q5")["mean_rank"].values()) == pytest.approx(1 + 2 + 3 + 4, abs=1e-4)
    assert sum(_result(wire, "q5")["top_places"].values()) == pytest.approx(3, abs=1e-4)
    shares = [one["share_of_preference"]["value"] for one in _result(wire, "q6")["model"]["items"]]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    conjoint = _result(wire, "q7")["model"]
    assert sum(one["importance"]["value"] for one in conjoint["attributes"]) == pytest.approx(1, abs=1e-5)
    assert len(conjoint["demand"]) == 3
    assert len(_result(wire, "q8")["verbatims"]) == 6 * 2 * 3
    assert 0 <= _result(wire, "q10")["mean"] <= 100
    assert set(_result(wire, "q12")["nets"]) == {"Offline"}


def test_nets_of_several_answers_are_marked_as_assumed(wire: dict[str, Any]) -> None:
    assert _result(wire, "q3")["assumed"] == ["Product"]
    assert _result(wire, "q12")["assumed"] == []
    assert len(_result(wire, "q3")["turf"]) == 4


def test_verbatims_that_repeat_are_marked(wire: dict[str, Any]) -> None:
    study = build_study(2, cells=(), questions=build_study().questions[8:9])
    book = elicit_randomly(study, build_panel(study))
    same = {cell: Elicited(cell, one.shares, None, (), ("Because.",)) for cell, one in book.items()}

    result = build_results(simulate_plainly(study, same)).results[0]

    assert isinstance(result.verbatims, list)
    assert [one.repeated for one in result.verbatims] == [2, 2]


def test_estimates_do_not_depend_on_the_number_of_respondents() -> None:
    targets = {"age": {"18-34": 40.0, "35+": 60.0}}
    few = simulate_plainly(build_study(sample=Sample(size=20, seed=7, weights=targets)))
    many = simulate_plainly(build_study(sample=Sample(size=400, seed=7, weights=targets)))

    first, second = build_results(few), build_results(many)

    for one, other in zip(first.results, second.results, strict=True):
        for member in ("score", "mean", "distribution", "nets", "intervals", "simulation_interval", "model"):
            assert getattr(one, member) == getattr(other, member)
    letters = [[cell.letters for cell in table.cells] for table in first.tables]
    assert letters == [[cell.letters for cell in table.cells] for table in second.tables]
    assert any(letter for table in letters for letter in table)


def test_two_personas_have_no_interval_and_an_order_range() -> None:
    result = build_results(simulate_plainly(build_study(2))).results[1]

    assert result.simulation_interval is None
    assert result.interval_missing == "An interval needs 3 personas or more. The estimate rests on 2."
    assert isinstance(result.order_range, tuple)
    assert isinstance(result.score, float)
    assert result.order_range[0] < result.score < result.order_range[1]


def _flat_study() -> tuple[Study, dict[CellId, Elicited]]:
    study = build_study(3, cells=(), questions=(Likert(id="q", text="?"), YesNo(id="y", text="?")))
    book = elicit_randomly(study, build_panel(study))
    flat = {
        cell: Elicited(cell, np.full(len(one.shares), 1 / len(one.shares)), 0.1) for cell, one in book.items()
    }
    return study, flat


def test_flat_scales_are_flagged_and_flat_yes_no_is_not() -> None:
    likert, yes_no = build_results(simulate_plainly(*_flat_study())).results

    assert likert.flags == ["flat 1.00"]
    assert yes_no.flags == []


def test_a_question_without_an_answered_cell_says_so() -> None:
    study, book = _flat_study()
    failures = {cell: "nonsense" for cell in book if cell.question == "q" and cell.persona}
    kept = {cell: one for cell, one in book.items() if cell not in failures}

    result = build_results(simulate_plainly(study, kept, failures=failures)).results[0]

    assert result.flags == ["failed_cells 3", "no_answered_cell"]
    assert result.failed == result.base == 60
    assert result.interval_missing == "No cell of the question was answered."
    assert describe_result(result).text == "No answer"


def test_wordings_enter_the_interval() -> None:
    study = build_study(4, cells=(), wordings=3, questions=(YesNo(id="y", text="?"),))
    book = {}
    for cell, one in elicit_randomly(study, build_panel(study)).items():
        moved = [one.shares + np.array([step, -step]) * 0.1 for step in (-1, 0, 1)]
        book[cell] = Elicited(cell, one.shares, 0.1, (), (), tuple(moved))

    with_wordings = build_results(simulate_plainly(study, book)).results[0]
    without = build_results(
        simulate_plainly(study, {c: Elicited(c, e.shares, 0.1) for c, e in book.items()})
    ).results[0]

    assert with_wordings.interval_from == "4 personas and 3 wordings"
    assert without.interval_from == "4 personas"
    assert with_wordings.simulation_interval is not None
    assert without.simulation_interval is not None
    assert with_wordings.simulation_interval != without.simulation_interval


def test_headlines_name_the_figure(simulation: Simulation) -> None:
    results = {one.question_id: one for one in build_results(simulation).results}

    assert describe_result(results["q1"]).text.startswith("NPS −")
    assert describe_result(results["q2"]).text.startswith("Mean ")
    assert describe_result(results["q12"], ("Prefer not to say",)).text.split(":")[0] in (
        "Shop",
        "Online",
        "@cafe",
    )
    assert describe_result(results["q6"]).text.startswith("Most important: ")
    assert "decides" in describe_result(results["q7"]).text
    assert describe_result(results["q4"]).text.startswith("Highest: ")


def test_a_net_of_options_with_rules_is_counted_in_the_reference_draw() -> None:
    options = (Option(text="a"), Option(text="b"), Option(text="c"), Option(text="none", exclusive=True))
    question = MultipleChoice(
        id="m", text="?", multiple=True, max=1, options=options, nets={"two": ("a", "b"), "one": ("a",)}
    )
    study = build_study(3, cells=(), banner=(), questions=(question,))
    panel = build_panel(study)
    book = {}
    for persona in (*(one.id for one in panel), None):
        cell = CellId("m", None, persona, None)
        book[cell] = Elicited(cell, np.array([0.3, 0.2, 0.1, 0.4]), 0.1)

    result = build_results(
        simulate_plainly(study, book, draw_reference=partial(draw_reference, study, panel, book))
    ).results[0]

    # With one answer at most, the options exclude each other, so the net is their sum.
    assert result.nets == pytest.approx({"two": 0.5, "one": 0.3}, abs=1e-3)
    assert result.assumed == ["one", "two"]


def test_flags_of_cells_are_merged_into_one_of_each_name() -> None:
    flags = [
        "order_gap 1.62",
        "read_as_shares",
        "order_gap 11.00",
        "max_applied 3.40 to 3.00",
        "read_as_shares",
    ]

    assert merge_flags(flags) == ["max_applied in 1 cell", "order_gap 11.00", "read_as_shares in 2 cells"]


def test_the_group_of_everybody_has_the_figures_of_the_study() -> None:
    simulation = simulate_plainly()
    everybody = select_group(simulation, (), ())
    for question in simulation.study.questions:
        whole, group = build_question(simulation, question), build_question(simulation, question, everybody)
        for name in ("distribution", "mean", "score", "simulation_interval", "base"):
            assert getattr(group, name) == getattr(whole, name)


def test_a_group_has_the_figures_of_its_personas_and_cells() -> None:
    simulation = simulate_plainly()
    question = next(one for one in simulation.study.questions if one.id == "q2")
    persona = simulation.panel[1].id
    whole = build_question(simulation, question)
    alone = build_question(simulation, question, select_group(simulation, (persona,), ()))
    assert isinstance(whole.by_persona, list)
    figures = next(one for one in whole.by_persona if one.persona_id == persona)
    assert alone.mean == figures.mean
    assert alone.base == figures.n
    assert alone.simulation_interval is None
    cell = build_question(simulation, question, select_group(simulation, (), ("a",)))
    assert isinstance(whole.by_cell, list)
    assert cell.mean == whole.by_cell[0].mean
    assert cell.simulation_interval is not None
    both = build_question(simulation, question, select_group(simulation, (persona,), ("a",)))
    assert isinstance(both.by_persona, list)
    assert [one.persona_id for one in both.by_persona] == [persona]
    assert both.mean == both.by_persona[0].mean


def test_a_group_has_only_its_own_verbatims() -> None:
    simulation = simulate_plainly()
    question = next(one for one in simulation.study.questions if one.id == "q8")
    persona = simulation.panel[2].id
    found = build_question(simulation, question, select_group(simulation, (persona,), ("b",)))
    assert isinstance(found.verbatims, list)
    assert found.verbatims
    assert {(one.persona_id, one.cell) for one in found.verbatims} == {(persona, "b")}


def test_a_group_of_unknown_people_is_refused() -> None:
    simulation = simulate_plainly()
    with pytest.raises(ValueError, match="no persona or cell 'nobody'"):
        select_group(simulation, ("nobody",), ())
