"""
Read calls from the JSON text of a constrained answer, while it comes.

    [{"name": "f", "arguments": {"city": "Oslo"}}, …]     CallReader
    {"city": "Oslo"}                                      OneCallReader: the name is known

Arguments are passed on while the model writes them. A reader gets the function that makes ids.
"""

from collections.abc import Callable, Iterator

import msgspec

from mavera.core.events import ToolCallDelta, ToolCallStarted
from mavera.errors import APIError

CallEvent = ToolCallStarted | ToolCallDelta


class OneCallReader:
    """The whole text is the arguments of one call."""

    def __init__(self, name: str, new_id: Callable[[], str]) -> None:
        self._name = name
        self._new_id = new_id
        self._pieces: list[str] = []

    def feed(self, text: str) -> Iterator[CallEvent]:
        if not self._pieces and not text.startswith("{"):
            raise make_form_error()
        if not self._pieces:
            yield ToolCallStarted(0, self._new_id(), self._name)
        self._pieces.append(text)
        yield ToolCallDelta(0, text)

    def close(self) -> None:
        """Raise APIError if the text is incomplete."""
        _read_whole("".join(self._pieces))


class CallReader:
    """
    The text is a list of calls. White space may be anywhere, and `name` comes before `arguments`.

    Depth 1 is the list, depth 2 is a call, and greater depths are its arguments.
    """

    def __init__(self, names: tuple[str, ...], new_id: Callable[[], str]) -> None:
        self._names = names
        self._new_id = new_id
        self._text: list[str] = []
        self._depth = 0
        self._in_string = self._escaped = False
        self._string: list[str] = []
        self._key: str | None = None
        self._calls = 0
        self._named = False

    def feed(self, text: str) -> Iterator[CallEvent]:
        self._text.append(text)
        piece: list[str] = []
        for character in text:
            depth = self._depth
            name = self._step(character)
            if max(depth, self._depth) > 2 and self._key == "arguments":
                if not self._named:
                    raise make_form_error()
                piece.append(character)
            if name is not None:
                yield from self._flush(piece)
                piece = []
                yield self._start(name)
        yield from self._flush(piece)

    def close(self) -> None:
        """Raise APIError if the text is incomplete."""
        _read_whole("".join(self._text))
        if not self._calls:
            raise make_form_error()

    def _flush(self, piece: list[str]) -> Iterator[CallEvent]:
        if piece:
            yield ToolCallDelta(self._calls - 1, "".join(piece))

    def _start(self, name: str) -> ToolCallStarted:
        if name not in self._names:
            raise make_form_error()
        self._calls += 1
        self._named = True
        return ToolCallStarted(self._calls - 1, self._new_id(), name)

    def _step(self, character: str) -> str | None:
        """Read one character. Return the name of a call when it has ended."""
        if self._in_string:
            return self._step_in_string(character)
        if self._depth == 0 and character not in "[ \t\r\n":
            raise make_form_error()
        if character == '"':
            self._in_string, self._string = True, []
        elif character in "[{":
            self._depth += 1
            if self._depth == 2:
                self._key, self._named = None, False
        elif character in "]}":
            self._depth -= 1
        elif character == "," and self._depth == 2:
            self._key = None
        return None

    def _step_in_string(self, character: str) -> str | None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._in_string = False
            return self._end_string()
        self._string.append(character)
        return None

    def _end_string(self) -> str | None:
        if self._depth != 2:
            return None
        text = "".join(self._string)
        if self._key is None:
            self._key = text
            return None
        return text if self._key == "name" else None


def _read_whole(text: str) -> None:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise make_form_error() from error


class BrokenCall(APIError):
    """The model wrote something other than a call."""


def make_form_error() -> BrokenCall:
    return BrokenCall("The model did not keep to the form of a function call.")
