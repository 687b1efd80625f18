"""
The wheel, the source archive and the clone, installed where nothing of this project is.

The environments are new and see the third-party packages of the one that runs the tests, so nothing is
fetched. pip runs with `--no-index`, so a test that would ask an index fails.
"""

import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from mavera.api.routes.manual import list_pages
from tests.docs.pages import ROOT

pytestmark = pytest.mark.proof

BUILD = (
    "import sys; from setuptools import build_meta as build; print(getattr(build, sys.argv[1])(sys.argv[2]))"
)
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def clean_environ(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAVERA_", "PYTHON"))}
    return {**own, **OFFLINE, **more}


def run(*command: str | Path, cwd: Path, code: int = 0, environ: dict[str, str] | None = None) -> str:
    """Return what the command printed, to either stream. Fails unless it exits with `code`."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean_environ(**(environ or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def copy_tree(target: Path) -> Path:
    """Copy what a clone of this tree would hold."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def make_environment(path: Path) -> Path:
    """Make an environment that sees our third-party packages but no installation of ours. Return its bin."""
    venv.create(path, with_pip=False)
    borrowed = path / "borrowed"
    borrowed.mkdir()
    for folder in {*site.getsitepackages(), *(p for p in sys.path if p.endswith("site-packages"))}:
        for entry in Path(folder).iterdir():
            if "mavera" not in entry.name and entry.suffix != ".pth" and not (borrowed / entry.name).exists():
                (borrowed / entry.name).symlink_to(entry)
    [packages] = path.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"{borrowed}\n")
    return path / "bin"


def build(tree: Path, hook: str, target: Path) -> Path:
    """Build with the backend that pyproject.toml names. Return the file."""
    target.mkdir(exist_ok=True)
    return target / run(sys.executable, "-c", BUILD, hook, target, cwd=tree).splitlines()[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, "build_sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the source archive, as a packager does."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [unpacked] = folder.iterdir()
    return build(unpacked, "build_wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_package(tree: Path, wheel: Path) -> None:
    source = {
        path.relative_to(tree / "src").as_posix()
        for path in (tree / "src").rglob("*")
        if path.is_file() and "egg-info" not in path.as_posix() and "__pycache__" not in path.parts
    }
    manual = {f"mavera/manual/{page.path}" for page in list_pages(tree / "docs")}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if "/licenses/" in name]

    assert wheel.name.startswith("mavera_server-")
    assert packed == source | manual
    assert {Path(name).name for name in licences} >= {"LICENSE", "NOTICE"}


def test_a_wheel_in_an_empty_environment_starts_a_server(wheel: Path, tmp_path: Path) -> None:
    bin_folder = make_environment(tmp_path / "env")
    python, mavera = bin_folder / "python", bin_folder / "mavera"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    settings = {"MAVERA_DATA_DIR": str(tmp_path / "data"), "MAVERA_MODEL_BACKEND": "scripted"}

    assert "serve" in run(mavera, "--help", cwd=tmp_path, environ=settings)
    findings = json.loads(run(mavera, "doctor", "--json", cwd=tmp_path, environ=settings))
    assert all(finding["ok"] for finding in findings), findings
    assert re.search(r"mvra_live_\w+", first_start(mavera, tmp_path, settings))
    answer = run(
        mavera, "ask", "Would you pay?", "--persona", "gen z consumer", cwd=tmp_path, environ=settings
    )
    assert "This is a scripted answer" in answer
    assert str(wheel) in run(
        python, "-c", "from mavera.extras import *; print(build_install_command('s3'))", cwd=tmp_path
    )
    check = "import mavera, mavera.app, mavera.analysis, sys; print(mavera.__file__)"
    assert str(tmp_path / "env") in run(python, "-c", check, cwd=tmp_path)


def test_the_clone_builds_the_same_wheel_as_the_source_archive(
    tree: Path, wheel: Path, tmp_path: Path
) -> None:
    direct = build(tree, "build_wheel", tmp_path / "direct")

    assert direct.name == wheel.name
    with zipfile.ZipFile(direct) as one, zipfile.ZipFile(wheel) as other:
        assert {name: one.getinfo(name).CRC for name in one.namelist() if not name.endswith("RECORD")} == {
            name: other.getinfo(name).CRC for name in other.namelist() if not name.endswith("RECORD")
        }


def test_a_wheel_shows_its_pages_and_says_what_a_study_needs(wheel: Path, tmp_path: Path) -> None:
    bin_folder = make_environment(tmp_path / "env")
    python = bin_folder / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    settings = {"MAVERA_DATA_DIR": str(tmp_path / "data"), "MAVERA_MODEL_BACKEND": "scripted"}

    assert run(python, "-m", "mavera", "--version", cwd=tmp_path).startswith("mavera ")
    # The command asks which shell started it, so a shell that it knows does.
    assert "mavera" in run("bash", "-c", f"'{bin_folder}/mavera' --show-completion; exit $?", cwd=tmp_path)
    pages = (
        "from mavera.api.routes.manual import find_folder, list_pages; print(len(list_pages(find_folder())))"
    )
    assert int(run(python, "-c", pages, cwd=tmp_path)) > 30
    run(python, "-m", "mavera", "study", "new", "concept.yaml", cwd=tmp_path, environ=settings)
    study = (python, "-m", "mavera", "study", "run", "concept.yaml", "--out", "results")
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    assert "concept" in run(*study, cwd=tmp_path, environ=settings).lower()
    for name in ("statsmodels", "dbos"):
        (tmp_path / "env" / "borrowed" / name).unlink()
    told = run(*study, cwd=tmp_path, environ=settings, code=1)
    assert f"{wheel}[research]" in told
    assert "Traceback" not in told


def first_start(mavera: Path, folder: Path, settings: dict[str, str]) -> str:
    """Start the server, wait until it has printed the first call, stop it. Return what it printed."""
    command = [str(mavera), "serve", "--port", "0"]
    printed = ""
    with subprocess.Popen(
        command, cwd=folder, env=clean_environ(**settings), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                printed += line
                if line.lstrip().startswith("-d "):
                    break
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, -signal.SIGTERM)
    return printed


def test_make_replaces_the_former_name_and_a_strangers_package(tmp_path: Path) -> None:
    clone = copy_tree(tmp_path / "clone")
    bin_folder = make_environment(clone / ".venv")
    python = bin_folder / "python"
    project = (clone / "pyproject.toml").read_text(encoding="utf-8")
    former = project.replace('name = "mavera-server"', 'name = "mavera"')
    (clone / "pyproject.toml").write_text(former, encoding="utf-8")
    install = (python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(*install, "-e", ".", cwd=clone)
    (clone / "pyproject.toml").write_text(project, encoding="utf-8")  # git pull

    run("make", ".venv/run", cwd=clone)

    assert_only_ours(bin_folder, clone)
    # A stranger's package of the name hides the clone's; make takes it away again.
    run(*install, build_strangers_package(tmp_path), cwd=clone)
    told = run(bin_folder / "mavera", "doctor", cwd=clone, code=1)
    assert "another project's package" in told
    assert "Traceback" not in told
    (clone / "pyproject.toml").touch()
    run("make", ".venv/run", cwd=clone)
    assert_only_ours(bin_folder, clone)


def assert_only_ours(bin_folder: Path, clone: Path) -> None:
    listed = json.loads(run(bin_folder / "python", "-m", "pip", "list", "--format", "json", cwd=clone))
    assert [each["name"] for each in listed if "mavera" in each["name"]] == ["mavera-server"]
    assert "serve" in run(bin_folder / "mavera", "--help", cwd=clone)
    script = "import mavera; print(mavera.__file__)"
    assert str(clone / "src") in run(bin_folder / "python", "-c", script, cwd=clone)


def build_strangers_package(tmp_path: Path) -> Path:
    folder = tmp_path / "stranger"
    (folder / "mavera").mkdir(parents=True)
    (folder / "mavera" / "__init__.py").write_text("raise RuntimeError('the code of a stranger ran')\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "mavera"\nversion = "0.1.5"\n[tool.setuptools]\npackages = ["mavera"]\n'
    )
    return folder
