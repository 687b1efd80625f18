"""`mavera models use`, `remove`, `list` and `detect`, and the file in which a choice is kept."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mavera.cli.local_servers import LOCAL_SERVERS, LocalServer, detect_servers
from mavera.cli.models import choose_embedded_model, choose_local_model
from mavera.cli.settings_file import change_settings
from mavera.errors import ConfigurationError
from mavera.models.embedded.catalogue import QWEN_0_5B, SMOLLM2_135M
from mavera.settings import Settings, load_settings
from tests.support.command import Mavera


@dataclass
class LocalStub:
    """Answers `GET /v1/models` as a local server does, and keeps what it was asked."""

    body: bytes = b'{"object": "list", "data": []}'
    status: int = 200
    requests: list[str] = field(default_factory=list)
    silent: threading.Event | None = None

    @contextmanager
    def running(self) -> Iterator[int]:
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.requests.append(self.requestline)
                if stub.silent is not None:
                    stub.silent.wait(5)
                self.send_response(stub.status)
                self.send_header("Location", "/v1/other")
                self.send_header("Content-Length", str(len(stub.body)))
                self.end_headers()
                self.wfile.write(stub.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield server.server_port
            finally:
                if self.silent is not None:
                    self.silent.set()
                server.shutdown()
                thread.join()


def listing(*names: str) -> LocalStub:
    return LocalStub(json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode())


@contextmanager
def local_servers(*stubs: LocalStub) -> Iterator[list[LocalServer]]:
    """Run the stubs as the first of the four, each on a port of its own."""
    with ExitStack() as stack:
        ports = [stack.enter_context(stub.running()) for stub in stubs]
        yield [replace(server, port=port) for server, port in zip(LOCAL_SERVERS, ports, strict=False)]


def test_the_four_servers_are_asked_for_their_models_and_nothing_else() -> None:
    stubs = [listing("llama3.2:3b", "qwen3:8b"), listing("gemma"), listing("file.gguf"), listing("org/model")]
    with local_servers(*stubs) as servers:
        found = asyncio.run(detect_servers(servers))

    assert [(one.server.title, one.models) for one in found] == [
        ("Ollama", ("llama3.2:3b", "qwen3:8b")),
        ("LM Studio", ("gemma",)),
        ("llama-server", ("file.gguf",)),
        ("vLLM", ("org/model",)),
    ]
    assert [stub.requests for stub in stubs] == [["GET /v1/models HTTP/1.1"]] * 4


def test_what_does_not_answer_as_a_model_server_is_not_shown() -> None:
    stubs = [LocalStub(b"<html>"), LocalStub(status=302), LocalStub(status=404), LocalStub(b'{"data": 7}')]
    with local_servers(*stubs) as servers:
        assert asyncio.run(detect_servers([*servers, LocalServer("none", "None", 9)])) == []
    assert [len(stub.requests) for stub in stubs] == [1, 1, 1, 1]


def test_a_silent_server_does_not_hide_the_others() -> None:
    stubs = [LocalStub(silent=threading.Event()), listing("gemma")]
    with local_servers(*stubs) as servers:
        found = asyncio.run(detect_servers(servers))

    assert [one.server.key for one in found] == ["lmstudio"]


def test_a_server_that_wants_a_key_is_shown_as_one() -> None:
    with local_servers(LocalStub(status=401)) as servers:
        [found] = asyncio.run(detect_servers(servers))

    assert found.problem == "it asks for a key"


def test_names_that_would_write_to_the_terminal_are_left_out() -> None:
    with local_servers(listing("good", "\x1b[31mred", "two\nlines", "x" * 1000, "")) as servers:
        [found] = asyncio.run(detect_servers(servers))

    assert found.models == ("good",)


def test_a_list_without_end_is_not_read_to_its_end() -> None:
    with local_servers(LocalStub(b'{"data": [' + b" " * 3_000_000 + b"]}")) as servers:
        assert asyncio.run(detect_servers(servers)) == []


@pytest.mark.parametrize("typed", ["llama3.2:3b", "phi4"])
def test_a_model_of_a_local_server_is_chosen_by_two_settings(typed: str) -> None:
    with local_servers(listing("llama3.2:3b", "phi4:latest")) as [ollama]:
        changes = asyncio.run(choose_local_model(Settings(), ollama, typed))

    name = {"phi4": "phi4:latest"}.get(typed, typed)
    assert changes == {"upstream_base_url": ollama.base_url, "upstream_model": name}
    assert Settings(**changes).backend == "upstream"  # type: ignore[arg-type]


def test_a_local_server_wins_over_a_backend_that_was_named() -> None:
    with local_servers(listing("gemma")) as [server]:
        changes = asyncio.run(choose_local_model(Settings(model_backend="embedded"), server, "gemma"))

    assert changes["model_backend"] == "upstream"


def test_a_model_that_the_local_server_lacks_is_answered_with_what_it_has() -> None:
    with local_servers(listing("llama3.2:3b")) as [ollama]:
        with pytest.raises(ConfigurationError, match=r"Did you mean ollama:llama3\.2:3b\?"):
            asyncio.run(choose_local_model(Settings(), ollama, "llama3.2"))
        with pytest.raises(ConfigurationError, match=r"no model 'zzz'\. It has llama3\.2:3b"):
            asyncio.run(choose_local_model(Settings(), ollama, "zzz"))
    with pytest.raises(ConfigurationError, match=r"Ollama does not answer at .*Start it first"):
        asyncio.run(choose_local_model(Settings(), ollama, "llama3.2:3b"))


def put_model(folder: Path) -> Path:
    """Make a file that has the size of SmolLM2 and takes no room."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SMOLLM2_135M.file_name
    with path.open("wb") as file:
        file.truncate(SMOLLM2_135M.size_bytes)
    return path


def test_a_model_that_is_not_here_cannot_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Type: mavera models pull qwen3-4b"):
        choose_embedded_model(Settings(models_dir=tmp_path), "qwen3-4b")


def test_a_chosen_model_wins_over_a_server_and_a_file_that_were_chosen_before(tmp_path: Path) -> None:
    put_model(tmp_path)
    settings = Settings(models_dir=tmp_path, upstream_base_url="http://127.0.0.1:1/v1", model_path=tmp_path)

    changes = choose_embedded_model(settings, "135m")

    assert changes == {"model": "smollm2-135m", "model_path": None, "model_backend": "embedded"}


def test_use_writes_the_choice_and_keeps_the_other_lines(mavera: Mavera, tmp_path: Path) -> None:
    put_model(tmp_path / "models")
    file = tmp_path / "data" / "mavera.toml"
    file.parent.mkdir()
    file.write_text('# ours\nport = 9000\nmodel = "qwen3-4b"  # old\nmodel_backend = "auto"\n')
    file.chmod(0o600)

    done = mavera("models", "use", "smollm2-135m", MAVERA_MODELS_DIR=str(tmp_path / "models"))

    assert file.read_text() == '# ours\nport = 9000\nmodel = "smollm2-135m"\n'
    assert file.stat().st_mode & 0o777 == 0o600
    assert "smollm2-135m answers from the next start." in done.stderr
    assert load_settings({}, data_dir=file.parent).backend == "embedded"


def test_a_variable_that_wins_over_the_choice_is_named(mavera: Mavera, tmp_path: Path) -> None:
    put_model(tmp_path / "models")

    done = mavera(
        "models", "use", "135m", MAVERA_MODELS_DIR=str(tmp_path / "models"), MAVERA_MODEL="qwen3-4b"
    )

    assert "MAVERA_MODEL in the environment wins over the file." in done.stderr


@pytest.mark.parametrize("text", ['model = """\nold"""\n', "[table]\nx = 1\n", "not toml"])
def test_a_file_that_is_written_in_another_way_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mavera.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=r'Set there: model = "new"\.$'):
        change_settings(path, {"model": "new"})
    assert path.read_text() == text


def test_a_name_with_quotes_stays_one_value(tmp_path: Path) -> None:
    path = tmp_path / "mavera.toml"

    change_settings(path, {"upstream_model": 'a"\nport = 1 \\ é'})

    assert load_settings({}, data_dir=tmp_path).upstream_model == 'a"\nport = 1 \\ é'


def test_the_list_says_what_is_here_and_in_use(mavera: Mavera, tmp_path: Path) -> None:
    put_model(tmp_path / "models")
    places = {"MAVERA_MODELS_DIR": str(tmp_path / "models"), "MAVERA_MODEL_BACKEND": "embedded"}

    rows = json.loads(mavera("models", "list", "--json", MAVERA_MODEL="135m", **places).stdout)
    table = mavera("models", "list", MAVERA_MODEL="135m", **places).stdout

    by_name = {row["name"]: row for row in rows}
    assert by_name["smollm2-135m"]["in_use"]
    assert by_name["smollm2-135m"]["slots_that_fit"] == 4
    assert by_name["qwen3-4b"]["memory_bytes"] == 2_497_280_736 + 4 * 8192 * 147_456 + 500_000_000
    assert not by_name["qwen3-4b"]["tried"]
    assert [name for name, row in by_name.items() if row["path"]] == ["smollm2-135m"]
    assert "in use" in next(line for line in table.splitlines() if line.startswith("smollm2-135m"))


def test_a_model_in_use_is_not_removed_and_another_is(mavera: Mavera, tmp_path: Path) -> None:
    path = put_model(tmp_path / "models")
    places = {"MAVERA_MODELS_DIR": str(tmp_path / "models"), "MAVERA_MODEL_BACKEND": "embedded"}

    refused = mavera("models", "remove", "135m", code=1, MAVERA_MODEL="135m", **places)
    assert "smollm2-135m is in use. Choose another first" in refused.stderr
    assert path.exists()

    done = mavera("models", "remove", "135m", MAVERA_MODEL=QWEN_0_5B.name, **places)
    assert "0.10 GB are free again" in done.stderr
    assert not path.exists()


def test_detect_prints_one_json_list(mavera: Mavera) -> None:
    for row in json.loads(mavera("models", "detect", "--json").stdout):
        assert set(row) == {"server", "base_url", "models", "problem"}


def test_a_pull_that_cannot_fit_into_memory_fetches_nothing(mavera: Mavera, tmp_path: Path) -> None:
    context = {"MAVERA_EMBEDDED_CONTEXT_TOKENS": "1048576", "MAVERA_MODELS_DIR": str(tmp_path / "models")}

    refused = mavera("models", "pull", "qwen3-4b", code=1, MAVERA_MODEL_HUB="http://127.0.0.1:9", **context)

    assert "qwen3-4b needs about 157.6 GB of memory" in refused.stderr
    assert not (tmp_path / "models").exists()
