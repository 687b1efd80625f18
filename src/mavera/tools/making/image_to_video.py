"""Start a video from an image of the conversation or a generated one, as the server tool `imageToVideo`."""

from typing import ClassVar

from mavera.core.json_schema import Schema
from mavera.core.server_calls import CallKind
from mavera.tools.making.generate_video import DEFAULT_SECONDS, MOST_PROMPT_CHARACTERS, SECONDS_PARAMETER
from mavera.tools.making.given_images import IMAGE_PARAMETER, GivenImages
from mavera.tools.making.video import SETTING, VideoJobs
from mavera.tools.tool import Arguments, CallContext, ToolResult


class ImageToVideoTool:
    name = "imageToVideo"
    kind: CallKind = "function"
    unasked = True
    setting = SETTING
    description = "Begin making a short video out of an image that the user sent or that was made before."
    parameters: ClassVar[Schema] = {
        "type": "object",
        "properties": {
            "prompt": {
                "type": "string",
                "description": "What happens in it.",
            },
            "image": IMAGE_PARAMETER,
            "seconds": SECONDS_PARAMETER,
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }

    def __init__(self, jobs: VideoJobs, images: GivenImages, *, timeout_seconds: float) -> None:
        self._jobs = jobs
        self.provider = jobs.name
        self._images = images
        self.timeout_seconds = timeout_seconds

    async def start(self) -> None:
        await self._jobs.start()

    async def close(self) -> None:
        await self._jobs.close()

    def target(self, arguments: Arguments) -> str:
        return str(arguments.get("prompt", ""))

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        given = await self._images.find(arguments.get("image"), context)
        seconds = int(arguments.get("seconds", DEFAULT_SECONDS))
        return await self._jobs.begin(
            self.name, str(arguments["prompt"])[:MOST_PROMPT_CHARACTERS], given, seconds, context
        )
