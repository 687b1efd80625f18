"""
The calls of a chat completion, as its message has them and as its chunks say them.

    ToolCallStarted → {"index", "id", "type", "function": {"name", "arguments": ""}}
    ToolCallDelta   → {"index", "function": {"arguments": "…"}}

The call of a custom tool has `custom` in place of `function`, and `input` in place of `arguments`. Its chunks
have no `type`, because OpenAI's description of them has no other than `function`.
"""

from collections.abc import Collection
from typing import Any

from mavera.api.wire.custom_tools import InputReader
from mavera.core.events import ToolCallDelta, ToolCallStarted

Wire = dict[str, Any]


class CalledTools:
    """`custom_tools` are the names of those that take a text."""

    def __init__(self, custom_tools: Collection[str]) -> None:
        self._custom_tools = custom_tools
        self._inputs: dict[int, InputReader] = {}
        self.calls: list[Wire] = []

    def take(self, event: ToolCallStarted | ToolCallDelta) -> list[Wire]:
        """Return what the chunks say of `event`: one delta, or none."""
        if isinstance(event, ToolCallStarted):
            return [self._begin(event)]
        if event.index not in self._inputs:
            return [self._add(event.index, event.arguments)]
        text = self._inputs[event.index].feed(event.arguments)
        return [self._add(event.index, text)] if text else []

    def close(self) -> list[Wire]:
        """Return what the chunks still have to say once the calls have ended."""
        endings = [(index, reader.close()) for index, reader in self._inputs.items()]
        return [self._add(index, text) for index, text in endings if text]

    def _begin(self, event: ToolCallStarted) -> Wire:
        kind, member = self._form_of(event.name)
        if kind == "custom":
            self._inputs[event.index] = InputReader()
        self.calls.append({"id": event.call_id, "type": kind, kind: {"name": event.name, member: ""}})
        typed = {"type": kind} if kind == "function" else {}
        return {"index": event.index, "id": event.call_id, **typed, kind: {"name": event.name, member: ""}}

    def _add(self, index: int, text: str) -> Wire:
        call = self.calls[index]
        kind, member = self._form_of(call[call["type"]]["name"])
        call[kind][member] += text
        return {"index": index, kind: {member: text}}

    def _form_of(self, name: str) -> tuple[str, str]:
        return ("custom", "input") if name in self._custom_tools else ("function", "arguments")
