"""
What a conversation is made of, in neither wire format.

    Message          role + parts (Text, Image, Refusal)
    FunctionCall     the model asked for one of the caller's functions
    FunctionOutput   what that function returned
"""

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant"]


class Text(msgspec.Struct, frozen=True):
    text: str


class Refusal(msgspec.Struct, frozen=True):
    text: str


class Image(msgspec.Struct, frozen=True):
    """
    `url` is http(s) or a data URL; `detail` is how closely the model is to look.

    `param` is where the request holds it, as in `messages[0].content[1].image_url`.
    """

    url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"
    param: str | None = None


Part = Text | Refusal | Image


class Message(msgspec.Struct, frozen=True):
    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The words of the message; images have none."""
        return "".join([part.text for part in self.parts if not isinstance(part, Image)])


class FunctionCall(msgspec.Struct, frozen=True):
    """`arguments` is the JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class FunctionOutput(msgspec.Struct, frozen=True):
    call_id: str
    output: tuple[Part, ...]


Item = Message | FunctionCall | FunctionOutput


def said(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))
