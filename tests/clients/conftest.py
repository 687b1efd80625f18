"""
What the client tests share: one server, and the two places with other people's clients.

    .venv/clients                   Python clients, from requirements/clients.txt; `make test` makes it
    tests/clients/node/node_modules npm packages, pinned in package.json; `make node-clients` fetches them

Where one is missing its tests are skipped and say so; in CI they fail.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.attentive import AttentiveModel
from tests.conftest import Served, running_server
from tests.support.requirements import require_program, skip_or_fail

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PERSONA_ID = "cmwqagwqp44qoe5wkq8j5u15r"

Run = Callable[..., str]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Served]:
    data_dir = tmp_path_factory.mktemp("clients")
    data_dir.chmod(0o700)
    shutil.copy(empty_store, data_dir)
    with running_server(data_dir, AttentiveModel()) as server:
        yield server


@pytest.fixture(scope="session")
def run(served: Served) -> Run:
    """Run a program as a user of `served`; one that fails fails the test. Return what it printed."""

    def run(*command: str, cwd: Path = HERE, may_exit: tuple[int, ...] = (0,), **environ: str) -> str:
        known = {
            "MAVERA_BASE_URL": served.base_url,
            "MAVERA_API_KEY": served.key,
            "LLMPROBE_API_KEY": served.key,
            "MAVERA_PERSONA_ID": PERSONA_ID,
            # Of the clients', which would call home: here nothing leaves the machine.
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
            "LANGSMITH_TRACING": "false",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HAYSTACK_TELEMETRY_ENABLED": "False",
        }
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **known, **environ},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode in may_exit, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def python() -> str:
    """Return the interpreter that has the Python clients."""
    path = ROOT / ".venv" / "clients" / "bin" / "python"
    if not path.exists():
        skip_or_fail("the Python clients are not installed: make .venv/clients/installed")
    return str(path)


@pytest.fixture(scope="session")
def node() -> str:
    """Return node, where the npm clients are there too."""
    found = require_program("node")
    if not (HERE / "node" / "node_modules" / "openai").is_dir():
        skip_or_fail("the npm clients are not fetched: make node-clients")
    return found
