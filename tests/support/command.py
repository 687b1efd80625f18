"""The command line, run as a user types it."""

import atexit
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from mavera.cli.main import main
from tests.support.ready_process import ReadyProcess

_SECONDS = 240

Mavera = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")}
    return {
        **own,
        "MAVERA_DATA_DIR": str(tmp_path / "data"),
        "MAVERA_MODEL_BACKEND": "scripted",
        "COLUMNS": "200",
    }


@pytest.fixture
def mavera(environment: dict[str, str]) -> Mavera:
    """Run one command to its end, in a process that has loaded mavera already."""
    return run_mavera(environment)


@pytest.fixture
def typed_mavera(environment: dict[str, str]) -> Mavera:
    """Run one command to its end exactly as a shell does, which takes a second of loading."""
    return type_mavera(environment)


def run_mavera(environment: dict[str, str]) -> Mavera:
    """Return what the fixture `mavera` is, for fixtures that a whole file shares."""
    if "COVERAGE_PROCESS_CONFIG" in os.environ:  # it measures processes that Python starts, and no forks
        return type_mavera(environment)

    def run(*arguments: str, code: int = 0, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        done = _ready_process().run(list(arguments), {**environment, **more}, stdin, seconds=_SECONDS)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@functools.cache
def _ready_process() -> ReadyProcess:
    process = ReadyProcess()
    atexit.register(process.close)
    return process


def type_mavera(environment: dict[str, str]) -> Mavera:
    """Return what the fixture `typed_mavera` is, for fixtures that a whole file shares."""

    def run(*arguments: str, code: int = 0, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mavera", *arguments],
            env={**environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def call_mavera(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Mavera:
    """
    Return what runs a command in this process, which has loaded the libraries that a new one would load.

    Use it for commands that only read files and the store, not for those that open a model.
    """
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        out, err = StringIO(), StringIO()
        monkeypatch.setattr(sys, "argv", ["mavera", *arguments])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        done = subprocess.CompletedProcess(
            arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue()
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call
