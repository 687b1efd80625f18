"""Similarity rating: where it is used, what it asks and stores, and how it is mixed with the letters."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import numpy as np
import pytest

from mavera.core.events import Event, RunCompleted, TextDelta
from mavera.core.items import Message
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.focus_groups import similarity
from mavera.focus_groups.asks import Shown, plan_asks
from mavera.focus_groups.cells import Cell, count_reads, plan_cells
from mavera.focus_groups.elicit import Elicitor
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.faults import StudyError
from mavera.focus_groups.readings import ELICITATION, Read
from mavera.focus_groups.repository import Method
from mavera.focus_groups.resolve import SENTENCE_MISSING, mix_rating
from mavera.focus_groups.similarity import Sharpness, choose_rated, describe_rating
from mavera.focus_groups.study import NPS, Likert, Matrix, Rating, Row, Study, YesNo
from mavera.focus_groups.study_file import check_members
from mavera.reading.encoder import VERSION
from tests.focus_groups.studies import make_panel, make_study
from tests.focus_groups.test_program import STUDY, Stage, on_stage
from tests.support.opening import Open

LABELS = ("Not rude", "Somewhat rude", "Very rude")
QUESTION = Rating(id="q1", text="Is it rude to recline your seat?", points=3, labels=LABELS)


def _calibrate(points: int, *, helps: bool = True) -> Sharpness:
    return Sharpness(
        encoder=VERSION,
        anchors=similarity.ANCHORS,
        points=points,
        sharpness=100.0,
        weight=0.5,
        helps=helps,
        items=8,
        surveys=("a-survey",),
    )


@pytest.fixture(autouse=True)
def calibrated(monkeypatch: pytest.MonkeyPatch) -> dict[int, Sharpness]:
    found = {3: _calibrate(3), 4: _calibrate(4, helps=False)}
    for module in ("similarity", "resolve"):
        monkeypatch.setattr(f"mavera.focus_groups.{module}.list_calibrated", lambda: found)
    return found


def _study(**members: object) -> Study:
    four = Likert(id="q2", text="Often?", points=4, labels=("Never", "Rarely", "Often", "Always"))
    rows = (Row(id="r1", text="Babies"), Row(id="r2", text="Dogs"))
    matrix = Matrix(id="q3", text="And these?", points=3, labels=LABELS, rows=rows)
    questions = (QUESTION, four, matrix, YesNo(id="q4", text="Do you fly?"), NPS(id="q5", text="Recommend?"))
    return msgspec.structs.replace(make_study(*questions, personas=2), **members)


def _plan(study: Study, rated: tuple[str, ...]) -> tuple[Cell, ...]:
    method = Method(read="letters", elicitation=ELICITATION, model_digest="m", record="m", rated=rated)
    return plan_cells(study, make_panel(len(study.personas)), method)


def test_auto_rates_where_a_calibration_says_that_it_helps_and_on_wherever_it_can() -> None:
    assert choose_rated(_study()) == (("q1", "q3"), "")
    assert choose_rated(_study(ssr="on")) == (("q1", "q2", "q3"), "")
    assert choose_rated(_study(ssr="off")) == ((), "the study file says so")
    rated, reason = choose_rated(_study(language="fi"))
    assert (rated, "fi" in reason) == ((), True)


def test_each_scale_gets_one_more_read_in_a_cell_of_its_own_and_nothing_else_changes() -> None:
    study = _study()
    plain, rated = _plan(study, ()), _plan(study, ("q1", "q3"))

    added = [cell for cell in rated if cell.key not in {one.key for one in plain}]
    assert {cell.key for cell in plain} < {cell.key for cell in rated}
    assert len(rated) - len(plain) == len(added) == 3 * 3  # q1 and two rows, for two personas and nobody
    assert all(cell.shown.in_own_words and count_reads(cell, "letters") == 1 for cell in added)
    assert sum(count_reads(cell, "letters") for cell in rated) == 9 + sum(
        count_reads(cell, "letters") for cell in plain
    )
    assert len({cell.key for cell in rated}) == len(rated)


def test_the_scale_is_not_shown_to_a_persona_that_answers_in_its_own_words() -> None:
    shown = Shown(QUESTION, QUESTION.text, "de", in_own_words=True)
    (ask,) = plan_asks(shown, "letters")
    assert ask.text.splitlines() == [QUESTION.text, "Antworte in einem Satz, in deinen eigenen Worten."]


class _Model:
    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    async def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        [item] = turn.items
        assert isinstance(item, Message)
        self.asked.append(item.text)
        yield TextDelta(self.text)
        yield RunCompleted("stop", Usage(input_tokens=9, output_tokens=5))


@pytest.mark.parametrize(("text", "nearest"), [("It is not rude at all.", 0), ("I find it very rude.", 2)])
def test_a_sentence_is_stored_with_its_cosines_and_lies_near_the_label_that_it_means(
    text: str, nearest: int
) -> None:
    shown = Shown(QUESTION, QUESTION.text, "en", in_own_words=True)
    model = _Model(text)

    reading = asyncio.run(Elicitor(model.run, model="m").elicit(shown, "p0", "letters"))

    [read] = reading.reads
    assert (read.text, len(model.asked)) == (text, 1)
    assert int(np.argmax(read.cosines[0])) == nearest
    assert msgspec.json.decode(msgspec.json.encode(read), type=Read) == read


def test_the_rating_is_mixed_by_its_weight_and_missing_answers_keep_their_share() -> None:
    letters = Elicited(CellId("q1", None, "p0", None), np.array([0.1, 0.3, 0.4, 0.2]))
    sentence = Read("words", text="Not rude.", cosines=((0.9, 0.8, 0.8),))

    mixed = mix_rating(letters, sentence)

    odds = np.exp(100 * np.array([0.9, 0.8, 0.8]))
    expected = 0.5 * np.array([0.1, 0.3, 0.4]) + 0.5 * 0.8 * odds / odds.sum()
    assert mixed.shares == pytest.approx([*expected, 0.2])
    assert mixed.shares.sum() == pytest.approx(1)
    assert mixed.flags == ()


def test_a_cell_whose_sentence_failed_is_read_by_letters_and_says_so() -> None:
    letters = Elicited(CellId("q1", None, "p0", None), np.array([0.2, 0.3, 0.5]))
    alone = mix_rating(letters, None)
    assert (alone.shares is letters.shares, alone.flags) == (True, (SENTENCE_MISSING,))


def _members(question: dict[str, object], **more: object) -> dict[str, object]:
    first = {"id": "q1", "text": "Is it rude?", **question}
    return {"name": "Rude", "personas": ["p"], "questions": [first], **more}


@pytest.mark.parametrize(
    ("question", "more", "path", "said"),
    [
        ({"type": "rating", "points": 3, "labels": LABELS}, {"language": "fi"}, "ssr", "does not know"),
        ({"type": "yes_no"}, {}, "ssr", "No question has an ordered scale"),
        ({"type": "nps"}, {}, "questions[0].type", "are numbers"),
        ({"type": "rating", "points": 5}, {}, "questions[0].labels", "words for each point"),
        ({"type": "likert", "points": 5}, {}, "questions[0].points", "for 5 points. Calibrated are: 3, 4"),
    ],
)
def test_a_study_that_asks_for_what_cannot_be_rated_is_refused_at_its_field(
    question: dict[str, object], more: dict[str, object], path: str, said: str
) -> None:
    with pytest.raises(StudyError) as refused:
        check_members(_members(question, ssr="on", **more))
    assert [(fault.path, said in fault.message) for fault in refused.value.faults] == [(path, True)]
    assert check_members(_members(question, ssr="auto", **more)).study.ssr == "auto"


def test_the_method_says_what_was_rated_and_by_which_calibration() -> None:
    study = _study()
    told = describe_rating(study, ("q1", "q3"), "")
    for part in (
        "q1, q3",
        "one sentence in each cell",
        VERSION,
        "sharpness 100",
        "weight 0.5",
        "8 items of a-survey",
    ):
        assert part in told
    assert describe_rating(study, (), "the study file says so") == "off: the study file says so"


def test_shipped_calibrations_are_those_of_the_shipped_encoder() -> None:
    shipped = msgspec.json.decode(
        similarity._FILE.read_bytes(),
        type=tuple[Sharpness, ...],
    )
    assert {(one.encoder, one.anchors) for one in shipped} <= {(VERSION, similarity.ANCHORS)}
    assert all(0 <= one.weight <= 1 and one.sharpness > 0 for one in shipped)


def test_a_study_asks_as_many_reads_as_its_quote_says_and_outlives_a_failed_sentence(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        study = msgspec.structs.replace(STUDY, questions=(QUESTION,))
        quote = await here.service.quote(here.principal, study)
        people = len(study.personas) + 1
        assert quote.model_reads == people * (2 + 1)
        failing = iter([True])
        here.model.fails = lambda text: (
            APIError("Broken.") if text.endswith("in your own words.") and next(failing, False) else None
        )

        done = await here.run(await here.service.create(here.principal, study))

        assert len(here.model.prompts) == quote.model_reads + quote.prior_reads
        assert done.status == "COMPLETED"
        assert done.credits_charged == done.price * (2 * people - 1) // (2 * people)
        record = await here.service.read(done)
        flags = [found.flags for found in record.book.values()]
        assert (len(record.book), flags.count((SENTENCE_MISSING,)), record.failures) == (people, 1, {})
        again = await here.service.quote(here.principal, msgspec.structs.replace(study, ssr="off"), done)
        assert (again.model_reads, again.reused_cells) == (0, people)

    on_stage(scene, opened)


def test_letters_that_failed_are_no_answer_even_if_all_sentences_came(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        study = msgspec.structs.replace(STUDY, questions=(QUESTION,))
        # The priors, whose lists begin otherwise, are read.
        here.model.fails = lambda text: (
            APIError("Broken.") if text.startswith(QUESTION.text) and "A)" in text else None
        )
        done = await here.run(await here.service.create(here.principal, study))
        assert (done.status, done.credits_charged) == ("FAILED", 0)
        assert len((await here.service.read(done)).failures) == len(study.personas) + 1

    on_stage(scene, opened)
