"""A new server with a real, small model: its first call is quick, and `mavera ask` uses its engine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from mavera.models.embedded.sharing import find_shared_engine
from mavera.settings import load_settings
from tests.embedded_model.serving import serving
from tests.support.requirements import require_model

pytestmark = [pytest.mark.embedded, pytest.mark.proof]

ASK = [sys.executable, "-m", "mavera", "ask", "Hello?", "--persona", "Gen Z Consumer", "--max-tokens", "8"]


def ask(data_dir: Path, *options: str) -> dict[str, Any]:
    environment = {**os.environ, "MAVERA_MODEL": "smollm2-135m", "MAVERA_DATA_DIR": str(data_dir)}
    done = subprocess.run([*ASK, "--json", *options], env=environment, capture_output=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_ask_uses_the_engine_of_a_server_of_its_data_directory(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with serving(tmp_path, "smollm2-135m", *options) as running:
        running.client().responses.create(model="mavera-1", input="Hm?", max_output_tokens=16)
        before = running.engine().cpu_times().user
        shared, alone = ask(tmp_path), ask(tmp_path, "--alone")
        assert running.engine().cpu_times().user > before

        assert shared["answered_by"] == running.base_url.removesuffix("/api/v1")
        assert alone["answered_by"] == "this process"
        running.process.kill()
        running.process.wait(10)
        assert find_shared_engine(tmp_path) is None


def test_the_first_call_is_printed_when_its_persona_has_been_read(tmp_path: Path) -> None:
    require_model(load_settings(model="smollm2-135m"))
    environment = {**os.environ, "MAVERA_MODEL": "smollm2-135m", "MAVERA_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "mavera", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            lines = []
            for line in server.stdout:
                lines.append(line)
                if line.lstrip().startswith("-d "):
                    break
            text = "".join(lines)
            client = openai.OpenAI(
                base_url=re.findall(r"http://\S+/api/v1", text)[0],
                api_key=re.findall(r"mvra_live_\w+", text)[0],
                timeout=240,
            )
            call = json.loads(re.findall(r"-d '(.*)'", text)[0])
            response = client.responses.create(**_to_arguments(call), max_output_tokens=16)
        finally:
            server.terminate()
            server.wait(60)

    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens > 0.7 * response.usage.input_tokens


def _to_arguments(call: dict[str, Any]) -> dict[str, Any]:
    return {"model": call["model"], "input": call["input"], "extra_body": {"persona_id": call["persona_id"]}}
