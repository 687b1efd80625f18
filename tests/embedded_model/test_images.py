"""An image asked about end to end: rendered here, read by the server, answered by the real embedded model."""

import os
from typing import Any

import pytest

from mavera.models.embedded.pull import resolve_model
from mavera.personas.library import PersonaLibrary
from mavera.settings import load_settings
from mavera.tools.image_reader import is_installed
from tests.conftest import Serve
from tests.images import data_url, poster

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(not is_installed(), reason="mavera[ocr] is not installed"),
]

MODEL = "qwen2.5-coder-1.5b"
GEN_Z = PersonaLibrary.load().find("Gen Z Consumer").id


def test_a_persona_says_what_stands_in_an_image(serve: Serve) -> None:
    here = load_settings(model=MODEL)
    if resolve_model(here) is None and os.environ.get("CI") != "true":
        pytest.skip(f"{MODEL} is not on this machine: mavera models pull {MODEL}")
    served = serve(model_backend="embedded", embedded_slots=1, models_dir=here.models_dir)
    question = "Which words stand on this poster? Quote them all."
    parts: Any = [
        {"type": "input_text", "text": question},
        {"type": "input_image", "image_url": data_url(poster("OAT MILK", "only 3.49 euro"))},
    ]

    with served.client(timeout=240) as client:
        response = client.responses.create(
            model="mavera-1",
            input=[{"role": "user", "content": parts}],
            temperature=0,
            max_output_tokens=40,
            extra_body={"persona_id": GEN_Z},
        )

    assert "3.49" in response.output_text
    assert "milk" in response.output_text.lower()
