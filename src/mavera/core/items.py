"""
What a conversation is made of, in neither wire format.

    Message          role + parts (Text, Image, Refusal)
    FunctionCall     the model asked for one of the caller's functions
    FunctionOutput   what that function returned
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """
    `url` is http(s) or a data URL; `detail` is how closely the model is to look.

    `param` is where the request holds it, as in `messages[0].content[1].image_url`.
    """

    url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"
    param: str | None = None


Part = Text | Refusal | Image


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The words of the message; images have none."""
        return "".join(part.text for part in self.parts if not isinstance(part, Image))


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`arguments` is the JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    call_id: str
    output: tuple[Part, ...]


Item = Message | FunctionCall | FunctionOutput


def said(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))
