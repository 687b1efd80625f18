"""
llmprobe, npm's conformance suite for OpenAI's wire formats: its checks of the shape of answers hold.

What it measures of a model's abilities is left aside here. docs/reference/compatibility.md has it for the
embedded one.
"""

import json
from typing import Any

import pytest

from tests.clients.conftest import HERE, Run
from tests.conftest import Served

pytestmark = pytest.mark.proof

PROGRAM = HERE / "node" / "node_modules" / "llmprobe" / "bin" / "dist" / "llmprobe.mjs"

# Nothing runs behind a connection: the parameter is accepted without effect.
WITHOUT_EFFECT = {"responses-background"}

# The tokens that the model behind had in its cache; a model that goes by rules has none.
OF_THE_MODEL = {
    f"{surface}-{check}"
    for surface in ("chat", "responses")
    for check in ("prompt-caching", "prompt-cache-prefix")
}


# They need a model that thinks aloud, or goes on from a prefix.
UNSETTLED = {"chat-reasoning-cap", "responses-reasoning-cap", "chat-assistant-prefill"}

Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def checks(run: Run, node: str, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the checks by outcome."""
    path = tmp_path_factory.mktemp("llmprobe") / "report.json"
    options = ["--full", "--no-bench", "--no-save", "--no-color", "--save", str(path), "--model", "mavera-1"]
    # Exit code 1 says that a check failed; whether it may is for the tests to judge.
    run(node, str(PROGRAM), served.base_url, *options, may_exit=(0, 1), HOME=str(path.parent))
    found: Results = {}
    for check in json.loads(path.read_text(encoding="utf-8"))["conformance"]["results"]:
        found.setdefault(check["outcome"], []).append(check)
    return found


def test_no_check_fails_but_of_what_has_no_effect_and_of_the_model(checks: Results) -> None:
    failed = [check for check in checks.get("fail", []) if check["id"] not in OF_THE_MODEL]

    assert {check["id"] for check in failed} == WITHOUT_EFFECT, failed


@pytest.mark.parametrize("surface", ["models", "chat", "responses"])
def test_the_checks_of_each_route_were_made(checks: Results, surface: str) -> None:
    passed = [check for check in checks["pass"] if check["surface"] == surface]

    assert len(passed) >= {"models": 1, "chat": 33, "responses": 28}[surface]


def test_what_no_check_could_settle_is_known(checks: Results) -> None:
    unsettled = [*checks.get("inconclusive", []), *checks.get("skipped", [])]
    of_routes = {check["id"] for check in unsettled if check["surface"] in ("models", "chat", "responses")}

    assert of_routes <= UNSETTLED
