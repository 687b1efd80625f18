"""Several personas, one answer: streamed and not, in both formats, paid by its parts, stopped as one."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.analysis.analyst import Analyst
from mavera.core.events import (
    ModelEvent,
    PersonaAnswer,
    Position,
    RunCompleted,
    RunStarted,
    Speaker,
    TextDelta,
    TokenLogprob,
)
from mavera.core.items import Message, make_message
from mavera.core.prompt import Prompt
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.verdict import STANCES, Verdict
from mavera.runs.loop import to_speaker
from mavera.runs.mosaic import BLENDED, AnswerReader, Member, Mosaic
from mavera.runs.pipeline import Pipeline
from mavera.runs.positions import COUNTED, count_verdicts, find_contradiction, write_counts
from mavera.runs.positions import Audience as Counted
from mavera.runs.schema_checker import SchemaChecker
from tests.conftest import Serve
from tests.support.team import team

CAST = PersonaLibrary.load().list()[:3]
IDS = [persona.id for persona in CAST]
MOSAIC: Any = {"mosaic_mode": True, "persona_ids": IDS, "persona_weights": [0.5, 0.3, 0.2]}
ASK: Any = {"model": "mavera-1", "input": "Would you pay?", **MOSAIC}
CHAT: Any = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}], **MOSAIC}
YES, NO = "Yes, I would. It saves me an hour.", "No, I would not. It costs too much."
UNSURE = "The man at the shop has a dog."
TRUE = "Most, 80%, would not pay, because it costs too much. Some, 20%, would."


class Audience(ScriptedModel):
    """Personas that give `answers` in the order of CAST, and a synthesis that says `blend`."""

    def __init__(
        self,
        answers: Sequence[str] = (NO, NO, YES),
        blend: str = TRUE,
        *,
        delay_seconds: float = 0.0,
        failing: str = "",
        letter: str = "",
    ) -> None:
        super().__init__()
        self._answers = answers
        self._blend = blend
        self._wait = delay_seconds
        self._failing = failing
        self._letter = letter
        self.most = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.prompts.append(prompt)
        self.running += 1
        self.most = max(self.most, self.running)
        first = prompt.items[0]
        assert isinstance(first, Message)
        try:
            yield RunStarted()
            if is_second_reading(prompt):
                if self._failing == "second reading":
                    raise ServiceUnavailable("Gone.", retry_after=1)
                token = TokenLogprob(self._letter, -0.01)
                yield TextDelta(self._letter, (token,) if self._letter else ())
            elif prompt.prefix_length:
                if self._failing and self._failing in first.text:
                    await asyncio.sleep(self._wait)
                    raise ServiceUnavailable("Gone.", retry_after=1)
                await asyncio.sleep(self._wait)
                speakers = [persona.demographics.speaker for persona in CAST]
                number = next(n for n, name in enumerate(speakers) if f"You are {name}" in first.text)
                yield TextDelta(self._answers[number])
            elif prompt.format.type != "text":
                yield TextDelta('{"yes": false}')
            else:
                for word in re.findall(r"\S+\s*", self._blend):
                    await asyncio.sleep(self._wait)
                    yield TextDelta(word)
            yield RunCompleted("stop", Usage(100, 10))
        finally:
            self.running -= 1


def is_second_reading(prompt: Prompt) -> bool:
    return prompt.max_output_tokens == 1


def test_both_formats_blend_streamed_and_not(serve: Serve) -> None:
    t = team(serve(Audience()))
    client = t.client()

    response: Any = t.post(body=ASK).json()
    completion: Any = t.post("/chat/completions", CHAT).json()
    events: Any = list(
        client.responses.create(model="mavera-1", input="Would you pay?", stream=True, extra_body=MOSAIC)
    )
    chunks: Any = list(
        client.chat.completions.create(
            model="mavera-1", messages=CHAT["messages"], stream=True, extra_body=MOSAIC
        )
    )

    mosaics = [
        response["mosaic"],
        completion["mosaic"],
        events[-1].response.to_dict()["mosaic"],
        chunks[-1].to_dict()["mosaic"],
    ]
    assert all(mosaic == mosaics[0] for mosaic in mosaics)
    assert [answer["persona_id"] for answer in mosaics[0]["answers"]] == IDS
    assert [answer["weight"] for answer in mosaics[0]["answers"]] == [0.5, 0.3, 0.2]
    assert [answer["text"] for answer in mosaics[0]["answers"]] == [NO, NO, YES]
    assert mosaics[0]["positions"] == [
        {
            "position": "no: No, I would not. It costs too much.",
            "stance": "no",
            "share": 0.8,
            "persona_ids": IDS[:2],
        },
        {
            "position": "yes: Yes, I would. It saves me an hour.",
            "stance": "yes",
            "share": 0.2,
            "persona_ids": IDS[2:],
        },
    ]
    assert response["output"][0]["content"][0]["text"] == TRUE
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == TRUE
    assert completion["choices"][0]["message"]["content"] == TRUE
    # Four parts of 110 tokens: three answers and the synthesis.
    assert response["usage"]["total_tokens"] == 4 * 110
    assert response["usage"]["credits_used"] == 4
    assert t.balance() == 100 - 4 * 4
    rows = t.settled(4)
    assert all(row["persona_id"] is None for row in rows)
    assert [one["id"] for one in json.loads(rows[0]["personas"])] == IDS


def test_the_personas_answer_side_by_side_and_the_blend_reads_the_shares(serve: Serve) -> None:
    model = Audience(delay_seconds=0.1)
    assert team(serve(model)).post(body=ASK).status_code == 200

    assert model.most == 3
    blend = model.prompts[-1].items[-1]
    assert isinstance(blend, Message)
    assert "most, 80%, say no: “No, I would not. It costs too much.”" in blend.text
    assert "some, 20%, say yes: “Yes, I would. It saves me an hour.”" in blend.text
    assert "Would you pay?" in blend.text
    assert "50%" not in blend.text.partition("Positions:")[0]


def test_half_of_an_audience_is_not_called_most_of_it(serve: Serve) -> None:
    model = Audience()
    body = {**ASK, "persona_weights": [0.25, 0.25, 0.5]}

    assert team(serve(model)).post(body=body).status_code == 200

    blend = model.prompts[-1].items[-1]
    assert isinstance(blend, Message)
    assert "half, 50%, say no" in blend.text
    assert "most" not in blend.text


def test_a_client_that_leaves_stops_every_persona_and_pays_for_what_was_sent(serve: Serve) -> None:
    model = Audience(delay_seconds=0.4)
    t = team(serve(model))

    with pytest.raises(httpx.TimeoutException):
        httpx.post(
            t.served.base_url + "/responses",
            json=ASK,
            headers={"Authorization": f"Bearer {t.key}"},
            timeout=0.5,
        )

    deadline = time.monotonic() + 5
    while model.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert model.running == 0
    assert [row["status"] for row in t.settled(1)] == ["failed"]
    assert t.balance() == 100


def test_one_that_fails_fails_the_whole_and_costs_nothing(serve: Serve) -> None:
    speaker = CAST[1].demographics.speaker
    model = Audience(delay_seconds=0.05, failing=f"You are {speaker}")
    t = team(serve(model))

    assert t.post(body=ASK).status_code == 503
    events: Any = list(
        t.client().responses.create(model="mavera-1", input="Hm?", stream=True, extra_body=MOSAIC)
    )

    assert events[-1].type == "response.failed"
    assert model.running == 0
    assert t.balance() == 100


def test_a_json_format_holds_for_the_blend(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    wanted = {"format": {"type": "json_schema", "name": "a", "schema": schema}}

    answer = team(serve()).post(body={**ASK, "text": wanted}).json()

    assert answer["parsed"] == {"yes": False}
    assert len(answer["mosaic"]["answers"]) == 3


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"persona_ids": None}, 400, "persona_ids"),
        ({"persona_ids": IDS[:1], "persona_weights": None}, 422, "persona_ids"),
        ({"persona_ids": IDS * 4, "persona_weights": None}, 422, "persona_ids"),
        ({"persona_ids": [IDS[0], IDS[0]], "persona_weights": None}, 400, "persona_ids[1]"),
        ({"persona_ids": [*IDS[:2], "cnobody"]}, 404, "persona_ids"),
        ({"persona_weights": [0.5, 0.5]}, 422, "persona_weights"),
        ({"persona_weights": [0.5, 0.3, 0.1]}, 422, "persona_weights"),
        ({"persona_weights": [0.5, 0.5, 0]}, 422, "persona_weights[2]"),
        ({"persona_weights": [1.5, -0.3, -0.2]}, 422, "persona_weights[0]"),
        ({"persona_id": IDS[0]}, 400, "persona_id"),
        ({"mosaic_mode": False}, 400, "persona_ids"),
        ({"tools": [{"type": "function", "name": "f"}]}, 400, "tools"),
    ],
)
def test_a_mosaic_that_does_not_add_up_is_refused(
    serve: Serve, changed: dict[str, Any], status: int, param: str
) -> None:
    t = team(serve(ScriptedModel()))

    refused = t.post(body={**ASK, **changed})

    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text
    assert t.served.model.prompts == []


def test_a_synthesis_that_says_the_opposite_is_replaced_by_the_counts(serve: Serve) -> None:
    counts = f"Most, 80%, say no: “{NO}” Some, 20%, say yes: “{YES}”"
    for wrong in (
        "Most, 80%, would pay, because it saves an hour. Some, 20%, would not.",
        "Most, 60%, would not pay.",
        "Most would not pay.",
        "Most, 80%, would not take the night bus, because it costs less than a cab.",
    ):
        t = team(serve(Audience(blend=wrong)))

        response: Any = t.post(body=ASK).json()
        events: Any = list(
            t.client().responses.create(
                model="mavera-1", input="Would you pay?", stream=True, extra_body=MOSAIC
            )
        )

        assert response["output"][0]["content"][0]["text"] == counts, wrong
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == counts, wrong


def test_who_takes_no_position_is_in_none_and_has_no_share(serve: Serve) -> None:
    t = team(serve(Audience((NO, UNSURE, YES), "Half, 50%, would not pay; some, 20%, would.", letter="D")))

    mosaic = t.post(body=ASK).json()["mosaic"]

    assert [(one["stance"], one["share"]) for one in mosaic["positions"]] == [("no", 0.5), ("yes", 0.2)]
    assert IDS[1] not in [persona for one in mosaic["positions"] for persona in one["persona_ids"]]


def test_an_answer_that_the_reader_is_unsure_of_is_read_by_the_model_too(serve: Serve) -> None:
    model = Audience((NO, "My sister has two, and I envy her for them.", YES), letter="A")
    mosaic = team(serve(model)).post(body=ASK).json()["mosaic"]

    shares = {one["stance"]: one["share"] for one in mosaic["positions"]}

    assert shares == {"no": 0.5, "yes": 0.5}
    assert len([prompt for prompt in model.prompts if is_second_reading(prompt)]) == 1


def test_the_stance_of_each_answer_is_that_of_its_position(serve: Serve) -> None:
    """Also where the reader is unsure and the model decides. The synthesis has no stance of its own."""
    model = Audience((NO, "My sister has two, and I envy her for them.", YES), letter="A")
    response: Any = team(serve(model)).post(body={**ASK, "analysis_mode": True}).json()

    of_answers = [one["analysis"]["stance"]["verdict"] for one in response["mosaic"]["answers"]]
    held = {id_: one["stance"] for one in response["mosaic"]["positions"] for id_ in one["persona_ids"]}

    assert of_answers == [held[id_] for id_ in IDS] == ["no", "yes", "yes"]
    assert [one["analysis"]["method"]["stance"] for one in response["mosaic"]["answers"]] == [
        "reader",
        "reader+model",
        "reader",
    ]
    assert response["analysis"]["stance"] is None


def test_a_second_reading_that_fails_spoils_no_answer(serve: Serve) -> None:
    answers = (NO, "My sister has two, and I envy her for them.", YES)
    response = team(serve(Audience(answers, failing="second reading"))).post(body=ASK)

    assert response.status_code == 200
    shares = {one["stance"]: one["share"] for one in response.json()["mosaic"]["positions"]}
    assert shares["no"] == 0.5


def test_answers_to_an_open_question_are_grouped_and_worded_by_themselves(serve: Serve) -> None:
    waits = "The queue is too long, I always have to wait."
    model = Audience((waits, waits, "My knees hurt on the stairs."), "Most, 80%, dislike the queue.")
    body = {**ASK, "input": "What do you like least about this shop?"}

    response = team(serve(model)).post(body=body).json()

    assert response["mosaic"]["positions"] == [
        {"position": waits, "stance": None, "share": 0.8, "persona_ids": IDS[:2]},
        {"position": "My knees hurt on the stairs.", "stance": None, "share": 0.2, "persona_ids": IDS[2:]},
    ]


def test_a_mosaic_has_one_analysis_of_its_synthesis_in_both_formats(serve: Serve) -> None:
    model = Audience()
    t = team(serve(model))

    response: Any = t.post(body=ASK).json()
    completion: Any = t.post("/chat/completions", CHAT).json()

    assert response["analysis"] == completion["analysis"]
    assert response["analysis"]["emotion"] is not None
    assert response["analysis"]["error"] is None
    assert response["analysis"]["method"]["biases"] == "classifier"
    assert response["analysis"]["method"]["added_tokens"] == 0
    assert all("analysis" not in answer for answer in response["mosaic"]["answers"])
    assert len(model.prompts) == 2 * 4


def test_a_replaced_synthesis_has_the_analysis_of_what_was_sent(serve: Serve) -> None:
    wrong = "Wonderful, all 100%, would pay."
    body = {**ASK, "analysis_mode": True}

    response: Any = team(serve(Audience(blend=wrong))).post(body=body).json()

    text = response["output"][0]["content"][0]["text"]
    assert text.startswith("Most, 80%, say no")
    assert all(insight in text for insight in response["analysis"]["key_insights"])
    assert len([one for one in response["mosaic"]["answers"] if "analysis" in one]) == 3


def test_a_mosaic_in_json_has_no_analysis_and_is_no_error(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    wanted = {"format": {"type": "json_schema", "name": "a", "schema": schema}}

    response = team(serve(Audience())).post(body={**ASK, "text": wanted})

    assert response.status_code == 200
    assert "analysis" not in response.json()


def test_without_an_encoder_a_mosaic_has_no_positions_and_is_sent_as_it_comes(tmp_path: Path) -> None:
    turn = Turn(model="mavera-1", items=(make_message("user", "Would you pay?"),))
    members = [Member(persona, to_speaker(persona, 1 / 3)) for persona in CAST]
    model = Audience(blend="Everybody, 100%, would pay.")

    async def run() -> list[Any]:
        mosaic = Mosaic(
            turn,
            members,
            lambda prompt, _: Pipeline(turn, prompt, model, SchemaChecker()),
            asyncio.Semaphore(3),
            AnswerReader(SentenceEncoder(tmp_path)),
            Analyst(),
            limits_length=True,
        )
        return [event async for event in await mosaic.open()]

    events = asyncio.run(run())

    assert events[0].positions == ()
    assert (
        "".join(event.text for event in events if isinstance(event, TextDelta))
        == "Everybody, 100%, would pay."
    )


verdicts = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.floats(0.01, 1), min_size=4, max_size=4)), min_size=2, max_size=6
)


@given(verdicts)
def test_nobody_is_counted_twice_and_shares_are_sums_of_weights(found: list[Any]) -> None:
    total = sum(weight for weight, _ in found)
    answers = [
        PersonaAnswer(Speaker(f"p{n}", "P", weight=weight / total), "I say so.", Usage())
        for n, (weight, _) in enumerate(found)
    ]
    read = []
    for _, odds in found:
        shares = tuple(value / sum(odds) for value in odds)
        read.append(Verdict(STANCES[shares.index(max(shares))], shares, None))

    positions = count_verdicts(answers, read)

    named = [persona_id for position in positions for persona_id in position.persona_ids]
    assert len(named) == len(set(named))
    counted = [one.speaker.weight for one in answers if one.speaker.id in named]
    assert sum(position.share for position in positions) == pytest.approx(sum(counted), abs=0.001)
    for answer, verdict in zip(answers, read, strict=True):
        is_clear = verdict.stance != "none" and verdict.probability >= COUNTED
        assert (answer.speaker.id in named) == is_clear


@given(text=st.one_of(st.text(max_size=300), st.text(alphabet="0123456789% .most", max_size=60)))
@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_any_synthesis_can_be_checked_and_the_counts_never_contradict(
    text: str, is_closed: bool, count: int
) -> None:
    positions = (Position("no: No.", 0.7, ("a",), "no"), Position("yes: Yes.", 0.3, ("b",), "yes"))[:count]
    audience = Counted(positions, is_closed)

    fault = find_contradiction(text, audience, BLENDED, "")

    assert fault is None or fault
    assert find_contradiction(write_counts(audience), audience, BLENDED, "") is None
