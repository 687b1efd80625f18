"""How an operator installs what is optional: from the clone or a wheel file, never by name."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from mavera.extras import (
    Extra,
    build_install_command,
    describe_missing_extra,
    find_foreign_distributions,
)
from tests.docs.pages import ROOT

EXTRAS: tuple[Extra, ...] = get_args(Extra)
SRC = ROOT / "src"


def install(site: Path, name: str, version: str, **origin: object) -> None:
    """Put the metadata of a distribution with a package `mavera` into the folder `site`."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    (folder / "top_level.txt").write_text("mavera\n")
    if origin:
        (folder / "direct_url.json").write_text(json.dumps(origin))


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_clone_installs_an_extra_from_itself(
    extra: Extra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    install(tmp_path / "site", "mavera-server", "0.1.0", url=clone.as_uri(), dir_info={"editable": True})
    monkeypatch.syspath_prepend(tmp_path / "site")

    words = shlex.split(build_install_command(extra))

    assert words == [sys.executable, "-m", "pip", "install", "-e", f"{clone}[{extra}]"]
    assert shlex.join(words) in describe_missing_extra(extra, "MAVERA_X")


def test_a_wheel_installs_an_extra_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "mavera_server-0.1.0-py3-none-any.whl"
    wheel.touch()
    install(tmp_path / "site", "mavera-server", "0.1.0", url=wheel.as_uri(), archive_info={})
    monkeypatch.syspath_prepend(tmp_path / "site")

    assert shlex.split(build_install_command("s3"))[-2:] == ["install", f"{wheel}[s3]"]


@pytest.mark.parametrize(
    "origin",
    [
        {"url": "file:///nowhere/mavera", "dir_info": {}},
        {"url": "https://example.com/mavera_server.whl"},
        {"archive_info": {}},
    ],
    ids=["a clone that is gone", "a URL", "no URL"],
)
def test_an_unknown_origin_gets_the_command_for_the_clone(
    origin: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mavera-server", "0.1.0", **origin)
    monkeypatch.syspath_prepend(tmp_path)

    message = describe_missing_extra("redis", "MAVERA_RATE_LIMIT_URL")

    assert message == (
        "MAVERA_RATE_LIMIT_URL needs the extra 'redis', which is not installed. "
        "Type, in the clone of mavera: .venv/bin/python -m pip install -e '.[redis]'"
    )


def test_another_projects_package_of_the_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mavera", "0.1.5")
    install(tmp_path, "mavera_server", "0.1.0")
    install(tmp_path, "Mavera.Client", "2.0")
    monkeypatch.syspath_prepend(tmp_path)

    found = find_foreign_distributions()

    assert {"mavera", "Mavera.Client"} <= set(found)
    assert not {"mavera-server", "mavera_server"} & set(found)


def test_doctor_reports_another_projects_package_of_the_name(tmp_path: Path) -> None:
    install(tmp_path, "Mavera.Client", "2.0")
    done = run_command(tmp_path, "doctor", "--json")

    findings = {finding["detail"]: finding for finding in json.loads(done.stdout)}
    [detail] = [text for text in findings if "Mavera.Client" in text]
    assert not findings[detail]["ok"]
    assert "pip uninstall -y Mavera.Client" in findings[detail]["advice"]
    assert done.returncode == 1


def test_a_package_that_hides_ours_is_named_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "mavera").mkdir()
    (tmp_path / "mavera" / "__init__.py").write_text("print('the code of a stranger ran')\n")

    done = run_command(tmp_path, "doctor")

    assert done.returncode == 1
    assert str(tmp_path / "mavera" / "__init__.py") in done.stderr
    assert "pip uninstall -y mavera" in done.stderr
    assert "stranger" not in done.stdout
    assert "Traceback" not in done.stderr


def run_command(first_on_the_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the console script's function with a folder on the path before our own."""
    start = f"import sys; sys.path[:0] = [{str(first_on_the_path)!r}, {str(SRC)!r}]; "
    return subprocess.run(
        [sys.executable, "-c", start + "from mavera_command import main; main()", *arguments],
        env={
            "MAVERA_MODEL_BACKEND": "scripted",
            "MAVERA_DATA_DIR": str(first_on_the_path / "data"),
            "PATH": "",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
