"""
A conversation at the terminal: its questions and answers, kept in a file if the person wants that.

    Conversation.ask       the user's next message, with the images shown since the last one
    Conversation.answer    the answer to it; without one, the question is taken back
"""

import os
from pathlib import Path

import msgspec

from mavera.core.items import Image, Item, Message, Text, make_message
from mavera.errors import ConfigurationError

# A server accepts this many characters and images in one request.
_MOST_CHARACTERS = 100_000
_MOST_IMAGES = 10
_MOST_IMAGE_CHARACTERS = 28_000_000
_MOST_FILE_BYTES = 32 * 1024 * 1024


class _Saved(msgspec.Struct):
    """The file of a conversation."""

    persona_id: str | None
    messages: list[Message]


class Conversation:
    """
    The messages so far, from the oldest on. `items` fit one request.

    `persona_id` is the persona that answers. The file names it, so that a conversation goes on with it.
    """

    def __init__(self, persona_id: str | None = None, messages: list[Message] | None = None) -> None:
        self.persona_id = persona_id
        self._messages = messages or []
        self._first = 0
        self._images: list[Image] = []

    @property
    def items(self) -> list[Item]:
        return list(self._messages[self._first :])

    @property
    def length(self) -> int:
        """The number of questions."""
        return sum(message.role == "user" for message in self._messages)

    def show(self, image: Image) -> None:
        """Show `image` with the next question."""
        self._images.append(image)

    def ask(self, question: str) -> bool:
        """Add a question. Returns whether older ones are left out for it that were in the last request."""
        self._messages.append(Message("user", (Text(question), *self._images)))
        before = self._first
        while not self._fits() and self._first < len(self._messages) - 1:
            self._first += 1
            while self._messages[self._first].role != "user":
                self._first += 1
        return self._first > before

    def answer(self, text: str) -> bool:
        """
        Add the answer to the latest question. Without an answer, take the question back.

        Returns whether images were taken back with the question.
        """
        images, self._images = self._images, []
        if text.strip():
            self._messages.append(make_message("assistant", text))
            return False
        self._messages.pop()
        self._first = min(self._first, len(self._messages))
        return bool(images)

    def clear(self) -> None:
        """Forget everything but the persona."""
        self._messages.clear()
        self._images.clear()
        self._first = 0

    def write(self, path: Path) -> None:
        """Replace the file. Only its user can read it. Raises ConfigurationError if the disk refuses."""
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        body = msgspec.json.format(msgspec.json.encode(_Saved(self.persona_id, self._messages)), indent=2)
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ConfigurationError(f"{path} cannot be written ({error.strerror}).") from error

    def _fits(self) -> bool:
        parts = [part for message in self._messages[self._first :] for part in message.parts]
        images = [part.url for part in parts if isinstance(part, Image)]
        characters = sum(len(part.text) for part in parts if not isinstance(part, Image))
        return (
            characters <= _MOST_CHARACTERS
            and len(images) <= _MOST_IMAGES
            and sum(map(len, images)) <= _MOST_IMAGE_CHARACTERS
        )


def read_conversation(path: Path) -> Conversation:
    """Return the conversation in a file, or a new one if there is no file. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            body = file.read(_MOST_FILE_BYTES + 1)
        if len(body) > _MOST_FILE_BYTES:
            raise ConfigurationError(f"{path} is larger than {_MOST_FILE_BYTES:,} bytes. Begin a new file.")
        saved = msgspec.json.decode(body, type=_Saved)
    except FileNotFoundError:
        return Conversation()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}).") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is not a conversation that `mavera chat` has written. Name another file."
        ) from error
    if not _alternates(saved.messages):
        raise ConfigurationError(
            f"{path} does not alternate between questions and answers. Name another file."
        )
    return Conversation(saved.persona_id, saved.messages)


def _alternates(messages: list[Message]) -> bool:
    roles = [message.role for message in messages]
    return roles == (["user", "assistant"] * len(roles))[: len(roles)] and len(roles) % 2 == 0
