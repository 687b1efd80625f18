"""
Keep what callers say from being taken for marks of the chat template.

llama.cpp's server writes the whole prompt as one text and then looks for control tokens in it, so
`<|im_end|>` inside a message or a function's result would end that message and begin another one. Its API
has no way to say which parts are plain text. So the marks in all messages are spelled with look-alikes, as
`core/quoting.py` does it. Only the model sees them.
"""

from collections.abc import AsyncGenerator

from msgspec.structs import replace

from mavera.core.events import ModelEvent
from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part
from mavera.core.prompt import Prompt
from mavera.core.quoting import break_marks
from mavera.models.model import Model, ModelStatus


class PlainTexts:
    """Answers as `model` does, whose server takes marks in messages for control tokens."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.profile = model.profile

    async def start(self) -> None:
        await self._model.start()

    async def close(self) -> None:
        await self._model.close()

    def status(self) -> ModelStatus:
        return self._model.status()

    def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        return self._model.stream(without_marks(prompt))


def without_marks(prompt: Prompt) -> Prompt:
    """Return `prompt` with look-alikes for the control marks in its items; it need not have tools."""
    items = tuple(map(_clean_item, prompt.items))
    unchanged = all(new is old for new, old in zip(items, prompt.items, strict=True))
    return prompt if unchanged else replace(prompt, items=items)


def _clean_item(item: Item) -> Item:
    match item:
        case Message(parts=parts):
            plain = _clean_parts(parts)
            return item if plain is parts else replace(item, parts=plain)
        case FunctionOutput(output=output):
            plain = _clean_parts(output)
            return item if plain is output else replace(item, output=plain)
        case FunctionCall(name=name, arguments=arguments):
            return replace(item, name=break_marks(name), arguments=break_marks(arguments))


def _clean_parts(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    plain = tuple(map(_clean_part, parts))
    return parts if all(new is old for new, old in zip(plain, parts, strict=True)) else plain


def _clean_part(part: Part) -> Part:
    if isinstance(part, Image):
        return part
    text = break_marks(part.text)
    return part if text == part.text else replace(part, text=text)
