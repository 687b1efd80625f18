"""The examples run as they are, against a server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served
from tests.docs.pages import ROOT
from tests.support.requirements import require_program, skip_or_fail

EXAMPLES = ROOT / "examples"
WORDS = ["I would ", "pay ", "for that."]
SAID = "I would pay for that."


def run(served: Served, *command: str, **environ: str) -> str:
    """Return what the example prints; one that fails fails the test."""
    done = subprocess.run(
        command,
        env={
            **os.environ,
            "MAVERA_BASE_URL": served.base_url,
            "MAVERA_API_KEY": served.key,
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["ask.py", "stream.py"])
def test_the_python_examples_print_the_answer(serve: Serve, name: str) -> None:
    served = serve(ScriptedModel(WORDS))

    assert run(served, sys.executable, str(EXAMPLES / name)) == f"{SAID}\n"
    assert served.model.prompts[0].prefix


def test_the_curl_example_prints_a_response(serve: Serve) -> None:
    require_program("curl")
    served = serve(ScriptedModel(WORDS))

    response = json.loads(run(served, "sh", str(EXAMPLES / "ask.sh")))

    assert response["output"][0]["content"][0]["text"] == SAID
    assert response["persona_id"] is not None
    assert served.model.prompts[0].prefix


def test_the_javascript_example_prints_the_answer(serve: Serve, tmp_path: Path) -> None:
    modules = node_modules()
    served = serve(ScriptedModel(WORDS))
    (tmp_path / "node_modules").symlink_to(modules)
    example = shutil.copy(EXAMPLES / "ask.mjs", tmp_path)

    assert run(served, "node", str(example)) == f"{SAID}\n"
    assert served.model.prompts[0].prefix


def node_modules() -> Path:
    """Return a folder with OpenAI's client for JavaScript, or skip; NODE_PATH may name one."""
    require_program("node")
    fetched = [ROOT / "node_modules", ROOT / "tests" / "clients" / "node" / "node_modules"]
    places = [*os.environ.get("NODE_PATH", "").split(os.pathsep), *map(str, fetched)]
    found = [Path(place) for place in places if place and (Path(place) / "openai").is_dir()]
    if not found:
        skip_or_fail("the npm package openai is not installed: make node-clients")
    return found[0].absolute()
