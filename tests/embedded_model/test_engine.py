"""The engine's process with a real, small model: it starts, dies, hangs and ends as it should."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import pytest
import uvloop

from mavera.errors import ServiceUnavailable
from mavera.models.embedded.parameters import EngineParameters, EngineReport
from mavera.models.embedded.process import COMMAND, measure_work
from mavera.models.embedded.pull import resolve_model
from mavera.models.embedded.supervisor import EmbeddedEngine, Pace
from mavera.settings import Settings, load_settings
from tests.support.requirements import require_model

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by POSIX signals"),
]

QUICK = Pace(
    health_interval_seconds=0.2,
    health_timeout_seconds=0.3,
    health_strikes=3,
    first_wait_seconds=1.0,
    look_for_model_seconds=0.2,
)

# A server that is killed: prints the engine's pid, then lives until someone ends it.
PARENT = """
import asyncio, sys
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.settings import load_settings

async def main():
    engine = EmbeddedEngine(load_settings())
    await engine.start()
    if sys.argv[1] == "loaded":
        await engine.endpoint()
    while engine.pid is None:
        await asyncio.sleep(0)
    print(engine.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def settings() -> Settings:
    settings = load_settings(model="smollm2-135m", embedded_context_tokens=512, embedded_slots=2)
    require_model(settings)
    return settings


@asynccontextmanager
async def running(settings: Settings, pace: Pace = QUICK) -> AsyncIterator[EmbeddedEngine]:
    """Start an engine, and see that nothing of it is left at the end."""
    before = asyncio.all_tasks()
    engine = EmbeddedEngine(settings, pace=pace)
    await engine.start()
    try:
        yield engine
    finally:
        pid = engine.pid
        await engine.close()
    assert asyncio.all_tasks() == before
    assert pid is None or not is_alive(pid)
    assert engine.pid is None


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie, dead and not yet collected by its parent, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to tell of it
            await asyncio.sleep(0.01)


def started_pid(engine: EmbeddedEngine) -> int:
    assert engine.pid is not None
    return engine.pid


async def refusal(call: Awaitable[object]) -> ServiceUnavailable:
    with pytest.raises(ServiceUnavailable) as refused:
        await call
    return refused.value


async def ask(engine: EmbeddedEngine) -> int:
    """Send one short chat and return the status; the key is part of the question."""
    base_url, key = await engine.endpoint()
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        session.post(f"{base_url}/v1/chat/completions", json=body) as answer,
    ):
        return answer.status


def test_a_first_call_waits_for_the_model_and_is_answered(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            assert engine.status().state == "starting"
            assert await ask(engine) == 200
            assert engine.status().state == "ready"

    asyncio.run(scenario())


def test_the_engines_threads_soon_sleep_while_they_wait(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            await engine.endpoint()
            process = Path(f"/proc/{engine.pid}")
            environ = (process / "environ").read_bytes().split(b"\0")
            assert b"GOMP_SPINCOUNT=" + os.environb.get(b"GOMP_SPINCOUNT", b"2000") in environ
            assert not [name for name in environ if name.startswith(b"MAVERA_")]

    asyncio.run(scenario())


def test_nobody_without_the_key_is_answered_and_the_key_is_in_plain_sight_nowhere(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            base_url, key = await engine.endpoint()
            async with aiohttp.ClientSession() as session, session.get(f"{base_url}/slots") as answer:
                assert answer.status == 401
            process = Path(f"/proc/{engine.pid}")
            assert key.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            assert key not in repr(await engine.endpoint())

    asyncio.run(scenario())


def test_started_on_demand_it_waits_for_the_first_call(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(msgspec.structs.replace(settings, embedded_start="demand")) as engine:
            assert (engine.status().state, engine.pid) == ("idle", None)
            await engine.endpoint()
            assert engine.status().state == "ready"

    asyncio.run(scenario())


def test_after_a_crash_callers_are_told_when_it_is_back_and_it_is(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            first = await engine.endpoint()
            pid = started_pid(engine)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: engine.status().state != "ready")

            refused = await refusal(engine.endpoint())  # had it waited, it would have an address
            assert "was killed" in refused.message
            assert refused.retry_after is not None
            assert 1 <= refused.retry_after <= 10

            await until(lambda: engine.status().state == "ready")
            assert await ask(engine) == 200
            assert started_pid(engine) != pid
            assert (await engine.endpoint()).api_key != first.api_key

    asyncio.run(scenario())


@pytest.mark.proof
def test_each_crash_is_followed_by_a_longer_wait(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF" + bytes(1000))

    async def scenario() -> None:
        pace = Pace(first_wait_seconds=0.05, longest_wait_seconds=0.2)
        async with running(msgspec.structs.replace(settings, model_path=torn), pace) as engine:
            await until(lambda: engine.status().restarts == 4)

    asyncio.run(scenario())

    waits = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert waits[:4] == [0.05, 0.1, 0.2, 0.2]


def test_a_file_the_engine_refuses_is_reported_to_those_who_wait(settings: Settings, tmp_path: Path) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF" + bytes(1000))

    async def scenario() -> None:
        async with running(msgspec.structs.replace(settings, model_path=torn)) as engine:
            refused = await refusal(engine.endpoint())
            assert "engine refused the model" in refused.message
            assert "\n" not in refused.message

    asyncio.run(scenario())


@pytest.mark.proof
def test_an_engine_that_hangs_is_replaced(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            await engine.endpoint()
            pid = started_pid(engine)
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: not is_alive(pid))
            refused = await refusal(engine.endpoint())
            assert "stopped answering" in refused.message
            await until(lambda: engine.status().state == "ready")
            assert started_pid(engine) != pid

    asyncio.run(scenario())


def test_a_frozen_engine_is_found_long_before_a_busy_one_is_given_up(settings: Settings) -> None:
    """With patience for 1,000 unanswered questions, only the lack of any work can end it."""

    async def scenario() -> None:
        pace = replace(QUICK, health_strikes=1_000, recheck_seconds=0.2)
        async with running(settings, pace) as engine:
            await engine.endpoint()
            pid = started_pid(engine)
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: not is_alive(pid))

    asyncio.run(scenario())


def test_work_is_seen_in_a_process_that_computes_and_not_in_one_that_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            before = measure_work(process.pid)
            deadline = time.monotonic() + 30
            while measure_work(process.pid) == before:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            stopped = measure_work(process.pid)
            time.sleep(0.2)
            assert measure_work(process.pid) == stopped
        finally:
            process.kill()
    assert measure_work(process.pid) is None


@pytest.mark.proof
def test_a_load_that_hangs_is_given_up_and_those_who_wait_are_told(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(msgspec.structs.replace(settings, embedded_start_timeout_seconds=0.5)) as engine:
            await until(lambda: engine.pid is not None)
            pid = started_pid(engine)
            os.kill(pid, signal.SIGSTOP)
            refused = await refusal(engine.endpoint())
            assert refused.retry_after is not None
            await until(lambda: not is_alive(pid))

    asyncio.run(scenario())


def test_without_a_model_the_message_says_what_to_type_and_a_pull_is_noticed(
    settings: Settings, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running(msgspec.structs.replace(settings, models_dir=tmp_path)) as engine:
            refused = await refusal(engine.endpoint())
            assert refused.message.endswith("Type: mavera models pull")
            assert engine.status().state == "unavailable"

            pulled = resolve_model(settings)
            assert pulled is not None
            (tmp_path / pulled.name).symlink_to(pulled)
            await engine.endpoint()

    asyncio.run(scenario())


def test_an_engine_that_is_not_installed_is_said_to_be(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xllamacpp.py").write_text(
        "raise ImportError('libgomp.so.1: cannot open shared object file')"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    async def scenario() -> None:
        async with running(settings) as engine:
            refused = await refusal(engine.endpoint())
            assert "cannot be imported (libgomp.so.1" in refused.message

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("number", "advice"), [(signal.SIGILL, "lacks AVX2"), (signal.SIGKILL, "out of memory")]
)
def test_how_the_engine_died_becomes_advice(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, advice: str
) -> None:
    (tmp_path / "xllamacpp.py").write_text(f"import os; os.kill(os.getpid(), {int(number)})")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    async def scenario() -> None:
        async with running(settings) as engine:
            assert advice in (await refusal(engine.endpoint())).message

    asyncio.run(scenario())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("after_seconds", [0.0, 0.0005, 0.002, 0.05, 0.3])
@pytest.mark.proof
def test_it_can_be_closed_at_any_moment_of_its_start(
    settings: Settings, after_seconds: float, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scenario() -> None:
        before = children_of(os.getpid())  # other tests may have left a process that forks commands
        async with running(settings) as engine:
            await asyncio.sleep(after_seconds)
        await engine.close()
        assert (await refusal(engine.endpoint())).message == "The server is shutting down."
        assert children_of(os.getpid()) == before

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


@pytest.mark.proof
def test_it_can_be_closed_while_it_waits_to_start_again(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            await engine.endpoint()
            os.kill(started_pid(engine), signal.SIGKILL)
            await until(lambda: engine.status().state == "unavailable")

    asyncio.run(scenario())


@pytest.mark.parametrize("moment", ["loading", "loaded"])
@pytest.mark.proof
def test_a_server_that_is_killed_leaves_no_engine(settings: Settings, tmp_path: Path, moment: str) -> None:
    environ = {**os.environ, "MAVERA_MODEL": settings.model, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, moment], env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if moment == "loading":
            # By now Python is up and the model, which takes longer, is being read.
            time.sleep(0.2)
        assert is_alive(pid)
        parent.kill()
    asyncio.run(until(lambda: not is_alive(pid), seconds=1.0))


@pytest.mark.proof
def test_the_kernel_ends_an_engine_that_cannot_notice_its_parents_death(
    settings: Settings, tmp_path: Path
) -> None:
    # PyDLL keeps the interpreter's lock, as the real engine does while it loads a model.
    (tmp_path / "xllamacpp.py").write_text("import ctypes; ctypes.PyDLL(None).sleep(30)")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environ = {**os.environ, "MAVERA_MODEL": settings.model, "PYTHONPATH": paths}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, "loading"],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert is_alive(pid)
        parent.kill()
    asyncio.run(until(lambda: not is_alive(pid), seconds=1.0))


@pytest.mark.proof
def test_an_engine_whose_stdin_ends_ends_too(settings: Settings) -> None:
    model = resolve_model(settings)
    parameters = EngineParameters(
        model_path=str(model), api_key="key", slots=1, context_tokens=512, threads=1, parent_pid=os.getpid()
    )
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(msgspec.json.encode(parameters) + b"\n")
        child.stdin.flush()
        report = msgspec.json.decode(child.stdout.readline(), type=EngineReport)
        assert report.port
        child.stdin.close()
        assert child.wait(timeout=5) == 0


@pytest.mark.proof
def test_a_key_press_that_interrupts_the_server_spares_the_engine(settings: Settings) -> None:
    async def scenario() -> None:
        async with running(settings) as engine:
            await until(lambda: engine.pid is not None)
            assert os.getsid(started_pid(engine)) != os.getsid(0)

    asyncio.run(scenario())


def children_of(pid: int) -> list[str]:
    """The pids of a process's children, whichever of its threads started them."""
    return [
        child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
