"""
Submit videos to RunwayML through its own client, and read their progress.

The module is imported only if MAVERA_RUNWAY_API_KEY is set, because it needs the extra `tools`.
"""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import runwayml

from mavera.settings import Settings
from mavera.tools.capped_http import CappedTransport
from mavera.tools.making.images_server import Picture
from mavera.tools.making.video import VideoState
from mavera.tools.tool import ToolFailed, one_line

RATIO = "1280:720"
# Runway's description of a job has only a few lines.
MOST_BYTES = 1024 * 1024


class Runway:
    name = "runway"

    def __init__(self, settings: Settings) -> None:
        self._model: Any = settings.runway_model
        self._client = runwayml.AsyncRunwayML(
            api_key=settings.runway_api_key,
            base_url=settings.runway_base_url.rstrip("/"),
            timeout=settings.tools_timeout_seconds,
            max_retries=2,
            http_client=runwayml.DefaultAsyncHttpxClient(
                transport=CappedTransport(MOST_BYTES), trust_env=False
            ),
        )

    async def close(self) -> None:
        await self._client.close()

    async def begin(self, prompt: str, image: Picture | None, seconds: int) -> str:
        asked: dict[str, Any] = {"model": self._model, "ratio": RATIO, "duration": seconds}
        with _runway_errors():
            if image is None:
                task = await self._client.text_to_video.create(**asked, prompt_text=prompt)
            else:
                url = await asyncio.to_thread(_build_data_url, image)
                made = await self._client.image_to_video.create(**asked, prompt_text=prompt, prompt_image=url)
                return str(made.id)
        return str(task.id)

    async def state(self, job_id: str) -> VideoState:
        with _runway_errors():
            task: Any = await self._client.tasks.retrieve(job_id)
        match task.status:
            case "SUCCEEDED":
                output = getattr(task, "output", None) or [None]
                return VideoState("succeeded", 100, output[0])
            case "FAILED":
                return VideoState("failed", error=f"Runway: {one_line(str(getattr(task, 'failure', '')))}")
            case "CANCELLED":
                return VideoState("failed", error="The job was cancelled at Runway.")
            case "RUNNING":
                return VideoState("in_progress", round(100 * float(getattr(task, "progress", 0) or 0)))
            case _:
                return VideoState("queued")


def _build_data_url(image: Picture) -> str:
    return f"data:{image.content_type};base64,{base64.b64encode(image.data).decode('ascii')}"


@contextmanager
def _runway_errors() -> Iterator[None]:
    """Turn the client's errors into ToolFailed, without their texts."""
    try:
        yield
    except (runwayml.AuthenticationError, runwayml.PermissionDeniedError) as error:
        raise ToolFailed("Runway refuses this server's key. The operator must check it.") from error
    except runwayml.RateLimitError as error:
        raise ToolFailed("Runway asks to wait. Retry later.") from error
    except runwayml.BadRequestError as error:
        raise ToolFailed("Runway refuses this request.") from error
    except runwayml.APIStatusError as error:
        raise ToolFailed(f"Runway answered with status {error.status_code}.") from error
    except runwayml.APITimeoutError as error:
        raise ToolFailed("Runway did not answer in time.") from error
    except runwayml.RunwayMLError as error:
        raise ToolFailed("Runway could not be reached.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ToolFailed("The response of Runway cannot be read.") from error
