"""An engine that a server announces, as commands of the same data directory find it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mavera.errors import ServiceUnavailable
from mavera.models.choice import choose_shared_model
from mavera.models.embedded.sharing import Announcement, SharedEngine, SharedEngineInfo, find_shared_engine
from mavera.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of this kind")

INFO = SharedEngineInfo(
    server_url="http://127.0.0.1:8000",
    model="smollm2-135m",
    model_path="/models/smollm2.gguf",
    context_tokens=512,
    base_url="http://127.0.0.1:4711",
    api_key="engine-key",
)
LOADING = msgspec.structs.replace(INFO, base_url="", api_key="")

# A server that dies without a word.
SERVER = """
import sys, time, msgspec
from pathlib import Path
from mavera.models.embedded.sharing import Announcement, SharedEngineInfo
announcement = Announcement.open(Path(sys.argv[1]))
announcement.write(msgspec.json.decode(sys.argv[2], type=SharedEngineInfo))
print("here", flush=True)
time.sleep(60)
"""


def test_an_engine_is_found_while_its_server_lives(tmp_path: Path) -> None:
    assert find_shared_engine(tmp_path) is None
    announcement = Announcement.open(tmp_path / "data")
    assert announcement is not None
    assert find_shared_engine(tmp_path / "data") is None

    announcement.write(INFO)
    assert find_shared_engine(tmp_path / "data") == INFO
    assert (tmp_path / "data" / "engine.json").stat().st_mode & 0o777 == 0o600

    announcement.close()
    assert find_shared_engine(tmp_path / "data") is None
    assert not (tmp_path / "data" / "engine.json").exists()


def test_what_a_killed_server_has_left_is_not_believed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path), msgspec.json.encode(INFO).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"here\n"
        assert find_shared_engine(tmp_path) == INFO
        os.kill(server.pid, signal.SIGKILL)
    assert (tmp_path / "engine.json").exists()

    assert find_shared_engine(tmp_path) is None


def test_a_second_server_leaves_the_announcement_to_the_first(tmp_path: Path) -> None:
    first = Announcement.open(tmp_path)
    assert first is not None
    first.write(INFO)

    assert Announcement.open(tmp_path) is None
    assert find_shared_engine(tmp_path) == INFO
    first.close()


def test_a_damaged_announcement_is_none(tmp_path: Path) -> None:
    announcement = Announcement.open(tmp_path)
    assert announcement is not None
    (tmp_path / "engine.json").write_bytes(b'{"server_url": 7')

    assert find_shared_engine(tmp_path) is None
    announcement.close()


def test_a_folder_that_cannot_be_written_costs_only_the_announcement(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    assert Announcement.open(tmp_path / "file") is None


def test_a_command_waits_while_the_server_loads_its_model(tmp_path: Path) -> None:
    async def main() -> str:
        announcement = Announcement.open(tmp_path)
        assert announcement is not None
        announcement.write(LOADING)
        engine = SharedEngine(LOADING, tmp_path, start_seconds=30)
        waiting = asyncio.create_task(engine.endpoint())
        await asyncio.sleep(0)
        assert not waiting.done()
        announcement.write(INFO)
        address = await waiting
        announcement.close()
        return address.base_url

    assert asyncio.run(main()) == INFO.base_url


def test_a_server_that_ends_while_it_loads_fails_the_command(tmp_path: Path) -> None:
    async def main() -> None:
        announcement = Announcement.open(tmp_path)
        assert announcement is not None
        announcement.write(LOADING)
        engine = SharedEngine(LOADING, tmp_path, start_seconds=30)
        announcement.close()
        await engine.endpoint()

    with pytest.raises(ServiceUnavailable, match="running server's model is not available"):
        asyncio.run(main())


def test_a_shared_engine_is_neither_started_nor_given_work_while_idle(tmp_path: Path) -> None:
    async def main() -> set[str]:
        model = choose_shared_model(Settings(data_dir=tmp_path, model="smollm2-135m"), INFO)
        assert model.profile.keep_prefixes is not None
        model.profile.keep_prefixes([()])
        await model.start()
        names = {task.get_name() for task in asyncio.all_tasks()}
        await model.close()
        return names

    assert not asyncio.run(main()) & {"mavera-prefixes", "mavera-engine"}
