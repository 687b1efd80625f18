"""The configuration of a serving process, alone or one of several workers."""

import gc
import math

import uvicorn
from starlette.types import ASGIApp

from mavera.server.protocols import PatientWebSocket
from mavera.settings import Settings

# A request leaves hardly a cycle behind; Python's own 700 would look for one twice in each.
GARBAGE_ALLOCATIONS = 20_000


def server_config(application: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request came from
        ws=PatientWebSocket,
        ws_max_size=settings.max_body_bytes,
        # Deflating events of a few bytes costs more than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
    )


def settle_garbage() -> None:
    """Say that what start-up made lives for good: collections need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_ALLOCATIONS)
