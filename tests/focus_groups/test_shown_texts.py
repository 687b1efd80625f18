"""The texts of a study as readers see them: no variable of a cell and no piped answer is left in braces."""

from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.exports import FORMATS, build_export
from mavera.focus_groups.shown_texts import show_answers, show_question, show_text
from mavera.focus_groups.study import Arm, Matrix, MultipleChoice, Option, Row, Study, YesNo
from tests.focus_groups.studies import make_study
from tests.support.simulations import simulate_plainly

ARMS = (Arm(id="low", vars={"price": "$3.49", "pitch": "x" * 60}), Arm(id="high", vars={"price": "$4.49"}))


def make(*questions: object) -> Study:
    return make_study(*questions, cells=ARMS)  # type: ignore[arg-type]


def test_a_variable_becomes_the_list_of_its_values_or_its_name_if_they_are_long() -> None:
    study = make(YesNo(id="q1", text="Buy at {price}?"), YesNo(id="q2", text="Why {q1}? {{sic}} {pitch}"))
    assert [show_text(study, one.text) for one in study.questions] == [
        "Buy at [$3.49 / $4.49]?",
        "Why [q1]? {sic} [pitch]",
    ]
    one_price = make_study(study.questions[0], cells=(Arm(id="a", vars={"price": "$1"}),))
    assert show_text(one_price, "At {price}") == "At $1"


def test_a_condition_finds_the_answer_that_is_shown() -> None:
    options = tuple(Option(text=text) for text in ("Buy at {price}", "Leave it"))
    study = make(
        MultipleChoice(
            id="q1", text="What now, at {price}?", options=options, nets={"Buys": ("Buy at {price}",)}
        ),
        YesNo(id="q2", text="Sure about {q1}?", show_if='q1 == "Buy at {price}"'),
    )
    shown = show_answers(study)
    question = shown.questions[0]
    assert isinstance(question, MultipleChoice)
    assert question.options[0].text == "Buy at [$3.49 / $4.49]"
    assert question.nets == {"Buys": ("Buy at [$3.49 / $4.49]",)}
    for before, after in zip(study.questions, shown.questions, strict=True):
        assert [one.key for one in conditions_of(study, before)] == [
            one.key for one in conditions_of(shown, after)
        ]
    assert show_question(shown, question).text == "What now, at [$3.49 / $4.49]?"


def test_no_export_shows_a_variable_in_braces() -> None:
    study = make(
        YesNo(id="q1", text="Buy at {price}?"),
        Matrix(id="q2", text="And at {price}?", points=5, rows=(Row(id="r", text="Fair at {price}"),)),
        MultipleChoice(
            id="q3",
            text="Which, at {price}?",
            multiple=True,
            options=tuple(Option(text=text) for text in ("A for {price}", "B", "C")),
        ),
    )
    simulation = simulate_plainly(show_answers(study))
    for kind in FORMATS:
        for file in build_export(simulation, kind):
            assert b"{price}" not in file.content, file.name
    html = build_export(simulation, "html")[0].content.decode()
    assert "Buy at [$3.49 / $4.49]?" in html
    assert "price: $3.49" in html
