"""A conversation that goes on from the embedded model's own summary of it."""

from typing import Any

import pytest

from tests.embedded_model.serving import Running

pytestmark = pytest.mark.embedded

TALK: Any = [
    {"role": "user", "content": "I am Dana. We launch the oat drink Hafra in Leeds on 14 March."},
    {"role": "assistant", "content": "Noted, Dana. Millet & Co launched theirs in May, at £2.10."},
    {"role": "user", "content": "Then we ask £1.80."},
]
QUESTION: Any = {"role": "user", "content": "On which day do we launch, and in which city?"}


def test_a_question_is_answered_from_a_compacted_conversation(server: Running) -> None:
    client = server.client().with_options(max_retries=0, _extra_kwargs={"_strict_response_validation": False})

    compacted = client.responses.compact(model="mavera-1", input=TALK)
    output: Any = [item.to_dict(warnings=False) for item in compacted.output]
    answer = client.responses.create(
        model="mavera-1", input=[*output, QUESTION], temperature=0, max_output_tokens=40
    )

    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    assert compacted.usage.output_tokens > 10
    assert compacted.usage.to_dict()["credits_used"]
    assert "14" in answer.output_text
    assert "Leeds" in answer.output_text
