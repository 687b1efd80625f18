"""*View code*: the programs that the playground shows are run as shown, against a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mavera.core.items import Image, Message
from mavera.core.prompt import Prompt
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served
from tests.support.requirements import require_program

SCRIPTS = Path(__file__).parent / "scripts"
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
# Quotes of every language, ends of every heredoc, placeholders of every shell, and what cannot be seen.
HOSTILE = (
    "a\"b'c`d${e}$(f)\\g\\n %s {h} \"\"\" ''' */ --\n"
    "JSON\nEOF\n\r\n\tDas ist „größer“ 価格 😀 \u202edrawkcab\u202c \u2028 \u200b \x07 \U000e0041 end\\"
)
TOOL = {"type": "function", "name": "order", "parameters": {"type": "object", "properties": {"n\"'": {}}}}
SCHEMA = {
    "type": "object",
    "properties": {"buys": {"type": "boolean"}, "why'\"": {"type": "string"}},
    "required": ["buys"],
}
FORMS: dict[str, dict[str, Any]] = {
    "hostile": {"question": HOSTILE, "instructions": HOSTILE, "temperature": 0.5, "topP": 1, "seed": -3},
    "whole": {"question": "Would you buy it?", "stream": False, "analysis": True, "maxTokens": 400},
    "analysis": {"question": HOSTILE, "analysis": True, "effort": "low"},
    "schema": {"question": HOSTILE, "schema": json.dumps(SCHEMA), "images": [{"name": "a", "url": PIXEL}]},
    "tools": {"question": "Order two.", "tools": json.dumps([TOOL]), "verbosity": "low"},
}
CASES = {
    f"{name} {kind}": {**form, "format": kind}
    for name, form in FORMS.items()
    for kind in ("responses", "chat")
}


@pytest.fixture
def programs() -> Any:
    """Return a function that writes every form as programs, in one run of Node."""
    node = require_program("node", "Debian's package nodejs")

    def write(base_url: str) -> dict[str, dict[str, str]]:
        given = json.dumps({"forms": list(CASES.values()), "baseUrl": base_url})
        run = subprocess.run(
            [node, SCRIPTS / "write_programs.mjs"], input=given, capture_output=True, text=True, check=True
        )
        return {name: written[0] for name, written in zip(CASES, json.loads(run.stdout), strict=True)}

    return write


def test_programs_in_python_run_as_shown(serve: Serve, programs: Any) -> None:
    served = serve(ScriptedModel())
    written = {name: one["python"] for name, one in programs(served.base_url).items()}
    # One process runs them all, because the import of the client takes a second.
    runner = (
        "import contextlib, io, json, sys\n"
        "found = {}\n"
        "for name, code in json.load(sys.stdin).items():\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        exec(compile(code, name, 'exec'), {'__name__': '__main__'})\n"
        "    found[name] = out.getvalue()\n"
        "print(json.dumps(found))\n"
    )

    output = _run([sys.executable, "-c", runner], json.dumps(written), served)

    _check_prompts(served)
    _check_outputs(json.loads(output))


def test_programs_in_javascript_run_as_shown(serve: Serve, programs: Any) -> None:
    served = serve(ScriptedModel())
    written = {name: one["javascript"] for name, one in programs(served.base_url).items()}

    output = _run([require_program("node"), str(SCRIPTS / "run_programs.mjs")], json.dumps(written), served)

    _check_prompts(served)
    _check_outputs(json.loads(output))


def test_programs_of_curl_run_as_shown(serve: Serve, programs: Any) -> None:
    served = serve(ScriptedModel())
    require_program("curl")

    for name, one in programs(served.base_url).items():
        output = _run([require_program("bash")], one["curl"], served)
        assert '"usage"' in output, name

    _check_prompts(served)


def _run(command: list[str], program: str, served: Served) -> str:
    run = subprocess.run(
        command, input=program, capture_output=True, text=True, env=_environ(served), check=False, timeout=60
    )
    assert run.returncode == 0, (run.stderr, program)
    return run.stdout


def _environ(served: Served) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "MAVERA_API_KEY": served.key, "NO_PROXY": "127.0.0.1"}


def _check_prompts(served: Served) -> None:
    """Check that the model got each question letter by letter, with its images, schema and tools."""
    prompts: list[Prompt] = [one for one in served.model.prompts if _has_question(one)]
    assert len(prompts) == len(CASES)
    for form, prompt in zip(CASES.values(), prompts, strict=True):
        assert _read_question(prompt) == form["question"], form
        images = [part for item in prompt.items if isinstance(item, Message) for part in item.parts]
        assert [one.url for one in images if isinstance(one, Image)] == [
            one["url"] for one in form.get("images", [])
        ]
        assert (prompt.format.schema is not None) == ("schema" in form)
        assert [tool.name for tool in prompt.tools] == (["order"] if "tools" in form else [])


def _has_question(prompt: Prompt) -> bool:
    return _read_question(prompt) in {form["question"] for form in FORMS.values()}


def _read_question(prompt: Prompt) -> str:
    users = [item for item in prompt.items if isinstance(item, Message) and item.role == "user"]
    return users[-1].text


def _check_outputs(outputs: dict[str, str]) -> None:
    for name, output in outputs.items():
        form = CASES[name]
        assert ("confidence" in output) == form.get("analysis", False), (name, output)
        assert ("buys" if "schema" in form else "scripted answer") in output, (name, output)
