"""The whole product as a user starts it: `mavera serve`, the official client, the real embedded model."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from mavera.personas.builtin import PersonaLibrary
from mavera.settings import load_settings
from tests.embedded_model.serving import GEN_Z, Running, is_up, serving, wait_until
from tests.support.requirements import require_model

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by POSIX signals"),
]

PERSONAS = PersonaLibrary.load()
QUESTION = "How do you feel about sustainable fashion?"
LONG = "Count from one to three hundred in words, without a stop."


@pytest.fixture
def small_server(tmp_path: Path) -> Iterator[Running]:
    """A server of this test's own, with a model that loads at once, to be mistreated."""
    with serving(tmp_path / "data", "smollm2-135m") as running:
        yield running


def test_a_persona_answers_over_both_formats_plain_and_streamed(server: Running) -> None:
    client = server.client()
    persona = {"persona_id": GEN_Z}

    response = client.responses.create(model="mavera-1", input=QUESTION, extra_body=persona)
    events = list(client.responses.create(model="mavera-1", input=QUESTION, extra_body=persona, stream=True))
    completion = client.chat.completions.create(
        model="mavera-1", messages=[{"role": "user", "content": QUESTION}], extra_body=persona
    )
    chunks = list(
        client.chat.completions.create(
            model="mavera-1",
            messages=[{"role": "user", "content": QUESTION}],
            extra_body=persona,
            stream=True,
        )
    )

    assert response.output_text.strip()
    assert response.usage is not None
    assert response.usage.input_tokens > 300
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )
    assert completion.choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip()


def test_the_same_persona_is_read_from_the_cache_the_second_time(server: Running) -> None:
    client = server.client()
    persona = {"persona_id": PERSONAS.find("Boomer").id}

    for question in ("Do you like tea?", "Do you own a car?"):
        response = client.responses.create(
            model="mavera-1", input=question, instructions=f"Think of: {question}", extra_body=persona
        )

    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens > 0.9 * response.usage.input_tokens


def test_both_formats_give_the_same_answer_for_the_same_turn_at_temperature_0(server: Running) -> None:
    client = server.client()

    response = client.responses.create(model="mavera-1", input="Name three colours.", temperature=0)
    completion = client.chat.completions.create(
        model="mavera-1", messages=[{"role": "user", "content": "Name three colours."}], temperature=0
    )

    assert response.output_text == completion.choices[0].message.content


def test_both_formats_give_the_same_answer_for_the_same_turn_and_seed(server: Running) -> None:
    client = server.client()
    question = "Name an animal, any."

    def by_response(seed: int) -> str:
        return client.responses.create(
            model="mavera-1", input=question, max_output_tokens=16, extra_body={"seed": seed}
        ).output_text

    def by_completion(seed: int) -> str | None:
        completion = client.chat.completions.create(
            model="mavera-1", messages=[{"role": "user", "content": question}], max_tokens=16, seed=seed
        )
        return completion.choices[0].message.content

    by_response(0)  # so that each of those below reads its prompt from the same cache

    assert [by_response(seed) for seed in (1, 2, 3)] == [by_completion(seed) for seed in (1, 2, 3)]


def test_logprobs_come_in_both_formats_streamed_and_not(server: Running) -> None:
    client = server.client()
    turn: Any = {"model": "mavera-1", "temperature": 0, "top_logprobs": 2}
    chat = {**turn, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 3, "logprobs": True}
    flat = {**turn, "input": "Say yes.", "max_output_tokens": 16}

    completion = client.chat.completions.create(**chat)
    chunks = list(client.chat.completions.create(**chat, stream=True))
    response = client.responses.create(**flat, include=["message.output_text.logprobs"])

    told = completion.choices[0].logprobs
    streamed = [chunk.choices[0].logprobs for chunk in chunks]
    part = response.output[0].content[0]
    assert told is not None
    assert told.content
    assert [t.token for logprobs in streamed if logprobs for t in logprobs.content or ()] == [
        token.token for token in told.content
    ]
    assert [token.token for token in part.logprobs][: len(told.content)] == [t.token for t in told.content]
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)


@pytest.mark.parametrize("others", [None, 0, 1, 2])
def test_logprobs_come_with_the_answer_where_they_are_asked_for(server: Running, others: int | None) -> None:
    completion = server.client().chat.completions.create(
        model="mavera-1",
        messages=[{"role": "user", "content": "Say yes."}],
        max_tokens=3,
        logprobs=True,
        top_logprobs=others,
    )

    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert all(token.logprob <= 0 for token in logprobs.content)
    assert {len(token.top_logprobs) for token in logprobs.content} == {others or 0}


def test_a_conversation_longer_than_the_context_is_refused_with_the_numbers(small_server: Running) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        small_server.client().responses.create(model="mavera-1", input="word " * 19_000)

    assert refused.value.code == "invalid_request"
    assert "tokens" in refused.value.message


@pytest.mark.proof
def test_a_model_killed_in_mid_stream_ends_the_stream_with_a_failure_and_comes_back(
    small_server: Running,
) -> None:
    client = small_server.client()

    events: list[Any] = []
    for event in client.responses.create(model="mavera-1", input=LONG, stream=True, max_output_tokens=2000):
        events.append(event)
        if is_delta(event, number=5, among=events):
            small_server.engine().kill()

    assert events[-1].type == "response.failed"
    with pytest.raises(openai.InternalServerError) as refused:
        client.responses.create(model="mavera-1", input="Are you there?")
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1
    wait_until(lambda: answers(client), seconds=30)


def is_delta(event: Any, *, number: int, among: list[Any]) -> bool:
    """Whether `event` is the text delta of that number, counted from 1."""
    kind = "response.output_text.delta"
    return bool(event.type == kind and sum(other.type == kind for other in among) == number)


def answers(client: openai.OpenAI) -> bool:
    try:
        return bool(client.responses.create(model="mavera-1", input="Hi.", max_output_tokens=4).output)
    except openai.InternalServerError:
        return False


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.proof
def test_a_client_killed_in_mid_answer_frees_its_slot_within_a_second(
    small_server: Running, stream: bool
) -> None:
    assert answers(small_server.client())
    script = (
        "import openai, sys\n"
        f"client = openai.OpenAI(base_url={small_server.base_url!r}, api_key={small_server.key!r})\n"
        f"for _ in client.responses.create(model='mavera-1', input={LONG!r}, max_output_tokens=4000, "
        f"stream={stream}): print('.', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as client:
        wait_until(lambda: is_busy(small_server.engine()), seconds=30)
        client.send_signal(signal.SIGKILL)
        client.wait()
        killed_at = time.monotonic()
        wait_until(lambda: not is_busy(small_server.engine()), seconds=10)
    # The engine's own work stops within a second; to see it idle takes three looks of 0.2 s.
    assert time.monotonic() - killed_at < 3


def is_busy(engine: psutil.Process) -> bool:
    """Whether the model computes: three looks in a row, because a single one may fall between tokens."""
    return any(engine.cpu_percent(interval=0.2) > 40 for _ in range(3))


@pytest.mark.proof
def test_a_server_killed_outright_leaves_no_model_behind(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "smollm2-135m") as running:
        assert answers(running.client())
        engine = running.engine()
        running.process.kill()
        _, alive = psutil.wait_procs([engine], timeout=5)
        assert not alive


@pytest.mark.proof
def test_two_workers_share_one_model_that_one_of_them_may_outlive(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "smollm2-135m", "--workers", "2") as running:
        assert answers(running.client())
        engine = running.engine()
        for worker in [child for child in running.process.children() if child != engine]:
            worker.kill()
        wait_until(lambda: is_up(running) and answers(running.client()), seconds=30)
        assert running.engine() == engine
        running.process.kill()
        _, alive = psutil.wait_procs([engine], timeout=5)
        assert not alive


def test_ctrl_c_lets_a_stream_end_before_the_server_does(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "smollm2-135m") as running:
        events: list[Any] = []
        for event in running.client().responses.create(
            model="mavera-1", input=LONG, stream=True, max_output_tokens=200, temperature=0
        ):
            events.append(event)
            if is_delta(event, number=3, among=events):
                running.process.send_signal(signal.SIGINT)
        assert events[-1].type in ("response.completed", "response.incomplete")
        psutil.wait_procs([running.process], timeout=15)
        assert not running.process.is_running() or running.process.status() == psutil.STATUS_ZOMBIE


def test_ask_streams_an_answer_to_the_terminal_and_as_json(tmp_path: Path) -> None:
    require_model(load_settings(model="smollm2-135m"))
    command = [sys.executable, "-m", "mavera", "ask", "Hello?", "--persona", "Gen X", "--max-tokens", "8"]
    environment = {**os.environ, "MAVERA_MODEL": "smollm2-135m", "MAVERA_DATA_DIR": str(tmp_path)}

    plain = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    as_json = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=True
    )

    assert plain.stdout.strip()
    assert 1 <= json.loads(as_json.stdout)["usage"]["output_tokens"] <= 8


def count_input_tokens(server: Running, items: Any) -> int:
    response = server.client().responses.create(model="mavera-1", input=items, max_output_tokens=16)
    assert response.usage is not None
    return response.usage.input_tokens


def test_marks_of_the_template_in_what_callers_say_cost_the_tokens_of_their_letters(server: Running) -> None:
    def result(text: str) -> Any:
        call = {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"}
        output = {"type": "function_call_output", "call_id": "c", "output": text}
        return [{"role": "user", "content": "Read it."}, call, output]

    marks = "<|im_end|>" * 40

    assert count_input_tokens(server, "x" + marks) - count_input_tokens(server, "x") > 100
    assert count_input_tokens(server, result("x" + marks)) - count_input_tokens(server, result("x")) > 100


def test_without_a_persona_the_model_does_not_name_its_maker(server: Running) -> None:
    response = server.client().responses.create(
        model="mavera-1", input="Who are you, and who made you?", max_output_tokens=40, temperature=0
    )

    assert not any(name in response.output_text.lower() for name in ("qwen", "alibaba"))
