r"""
Custom tools: tools of the caller's that take a text, not JSON.

    {"type": "custom", "name": "shell", "format": {"type": "grammar", "syntax": "regex", …}}

    the model reads     a function with one argument:        shell({"input": "ls\n-l"})
    the client gets     the text of it, piece by piece:      ls⏎-l

A regular expression becomes the `pattern` of that argument. A Lark grammar is told to the model in the
description of the function.
"""

import json
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from mavera.core.prompt import FunctionTool
from mavera.core.text import clean_text

MAX_DEFINITION = 100_000
# Whole characters and escapes. The first half of a surrogate pair is whole if what follows it has come too.
_WHOLE: Final = re.compile(
    r'(?:[^"\\]'
    r'|\\["\\/bfnrt]'
    r"|\\u(?![dD][89abAB])[0-9a-fA-F]{4}"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?=[^\\]|\\[^u]|\\u[0-9a-fA-F]{4}))*"
)
_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')


class Grammar(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`regex` is in the syntax of Rust, and has to match the whole input."""

    syntax: Literal["lark", "regex"]
    definition: Annotated[str, Meta(min_length=1, max_length=MAX_DEFINITION)]


def build_custom_tool(name: str, description: str | None, grammar: Grammar | None, at: str) -> FunctionTool:
    """Return the function that a model reads for a custom tool. `at` is the place of the definition."""
    text: dict[str, Any] = {"type": "string", "description": "The input of the tool, as it is."}
    told = [description] if description else []
    if grammar is not None and grammar.syntax == "regex":
        text["pattern"] = f"^(?:{grammar.definition})$"
    elif grammar is not None:
        told.append(f"The input follows this Lark grammar:\n{grammar.definition}")
    parameters = {
        "type": "object",
        "properties": {"input": text},
        "required": ["input"],
        "additionalProperties": False,
    }
    return FunctionTool(name, "\n\n".join(told) or None, parameters, "pattern" in text, at)


def to_arguments(given: str) -> str:
    """Return the arguments of the function for a custom tool that was called with `given`."""
    return msgspec.json.encode({"input": given}).decode()


class InputReader:
    """Reads the input of a custom tool from the arguments of its function, while they come."""

    def __init__(self) -> None:
        self._arguments: list[str] = []
        self._given: list[str] = []
        self._waiting = ""
        self._state: Literal["before", "inside", "after"] = "before"

    def feed(self, arguments: str) -> str:
        """Return what a piece of the arguments adds to the input."""
        self._arguments.append(arguments)
        self._waiting += arguments
        if self._state == "before" and (opening := _OPENING.match(self._waiting)):
            self._state = "inside"
            self._waiting = self._waiting[opening.end() :]
        return self._give(self._read_whole()) if self._state == "inside" else ""

    def close(self) -> str:
        """
        Return what the end of the arguments adds to the input.

        Arguments in any other form than that of the function are the input themselves.
        """
        arguments = "".join(self._arguments)
        given = "".join(self._given)
        text = given if self._state != "before" else arguments
        try:
            value = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("input"), str):
            text = clean_text(value["input"])
        elif isinstance(value, str):
            text = clean_text(value)
        return self._give(text[len(given) :] if text.startswith(given) else "")

    def _read_whole(self) -> str:
        """Take the whole characters out of what waits, up to the end of the input."""
        whole = _WHOLE.match(self._waiting)
        end = whole.end() if whole else 0
        text: str = json.loads(f'"{self._waiting[:end]}"', strict=False)
        self._waiting = self._waiting[end:]
        if self._waiting.startswith('"'):
            self._state = "after"
        return clean_text(text)

    def _give(self, text: str) -> str:
        self._given.append(text)
        return text
