"""The charts of a study: well-formed, without styles, readable outside a page, with a table beside each."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from mavera.focus_groups.canvas import Chart, cut, measure, write_inline, write_standalone
from mavera.focus_groups.charts import Bar, Stack, draw_bars, draw_columns, draw_heat_map, draw_stacks
from mavera.focus_groups.figures import Figure, list_figures, list_segments
from mavera.focus_groups.results import build_results
from mavera.focus_groups.schemas import QuestionResult
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import MultipleChoice, OpenEnded, Option, YesNo
from tests.support.simulations import build_study, simulate_plainly

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text></svg><script>alert(1)</script>"


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate_plainly()


@pytest.fixture(scope="module")
def figures(simulation: Simulation) -> dict[str, list[Figure]]:
    return draw_all(simulation)


def draw_all(simulation: Simulation) -> dict[str, list[Figure]]:
    names = {one.id: one.name for one in simulation.panel}
    results = build_results(simulation).results
    return {
        question.id: [*list_figures(question, result), *list_segments(question, result, names)]
        for question, result in zip(simulation.study.questions, results, strict=True)
    }


def test_every_closed_question_has_a_chart(simulation: Simulation, figures: dict[str, list[Figure]]) -> None:
    for question in simulation.study.questions:
        assert bool(figures[question.id]) is not isinstance(question, OpenEnded)


def test_the_keys_of_figures_are_unique(figures: dict[str, list[Figure]]) -> None:
    keys = [one.key for found in figures.values() for one in found]
    assert len(keys) == len(set(keys))


def test_no_chart_has_a_style(figures: dict[str, list[Figure]]) -> None:
    for found in figures.values():
        for one in found:
            root = ElementTree.fromstring(write_inline(one.chart))
            assert root.tag == f"{SVG}svg"
            assert not [part for part in root.iter() if "style" in part.attrib or part.tag.endswith("style")]


def test_a_copied_chart_has_a_colour_of_its_own_for_every_mark(figures: dict[str, list[Figure]]) -> None:
    for found in figures.values():
        for one in found:
            root = ElementTree.fromstring(write_standalone(one.chart, base="Base: 60 rows", note="Note."))
            texts = ["".join(part.itertext()) for part in root.iter(f"{SVG}text")]
            assert "Base: 60 rows" in texts
            assert "Note." in texts
            for part in root.iter():
                if "class" in part.attrib:
                    colour = (
                        part.get("fill") if part.get("fill") not in (None, "none") else part.get("stroke")
                    )
                    assert re.fullmatch("#[0-9A-F]{6}", str(colour))


def test_every_chart_has_a_table_of_its_own_width(figures: dict[str, list[Figure]]) -> None:
    for found in figures.values():
        for one in found:
            assert one.rows
            assert {len(row) for row in one.rows} == {len(one.head)}


def test_a_table_says_what_the_bars_say(simulation: Simulation, figures: dict[str, list[Figure]]) -> None:
    result = next(one for one in build_results(simulation).results if one.question_id == "q3")
    main = next(one for one in figures["q3"] if one.key == "q3")
    assert isinstance(result.distribution, dict)
    assert [row[:2] for row in main.rows] == [
        (label, f"{share:.0%}") for label, share in result.distribution.items()
    ]
    assert main.head == ("Answer", "Share", "With other personas", "Without personas")


def test_the_bars_of_a_stack_fill_their_width() -> None:
    root = ElementTree.fromstring(write_inline(draw_stacks([Stack("", (0.5, 0.3, 0.2))], "abc", "t")))
    widths = [float(str(one.get("width"))) for one in root.iter(f"{SVG}rect") if one.get("width") != "11.0"]
    assert sum(widths) == pytest.approx(720, abs=0.2)


@pytest.mark.parametrize("value", [0.03, 0.17, 0.241, 0.5, 1.0])
def test_axes_begin_at_zero_and_end_at_a_round_number(value: float) -> None:
    for draw in (draw_bars, draw_columns):
        chart = draw([Bar("a", value)], "t")
        ticks = [float(tick) for tick in re.findall(r'font-size="11">([\d.]+)%<', chart.marks)]
        assert ticks[0] == 0
        assert ticks[-1] >= value * 100
        steps = {round(b - a, 6) for a, b in pairwise(ticks)}
        assert len(steps) == 1
        assert steps <= {1, 2, 5, 10, 25}


def test_hostile_texts_stay_texts() -> None:
    study = build_study(
        3,
        cells=(),
        questions=(
            MultipleChoice(id="q", text=HOSTILE, options=(Option(text=HOSTILE), Option(text="\"'&"))),
            YesNo(id="y", text=HOSTILE),
        ),
    )
    for found in draw_all(simulate_plainly(study)).values():
        for one in found:
            for text in (write_inline(one.chart), write_standalone(one.chart, base=HOSTILE, note=HOSTILE)):
                assert "<script" not in text
                ElementTree.fromstring(text)


def test_a_long_label_is_cut_and_kept_for_pointing() -> None:
    label = "a very long answer that nobody would read in a chart, however wide it may be drawn"
    root = ElementTree.fromstring(write_inline(draw_bars([Bar(label, 0.5)], "t")))
    shown = [text for text in root.iter(f"{SVG}text") if (text.text or "").endswith("…")]
    assert len(shown) == 1
    assert shown[0].findtext(f"{SVG}title") == label


def test_wide_characters_count_twice() -> None:
    assert measure("日本") == 4
    assert measure(cut("日本語の長い回答", 8)) <= 9
    assert cut("short", 8) == "short"


def test_a_scale_with_many_points_is_a_heat_map_by_persona(figures: dict[str, list[Figure]]) -> None:
    slider = next(one for one in figures["q10"] if one.key == "q10-personas")
    assert "chart-heat-" in slider.chart.marks
    assert "chart-ramp-" not in slider.chart.marks


def test_a_heat_map_has_a_field_for_each_share() -> None:
    chart = draw_heat_map([Stack("r1", (0.1, 0.9)), Stack("r2", (0.5, 0.5))], ("no", "yes"), "t", (1.0, None))
    fields = re.findall(r'font-weight="600" font-size="12">(\d+%)<', chart.marks)
    assert fields == ["10%", "90%", "50%", "50%"]


def test_an_empty_question_has_no_figure() -> None:
    question = YesNo(id="q", text="?")
    result = QuestionResult(
        question_id="q", type="yes_no", text="?", base=0, answered=0, failed=0, skipped=0, missing=0,
        simulation_interval=None, flags=[], assumed=[],
    )  # fmt: skip
    assert list_figures(question, result) == ()
    assert list_segments(question, result, {}) == ()


def test_a_standalone_chart_wraps_a_long_title() -> None:
    chart = Chart("", 10, "word " * 60)
    root = ElementTree.fromstring(write_standalone(chart, base="", note=""))
    lines = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert len(lines) == 3
    assert lines[-1].endswith("…")
