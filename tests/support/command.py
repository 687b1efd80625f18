"""The command line, run as a user types it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
    """Run one command to its end."""

    def run(*arguments: str, code: int = 0, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mavera", *arguments],
            env={**environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run
