"""Files that stand in a request: text and pictures are read, others are refused, or named to the model."""

import base64
from typing import Any

import openai
import pytest

from mavera.core.items import Image
from mavera.models.model import ModelProfile
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve
from tests.support.images import png

CALL: Any = {"type": "function_call", "call_id": "c1", "name": "report", "arguments": "{}"}
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
TEXT = "a,b\n1,é"


class SeeingModel(ScriptedModel):
    def __init__(self) -> None:
        super().__init__()
        self.profile = ModelProfile(sees_images=True)


def encode(data: bytes, kind: str = "") -> str:
    text = base64.b64encode(data).decode()
    return f"data:{kind};base64,{text}" if kind else text


def output_of(**members: Any) -> list[Any]:
    output = [{"type": "input_file", **members}]
    return [CALL, {"type": "function_call_output", "call_id": "c1", "output": output}]


def in_response(file: dict[str, Any]) -> Any:
    return [{"role": "user", "content": [{"type": "input_file", **file}]}]


def in_chat(file: dict[str, Any]) -> Any:
    return [{"role": "user", "content": [{"type": "file", "file": file}]}]


@pytest.mark.parametrize("kind", ["", "text/plain", "text/csv;charset=utf-8"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_text_is_read_wherever_it_stands(serve: Serve, kind: str, encoding: str) -> None:
    client = serve(model := ScriptedModel()).client()
    file = {"filename": "prices.csv", "file_data": encode(TEXT.encode(encoding), kind)}

    client.responses.create(model="mavera-1", input=output_of(**file))
    client.responses.create(model="mavera-1", input=in_response(file))
    client.chat.completions.create(model="mavera-1", messages=in_chat(file))

    read: list[Any] = [prompt.items[-1] for prompt in model.prompts]
    told = f"[File prices.csv]\n{TEXT}\n[End of the file]\n"
    assert [read[0].output[0].text, read[1].parts[0].text, read[2].parts[0].text] == [told] * 3


def test_a_picture_is_a_picture(serve: Serve) -> None:
    client = serve(model := SeeingModel()).client()

    client.responses.create(model="mavera-1", input=output_of(file_data=encode(png(), "image/png")))

    output: Any = model.prompts[-1].items[-1]
    assert isinstance(output.output[0], Image)
    assert output.output[0].url == encode(png(), "image/png")


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"filename": "report.pdf", "file_data": encode(PDF, "application/pdf")}, "report.pdf"),
        ({"filename": "a\nb", "file_data": "not base64"}, "a b"),
        ({"file_id": "file-123"}, "file-123"),
        ({"file_url": "https://example.com/report.pdf", "filename": None}, "https://example.com/report.pdf"),
        ({}, "without a name"),
    ],
)
def test_any_other_file_in_an_output_is_named_to_the_model(
    serve: Serve, members: dict[str, Any], named: str
) -> None:
    client = serve(model := ScriptedModel()).client()

    client.responses.create(model="mavera-1", input=output_of(**members))

    output: Any = model.prompts[-1].items[-1]
    assert output.output[0].text == f"[A file that cannot be read here: {named}]\n"


@pytest.mark.parametrize(
    ("file", "status"),
    [({"file_data": encode(PDF)}, 422), ({"file_id": "file-123"}, 400), ({}, 400)],
)
def test_any_other_file_in_a_message_is_refused(serve: Serve, file: dict[str, Any], status: int) -> None:
    client = serve().client()

    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model="mavera-1", input=in_response(file))
    assert refused.value.status_code == status
    assert refused.value.param == "input[0].content[0].file_data"
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="mavera-1", messages=in_chat(file))
    assert refused.value.status_code == status
    assert refused.value.param == "messages[0].content[0].file.file_data"
