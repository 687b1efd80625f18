"""
Start a video from a description, as the server tool `generateVideo`.

The video is ready minutes later, at GET /api/v1/media/{id}.
"""

from typing import ClassVar

from mavera.core.json_schema import Schema
from mavera.core.server_calls import CallKind
from mavera.tools.making.video import SETTING, VideoJobs
from mavera.tools.tool import Arguments, CallContext, ToolResult

SECONDS_PARAMETER: Schema = {"type": "integer", "description": "How long it is.", "minimum": 2, "maximum": 10}
DEFAULT_SECONDS = 5
MOST_PROMPT_CHARACTERS = 1000


class GenerateVideoTool:
    name = "generateVideo"
    kind: CallKind = "function"
    unasked = True
    setting = SETTING
    description = "Begin making a short video from a description. Only when the user asks for a video."
    parameters: ClassVar[Schema] = {
        "type": "object",
        "properties": {
            "prompt": {
                "type": "string",
                "description": "What happens in it.",
            },
            "seconds": SECONDS_PARAMETER,
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }

    def __init__(self, jobs: VideoJobs, *, timeout_seconds: float) -> None:
        self._jobs = jobs
        self.provider = jobs.name
        self.timeout_seconds = timeout_seconds

    async def start(self) -> None:
        await self._jobs.start()

    async def close(self) -> None:
        await self._jobs.close()

    def target(self, arguments: Arguments) -> str:
        return str(arguments.get("prompt", ""))

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        seconds = int(arguments.get("seconds", DEFAULT_SECONDS))
        return await self._jobs.begin(
            self.name, str(arguments["prompt"])[:MOST_PROMPT_CHARACTERS], None, seconds, context
        )
