"""A child process gets the standard library it expects, and none of this server's secrets."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mavera.child_command import build_child_environment, build_python_command

SOURCE = Path(__file__).parents[2] / "src" / "mavera"


def test_a_module_in_the_working_directory_does_not_replace_the_standard_librarys(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')")
    command = build_python_command("mavera.server.worker")
    done = subprocess.run(command, cwd=tmp_path, input="", capture_output=True, text=True, check=False)
    assert "the wrong queue" not in done.stderr


def test_only_one_place_builds_the_command_of_a_child_process() -> None:
    interpreter = re.compile(r"sys\.executable|\bfork\(")
    builders = [path.name for path in SOURCE.rglob("*.py") if interpreter.search(path.read_text())]
    assert builders == ["child_command.py"]
    assert build_python_command("a.b", "c") == (sys.executable, "-P", "-m", "a.b", "c")


@pytest.mark.parametrize(
    "name",
    [
        "MAVERA_KEY_PEPPER",
        "MAVERA_PORT",
        "AWS_SECRET_ACCESS_KEY",
        "OPENAI_API_KEY",
        "HF_TOKEN",
        "PGPASSWORD",
        "DATABASE_URL",
        "SENTRY_DSN",
        "aws_session_token",
    ],
)
def test_secrets_stay_out_of_a_scrubbed_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    assert name not in build_child_environment()
    assert build_child_environment()["LANG"] == "C.UTF-8"
