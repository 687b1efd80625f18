"""
A persona's next question finds its tokens in the cache of the engine that has read it before.

    mavera ─ list of upstreams, or HAProxy ─┬─ mavera models serve
                                            └─ mavera models serve

The engines are real and have a small model. What counts is tokens that they computed, and not time.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from mavera.personas.builtin import PersonaLibrary
from mavera.settings import load_settings
from tests.conftest import running_server
from tests.embedded_model.serving import wait_until
from tests.support.requirements import require_model
from tests.support.routers import running_haproxy
from tests.support.servers import free_port

pytestmark = [pytest.mark.proof, pytest.mark.embedded]

MODEL, KEY = "smollm2-135m", "k" * 32
PERSONAS = [persona.id for persona in PersonaLibrary.load().list()]
# An odd number, so that taking turns gives each persona the other engine in the second round.
ROUTED, IN_TURNS = PERSONAS[:3], PERSONAS[3:6]
MOST_COMPUTED = 0.75


@dataclass(frozen=True)
class Read:
    """The tokens of the prompts of one round, and those of them that an engine had in its cache."""

    tokens: int
    cached: int

    @property
    def share(self) -> float:
        return self.cached / self.tokens


@contextmanager
def serving_engine(data_dir: Path) -> Iterator[str]:
    """Run `mavera models serve`, and yield its base URL when its model is loaded."""
    require_model(load_settings(model=MODEL))
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = {
        **os.environ,
        "MAVERA_MODEL": MODEL,
        "MAVERA_ENGINE_KEY": KEY,
        "MAVERA_DATA_DIR": str(data_dir),
        "MAVERA_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "mavera", "models", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as server:
        process = psutil.Process(server.pid)
        try:
            wait_until(lambda: is_ready(url), seconds=180)
            yield url
        finally:
            family = [process, *process.children(recursive=True)] if process.is_running() else []
            server.terminate()
            server.wait(60)
            _, alive = psutil.wait_procs(family, timeout=10)
            assert not alive


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def ask_twice(folder: Path, upstream: str, personas: Sequence[str]) -> list[Read]:
    """Ask each persona two questions, round by round."""
    rounds: list[Read] = []
    with running_server(
        folder,
        model_backend="upstream",
        upstream_base_url=upstream,
        upstream_api_key=KEY,
        upstream_model=MODEL,
    ) as served:
        for question in ("What do you buy on a Monday?", "Which shop is near you?"):
            tokens = cached = 0
            for persona in personas:
                body = {
                    "model": "mavera-1",
                    "persona_id": persona,
                    "input": question,
                    "max_output_tokens": 2,
                }
                url = f"{served.base_url}/responses"
                answer = httpx.post(url, json=body, headers=served.headers, timeout=240)
                assert answer.status_code == 200, answer.text
                usage = answer.json()["usage"]
                tokens += usage["input_tokens"]
                cached += usage["input_tokens_details"]["cached_tokens"]
            rounds.append(Read(tokens, cached))
    return rounds


@contextmanager
def two_engines(folder: Path) -> Iterator[Sequence[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving_engine(folder / name)) for name in ("one", "other")]


@pytest.mark.timeout(900)
def test_the_second_question_of_a_persona_finds_its_engine_warm_only_if_it_is_routed(tmp_path: Path) -> None:
    """Each half has personas of its own, so nothing that the first half left is warm for the second."""
    with two_engines(tmp_path) as engines:
        by_list = ask_twice(tmp_path / "list", ",".join(f"{engine}/v1" for engine in engines), ROUTED)
        with running_haproxy(tmp_path, engines, "balance roundrobin") as (router, _):
            in_turns = ask_twice(tmp_path / "turns", f"{router}/v1", IN_TURNS)

    print(f"routed {by_list}, in turns {in_turns}")
    assert by_list[1].share > 0.75
    assert in_turns[1].share < by_list[1].share / 2
    computed, in_turns_computed = (
        sum(one.tokens - one.cached for one in rounds) for rounds in (by_list, in_turns)
    )
    assert computed <= MOST_COMPUTED * in_turns_computed
