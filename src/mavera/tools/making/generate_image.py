"""Make an image from a description, as the server tool `generateImage`, with OpenAI's image API."""

from typing import ClassVar

from mavera.core.json_schema import Schema
from mavera.media.store import MediaStore
from mavera.tools.making.images_server import IMAGE_KIND, SETTING, SIZES, ImagesServer, save_picture
from mavera.tools.tool import Arguments, CallContext, ToolResult


class GenerateImageTool:
    name = "generateImage"
    kind = IMAGE_KIND
    unasked = True
    setting = SETTING
    description = "Make an image from a description. Only when the user asks for a picture."
    parameters: ClassVar[Schema] = {
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "description": "What the image shows."},
            "size": {"type": "string", "enum": list(SIZES)},
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }

    def __init__(self, server: ImagesServer, media: MediaStore, *, timeout_seconds: float) -> None:
        self._server = server
        self.provider = server.name
        self._media = media
        self.timeout_seconds = timeout_seconds

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        await self._server.close()

    def target(self, arguments: Arguments) -> str:
        return str(arguments.get("prompt", ""))

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        prompt = str(arguments["prompt"])
        picture = await self._server.generate(
            prompt, arguments.get("size"), caller=context.principal.workspace_id
        )
        return await save_picture(self._media, self.name, prompt, picture, context)
