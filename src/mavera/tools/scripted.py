"""
Tools with fixed results for `mvra_test_` keys: every shape of a result, without any work.

They are offered only to requests that name one. An integrator forces its call with `tool_choice`.
"""

import base64
import struct
import zlib
from dataclasses import dataclass

from mavera.core.json_schema import Schema
from mavera.core.server_calls import CallKind
from mavera.tools.search.tavily_extract import TavilyExtractTool
from mavera.tools.search.tavily_search import TavilySearchTool
from mavera.tools.tool import Arguments, CallContext, Found, Tool, ToolResult

_PAGE = Found("https://example.com/", "Example", "A scripted result: nothing was looked up.")
_PROMPT: Schema = {
    "type": "object",
    "properties": {"prompt": {"type": "string"}},
    "required": ["prompt"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ScriptedTool:
    name: str
    kind: CallKind
    parameters: Schema
    result: ToolResult
    description: str = "A scripted tool."
    provider: str = "scripted"
    setting: str = ""
    unasked: bool = False
    timeout_seconds: float = 5.0

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def target(self, arguments: Arguments) -> str:
        return str(arguments.get("query") or arguments.get("prompt") or _PAGE.url)

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        return self.result


def make_scripted_tools() -> list[Tool]:
    image = ToolResult("A scripted image.", text="The image was made and is shown.", image=_one_pixel())
    video = ToolResult("A scripted video.", text="The video was started.")
    return [
        ScriptedTool(
            "tavily_search", "search", TavilySearchTool.parameters, ToolResult("1 result: Example", (_PAGE,))
        ),
        ScriptedTool(
            "tavily_extract", "page", TavilyExtractTool.parameters, ToolResult("Read Example", (_PAGE,))
        ),
        ScriptedTool("generateImage", "image", _PROMPT, image),
        ScriptedTool("editImage", "image", _PROMPT, image),
        ScriptedTool("generateVideo", "function", _PROMPT, video),
        ScriptedTool("imageToVideo", "function", _PROMPT, video),
    ]


def _one_pixel() -> str:
    """Return a PNG of one grey pixel in base64."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\x00\x80")), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return base64.b64encode(png).decode("ascii")
