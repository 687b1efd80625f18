"""
Decode the server tools that a request names in `tools` and in `tool_choice`.

    {"type": "web_search"}  {"type": "image_generation"}     OpenAI's names
    {"type": "tavily_search"} …  {"type": "imageToVideo"}     mavera's
    {"type": "mcp", "server_label": "shop"}                   a server that the operator set up

OpenAI's options of these tools are accepted, so that no client is refused. docs/how-to/tools.md lists the
options that have an effect.
"""

from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

from mavera.api.http.bounds import Address, Name, Opaque, OpaqueObject, Secret, Text, Word
from mavera.core.tool_names import ALL_TOOLS, to_offered_name
from mavera.core.turn import NamedTool
from mavera.errors import InvalidRequest
from mavera.tools.toolbox import SYNONYMS


class BuiltInTool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="tool"):
    """A server tool. Its type is its name."""

    @property
    def type(self) -> str:
        return str(self.__struct_config__.tag)

    def to_named(self, at: str) -> tuple[NamedTool, ...]:
        return (NamedTool(SYNONYMS.get(self.type, self.type), at),)

    def echo(self) -> dict[str, Any]:
        """Return the tool for a Response, as one of the kinds that OpenAI's clients know."""
        return {"type": "web_search"}

    def echo_choice(self) -> dict[str, Any]:
        return {"type": "web_search_preview"}


class WebSearch(BuiltInTool, kw_only=True, tag="web_search"):
    """Without `external_web_access` it searches OpenAI's own copy of the web. Codex offers that by itself."""

    filters: OpaqueObject | None = None
    user_location: OpaqueObject | None = None
    search_context_size: Word | None = None
    search_content_types: Annotated[list[Word], Meta(max_length=16)] | None = None
    external_web_access: bool | None = None

    def to_named(self, at: str) -> tuple[NamedTool, ...]:
        return (NamedTool(SYNONYMS.get(self.type, self.type), at, self.external_web_access is False),)


class WebSearchDated(WebSearch, kw_only=True, tag="web_search_2025_08_26"):
    pass


class WebSearchPreview(WebSearch, kw_only=True, tag="web_search_preview"):
    pass


class WebSearchPreviewDated(WebSearch, kw_only=True, tag="web_search_preview_2025_03_11"):
    pass


class TavilySearch(BuiltInTool, kw_only=True, tag="tavily_search"):
    pass


class TavilyExtract(BuiltInTool, kw_only=True, tag="tavily_extract"):
    pass


class ImageGeneration(BuiltInTool, kw_only=True, tag="image_generation"):
    model: Name | None = None
    quality: Word | None = None
    size: Word | None = None
    output_format: Word | None = None
    output_compression: int | None = None
    moderation: Word | None = None
    background: Word | None = None
    input_fidelity: Word | None = None
    input_image_mask: OpaqueObject | None = None
    partial_images: int | None = None
    action: Word | None = None

    def echo(self) -> dict[str, Any]:
        return {"type": "image_generation"}

    def echo_choice(self) -> dict[str, Any]:
        return {"type": "image_generation"}


class GenerateImage(ImageGeneration, kw_only=True, tag="generateImage"):
    pass


class EditImage(ImageGeneration, kw_only=True, tag="editImage"):
    pass


class GenerateVideo(BuiltInTool, kw_only=True, tag="generateVideo"):
    def echo(self) -> dict[str, Any]:
        return {"type": "mcp", "server_label": "mavera", "allowed_tools": [self.type]}

    def echo_choice(self) -> dict[str, Any]:
        return {"type": "mcp", "server_label": "mavera", "name": self.type}


class ImageToVideo(GenerateVideo, kw_only=True, tag="imageToVideo"):
    pass


class MCP(BuiltInTool, kw_only=True, tag="mcp"):
    """`server_label` names a server that the operator set up. A caller cannot name a server of its own."""

    server_label: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Name | None = None
    allowed_tools: Annotated[list[Name], Meta(max_length=256)] | OpaqueObject | None = None
    require_approval: Opaque = None
    server_description: Text | None = None
    server_url: Address | None = None
    connector_id: Name | None = None
    authorization: Secret | None = None
    headers: Annotated[dict[Name, Secret], Meta(max_length=64)] | None = None

    def to_named(self, at: str) -> tuple[NamedTool, ...]:
        for member in ("server_url", "connector_id", "authorization", "headers"):
            if getattr(self, member):
                raise InvalidRequest(
                    f"The operator sets up MCP servers. Name one by 'server_label', without '{member}'.",
                    param=f"{at}.{member}",
                )
        allowed = self.allowed_tools
        names = allowed if isinstance(allowed, list) else (allowed or {}).get("tool_names")
        chosen = [self.name] if self.name else names
        return tuple(
            NamedTool(to_offered_name(self.server_label, name), at) for name in (chosen or [ALL_TOOLS])
        )

    def echo(self) -> dict[str, Any]:
        given = {"type": "mcp", "server_label": self.server_label, "allowed_tools": self.allowed_tools}
        return {name: value for name, value in given.items() if value is not None}

    def echo_choice(self) -> dict[str, Any]:
        return {"type": "mcp", "server_label": self.server_label, "name": self.name}


OwnTool = (
    WebSearch
    | WebSearchDated
    | WebSearchPreview
    | WebSearchPreviewDated
    | TavilySearch
    | TavilyExtract
    | ImageGeneration
    | GenerateImage
    | EditImage
    | GenerateVideo
    | ImageToVideo
    | MCP
)


@runtime_checkable
class NamesOwnTools(Protocol):
    """A `tool_choice` that can name server tools."""

    def to_named(self, at: str) -> tuple[NamedTool, ...]: ...


class AllowedOwnTool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An entry of `allowed_tools`: a tool of the caller by its name, or a server tool by its type."""

    type: Word
    name: Name | None = None
    function: OpaqueObject | None = None
    custom: OpaqueObject | None = None
    server_label: Name | None = None

    def to_named(self, at: str) -> tuple[NamedTool, ...]:
        """Return the server tool of this entry, or nothing if it is a tool of the caller."""
        return () if self.type in ("function", "custom") else (NamedTool(self.to_name(at), at),)

    def to_name(self, at: str) -> str:
        if self.type not in ("function", "custom"):
            if self.type == "mcp":
                return to_offered_name(self.server_label or "", self.name or ALL_TOOLS)
            return SYNONYMS.get(self.type, self.type)
        name = self.name or (self.function or self.custom or {}).get("name")
        if not isinstance(name, str):
            raise InvalidRequest(f"'{at}.name' is missing.", param=f"{at}.name")
        return name
