"""A model from a hub on loopback, from a pull that is killed to its prompt: a real one that thinks."""

import asyncio
import hashlib
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.models.embedded.engine_api import EngineApi
from mavera.models.embedded.pull import resolve_model
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.settings import load_settings
from tests.embedded_model.serving import wait_until
from tests.support.hub_stub import HubStub, running_hub
from tests.support.requirements import require_model

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.proof,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by POSIX signals"),
]

PATH = "owner/thinker-GGUF/resolve/0123abc/thinker.gguf"
# As templates of thinking models are: thoughts are opened, unless an argument says not to think.
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}{{ reasoning_effort }}{% endif %}"
)


@pytest.fixture(scope="module")
def content() -> bytes:
    """SmolLM2 with the template of a model that thinks, in the place of its own."""
    settings = load_settings(model="smollm2-135m")
    require_model(settings)
    original = resolve_model(settings)
    assert original is not None
    data: bytes = original.read_bytes()
    at = data.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4
    size: int = struct.unpack("<Q", data[at : at + 8])[0]
    padded = TEMPLATE.encode() + b"{#" + b" " * (size - len(TEMPLATE) - 4) + b"#}"
    assert len(padded) == size
    return data[: at + 8] + padded + data[at + 8 + size :]


@pytest.fixture
def stub(content: bytes) -> Iterator[HubStub]:
    with running_hub(HubStub(files={PATH: content}, redirects=1)) as running:
        yield running


def test_a_pull_that_is_killed_goes_on_and_its_model_answers_without_a_thought(
    stub: HubStub, content: bytes, tmp_path: Path
) -> None:
    models_dir, data_dir = tmp_path / "models", tmp_path / "data"
    places = {"MAVERA_MODELS_DIR": str(models_dir), "MAVERA_DATA_DIR": str(data_dir)}
    environment = {**os.environ, **places, "MAVERA_MODEL_HUB": stub.url}
    address = f"hf:owner/thinker-GGUF/thinker.gguf@0123abc#{hashlib.sha256(content).hexdigest()}"
    command = [sys.executable, "-m", "mavera", "models"]
    stub.bytes_per_second = 40_000_000

    with subprocess.Popen([*command, "pull", address], env=environment) as first:
        wait_until(lambda: _size(models_dir) > 10_000_000, seconds=30)
        first.send_signal(signal.SIGKILL)
    kept, stub.bytes_per_second = _size(models_dir), 0
    stub.requests.clear()
    # The name is known since the first pull, so the address need not be typed again.
    subprocess.run([*command, "pull", "thinker"], env=environment, check=True)
    subprocess.run([*command, "use", "thinker"], env=environment, check=True)

    assert kept < len(content)
    assert {wanted for _, wanted, _ in stub.requests} == {f"bytes={kept}-"}
    assert (data_dir / "mavera.toml").read_text() == 'model = "thinker"\n'
    settings = load_settings(data_dir=data_dir, models_dir=models_dir, embedded_context_tokens=512)
    assert resolve_model(settings) is not None
    assert asyncio.run(_read_prompt(EmbeddedEngine(settings))).endswith("assistant\n<think></think>low")


def _size(models_dir: Path) -> int:
    return sum(path.stat().st_size for path in models_dir.glob("*.partial"))


async def _read_prompt(engine: EmbeddedEngine) -> str:
    """Return a prompt as the engine's template writes it."""
    prompt = Prompt((make_message("user", "Hm?"),))
    try:
        async with EngineApi(await engine.endpoint(), seconds=30) as api:
            return await api.apply_template(prompt)
    finally:
        await engine.close()
