"""
The caller's tools as POST /responses takes them: functions, custom tools, and namespaces of both.

A namespace is a group that models know nothing of: its tools have joined names there (`namespaces.py`).
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mavera.api.http.bounds import Name, Word
from mavera.api.http.bounds import Text as AnyText
from mavera.api.responses.namespaces import join_name
from mavera.api.wire.custom_tools import Grammar, build_custom_tool
from mavera.api.wire.parameters import MAX_TOOLS, FunctionName, JSONSchema
from mavera.api.wire.tools import AllowedOwnTool, OwnTool
from mavera.core.prompt import FunctionTool
from mavera.core.turn import NamedTool


class _Object(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class Function(_Object, tag_field="type", tag="function"):
    """A function of the caller. Its name and parameters are members of the tool itself."""

    name: FunctionName
    parameters: JSONSchema | None = None
    description: AnyText | None = None
    strict: bool | None = None
    output_schema: JSONSchema | None = None
    defer_loading: bool | None = None
    allowed_callers: Annotated[list[Name], Meta(max_length=64)] | None = None

    def to_tool(self, at: str) -> FunctionTool:
        return FunctionTool(
            self.name, self.description, self.parameters, self.strict or False, f"{at}.parameters"
        )

    def echo(self) -> dict[str, Any]:
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": self.strict,
        }


class FormatAnyText(_Object, tag_field="type", tag="text"):
    """Any text at all."""


class FormatGrammar(Grammar, tag_field="type", tag="grammar"):
    pass


class Custom(_Object, tag_field="type", tag="custom"):
    """A tool of the caller's that takes a text."""

    name: FunctionName
    description: AnyText | None = None
    format: FormatAnyText | FormatGrammar | None = None
    defer_loading: bool | None = None
    allowed_callers: Annotated[list[Name], Meta(max_length=64)] | None = None

    def to_tool(self, at: str) -> FunctionTool:
        grammar = self.format if isinstance(self.format, FormatGrammar) else None
        return build_custom_tool(self.name, self.description, grammar, f"{at}.format.definition")

    def echo(self) -> dict[str, Any]:
        return {
            "type": "custom",
            "name": self.name,
            "description": self.description,
            "format": self.format or FormatAnyText(),
        }


class ToolSearch(_Object, tag_field="type", tag="tool_search"):
    """Codex offers it in place of tools that it holds back. No model is offered it here."""

    execution: Word | None = None
    description: AnyText | None = None
    parameters: JSONSchema | None = None

    def echo(self) -> dict[str, Any]:
        return {"type": "tool_search", **msgspec.structs.asdict(self)}


class Namespace(_Object, tag_field="type", tag="namespace"):
    """A group of tools. A call of one names the group in `namespace`."""

    name: FunctionName
    tools: Annotated[list[Function | Custom], Meta(max_length=MAX_TOOLS)]
    description: AnyText | None = None

    def flatten(self) -> list[Function | Custom]:
        """Return the tools under their names for the model."""
        return [msgspec.structs.replace(tool, name=join_name(self.name, tool.name)) for tool in self.tools]


class NamedFunction(_Object, tag_field="type", tag="function"):
    name: Name


class NamedCustom(_Object, tag_field="type", tag="custom"):
    name: Name


class AllowedTools(_Object, tag_field="type", tag="allowed_tools"):
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedOwnTool], Meta(min_length=1, max_length=MAX_TOOLS)]

    def to_named(self, at: str) -> tuple[NamedTool, ...]:
        return tuple(
            named for n, tool in enumerate(self.tools) for named in tool.to_named(f"{at}.tools[{n}]")
        )


GivenTool = Function | Custom | Namespace | ToolSearch | OwnTool
PlacedTool = tuple[Function | Custom | ToolSearch | OwnTool, str]


def list_tools(given: Iterable[GivenTool]) -> list[PlacedTool]:
    """Return each tool with its place. Tools of a namespace have joined names."""
    found: list[PlacedTool] = []
    for number, tool in enumerate(given):
        at = f"tools[{number}]"
        if isinstance(tool, Namespace):
            found += [(inner, f"{at}.tools[{n}]") for n, inner in enumerate(tool.flatten())]
        else:
            found.append((tool, at))
    return found


def find_namespaces(given: Iterable[GivenTool]) -> dict[str, tuple[str, str]]:
    """Return the namespace and the name of each tool in a namespace, by its name for the model."""
    return {
        join_name(group.name, tool.name): (group.name, tool.name)
        for group in given
        if isinstance(group, Namespace)
        for tool in group.tools
    }


def find_custom_tools(given: Iterable[GivenTool]) -> frozenset[str]:
    """Return the names, for the model, of the tools that take a text."""
    return frozenset(tool.name for tool, _ in list_tools(given) if isinstance(tool, Custom))
