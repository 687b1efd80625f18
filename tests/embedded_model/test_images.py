"""An image asked about end to end: rendered here, read by the server, answered by the real embedded model."""

from typing import Any

import pytest

from tests.embedded_model.serving import GEN_Z, Running
from tests.support.images import data_url, poster

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.usefixtures("needs_ocr"),
]


def test_a_persona_says_what_stands_in_an_image(server: Running) -> None:
    question = "Which words stand on this poster? Quote them all."
    parts: Any = [
        {"type": "input_text", "text": question},
        {"type": "input_image", "image_url": data_url(poster("OAT MILK", "only 3.49 euro"))},
    ]

    with server.client() as client:
        response = client.responses.create(
            model="mavera-1",
            input=[{"role": "user", "content": parts}],
            temperature=0,
            max_output_tokens=40,
            extra_body={"persona_id": GEN_Z},
        )

    assert "3.49" in response.output_text
    assert "milk" in response.output_text.lower()
