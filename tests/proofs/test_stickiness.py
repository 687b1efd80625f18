"""
A persona stays on the engine that has read it, behind the routers of docs/explanation/scaling.md.

The engines are stubs that note who asked them. So this shows where questions go, and not what that gains.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.personas.builtin import PersonaLibrary
from tests.conftest import running_server
from tests.support.routers import STICKY, running_haproxy, running_smg
from tests.support.upstream_stub import Upstream, running_upstream

pytestmark = pytest.mark.proof

# An odd number, so that taking turns between two engines gives each persona the other one in each round.
PERSONAS = [persona.id for persona in PersonaLibrary.load().list()][:23]
SHORT, LONG = 30, 2_500
# smg forgets where it sent a prompt after this silence. Its default is 180 s; the pause here is longer.
TTL_SECONDS = 2
PAUSE_SECONDS = 5


@contextmanager
def two_engines() -> Iterator[list[Upstream]]:
    with running_upstream() as one, running_upstream() as other:
        for engine in (one, other):
            engine.models = (200, ["stub"])
        yield [one, other]


def ask_all(folder: Path, router: str, engines: Sequence[Upstream], pause_seconds: float = 0) -> int:
    """Ask each persona short and long questions, and return how many personas both engines have read."""
    with running_server(
        folder, model_backend="upstream", upstream_base_url=router, upstream_model="stub"
    ) as served:
        for round_number, words in enumerate((SHORT, LONG, SHORT, LONG)):
            if round_number == 2:
                time.sleep(pause_seconds)
            for number, persona in enumerate(PERSONAS):
                # Each question has words of its own, so that nothing but the persona is shared.
                question = " ".join(f"word{number}x{round_number}x{place}" for place in range(words))
                body = {"model": "mavera-1", "persona_id": persona, "input": question}
                url = f"{served.base_url}/responses"
                answer = httpx.post(url, json=body, headers=served.headers, timeout=30)
                assert answer.status_code == 200, answer.text
    return count_split(engines)


def count_split(engines: Sequence[Upstream]) -> int:
    """Return how many personas both engines have read. A persona is known by its first message."""
    read_by: dict[str, set[int]] = defaultdict(set)
    for number, engine in enumerate(engines):
        for body in engine.asked:
            read_by[str(body["messages"][0]["content"])].add(number)
    assert len(read_by) == len(PERSONAS)
    return sum(len(numbers) > 1 for numbers in read_by.values())


def test_smg_with_our_header_splits_no_persona_even_after_a_pause(tmp_path: Path) -> None:
    with (
        two_engines() as engines,
        running_smg([engine.url for engine in engines], *STICKY, "--cache-ttl-secs", str(TTL_SECONDS)) as (
            router,
            _,
        ),
    ):
        assert ask_all(tmp_path / "data", router, engines, PAUSE_SECONDS) == 0
        assert all(engine.asked for engine in engines), "one engine got everything"


def test_smg_in_turns_splits_nearly_all_personas(tmp_path: Path) -> None:
    with (
        two_engines() as engines,
        running_smg([engine.url for engine in engines], "--policy", "round_robin", "--disable-retries") as (
            router,
            _,
        ),
    ):
        assert ask_all(tmp_path / "data", router, engines) > len(PERSONAS) / 2


def test_haproxy_with_our_header_splits_no_persona(tmp_path: Path) -> None:
    with (
        two_engines() as engines,
        running_haproxy(
            tmp_path,
            [engine.url for engine in engines],
            "balance hdr(x-session-id)",
            "hash-type consistent",
        ) as (router, _),
    ):
        assert ask_all(tmp_path / "data", f"{router}/v1", engines) == 0
        assert all(engine.asked for engine in engines), "one engine got everything"


def test_haproxy_in_turns_splits_nearly_all_personas(tmp_path: Path) -> None:
    with (
        two_engines() as engines,
        running_haproxy(tmp_path, [engine.url for engine in engines], "balance roundrobin") as (router, _),
    ):
        assert ask_all(tmp_path / "data", f"{router}/v1", engines) > len(PERSONAS) / 2
