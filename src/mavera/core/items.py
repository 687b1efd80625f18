"""
The items of a conversation, independent of both wire formats.

    Message          role + parts (Text, Image, Refusal)
    FunctionCall     the model's call of one of the caller's functions
    FunctionOutput   the result of that function

Encoded, each item names its kind, so that a kept conversation can be read again.
"""

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant"]


class Text(msgspec.Struct, frozen=True, tag=True):
    text: str


class Refusal(msgspec.Struct, frozen=True, tag=True):
    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """
    `url` is http(s) or a data URL. `detail` is the resolution at which the model reads the image.

    `param` is the path to it in the request, such as `messages[0].content[1].image_url`.
    """

    url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"
    param: str | None = None


Part = Text | Refusal | Image


class Message(msgspec.Struct, frozen=True, tag=True):
    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text of the message without its images."""
        return "".join([part.text for part in self.parts if not isinstance(part, Image)])


class FunctionCall(msgspec.Struct, frozen=True, tag=True):
    """`arguments` is the JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class FunctionOutput(msgspec.Struct, frozen=True, tag=True):
    call_id: str
    output: tuple[Part, ...]


Item = Message | FunctionCall | FunctionOutput


def make_message(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))
