"""Change an image of the conversation or a generated one, as the server tool `editImage`."""

from typing import ClassVar

from mavera.core.json_schema import Schema
from mavera.media.store import MediaStore
from mavera.tools.making.given_images import IMAGE_PARAMETER, GivenImages
from mavera.tools.making.images_server import IMAGE_KIND, SETTING, ImagesServer, save_picture
from mavera.tools.tool import Arguments, CallContext, ToolResult


class EditImageTool:
    name = "editImage"
    kind = IMAGE_KIND
    unasked = True
    setting = SETTING
    description = "Change an image that the user sent or that was made before, as described."
    parameters: ClassVar[Schema] = {
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "description": "What to change."},
            "image": IMAGE_PARAMETER,
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }

    def __init__(
        self, server: ImagesServer, media: MediaStore, images: GivenImages, *, timeout_seconds: float
    ) -> None:
        self._server = server
        self.provider = server.name
        self._media = media
        self._images = images
        self.timeout_seconds = timeout_seconds

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        await self._server.close()

    def target(self, arguments: Arguments) -> str:
        return str(arguments.get("prompt", ""))

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        prompt = str(arguments["prompt"])
        given = await self._images.find(arguments.get("image"), context)
        picture = await self._server.edit(prompt, given, None, caller=context.principal.workspace_id)
        return await save_picture(self._media, self.name, prompt, picture, context)
