"""
The ES modules of the playground and of studies, tested by Node's own test runner.

Node is not needed to install or to run mavera, so these tests are skipped on a machine without it.
"""

import subprocess
from pathlib import Path

import pytest

from tests.support.requirements import require_program

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize("name", ["form", "events", "lanes", "code", "studies"])
def test_a_module_passes_its_tests(name: str) -> None:
    node = require_program("node", "Debian's package nodejs")

    run = subprocess.run(
        [node, "--test", SCRIPTS / f"{name}.test.mjs"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stdout


def test_every_test_of_a_module_is_run() -> None:
    found = {path.name.removesuffix(".test.mjs") for path in SCRIPTS.glob("*.test.mjs")}

    assert found == {"form", "events", "lanes", "code", "studies"}
