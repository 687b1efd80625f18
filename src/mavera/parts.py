"""
The parts of a running server, and how each of them is: model, database, rate limits, worker of studies.

The console draws them, and `GET /operator/health` sends them.
"""

from dataclasses import dataclass
from typing import Literal

from mavera.accounts.limits.windows import SharedLimiter
from mavera.services import Services

State = Literal["good", "waiting", "bad"]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the server, and how it is. `detail` says what to do if it is not well."""

    name: str
    state: State
    word: str
    detail: str


async def list_parts(services: Services) -> list[Part]:
    """Return the health of the model, the store, the limits and the worker of studies."""
    model = services.models["live"].status()
    state: State = {"ready": "good", "idle": "good", "starting": "waiting"}.get(model.state, "bad")  # type: ignore[assignment]
    store = await services.store_probe.state()
    return [
        Part("Model", state, model.state, model.detail),
        Part(
            "Database",
            "good" if store.is_ready else "bad",
            "ready" if store.is_ready else "unavailable",
            store.detail or ("SQLite on this machine" if services.database.is_file else "Postgres"),
        ),
        await _describe_limits(services),
        _describe_worker(services),
    ]


async def _describe_limits(services: Services) -> Part:
    limiter = services.limiter
    if not isinstance(limiter, SharedLimiter):
        return Part("Rate limits", "good", "local", "counted in the memory of this server")
    if await limiter.is_reachable():
        return Part("Rate limits", "good", "shared", "counted for all servers together")
    return Part(
        "Rate limits", "bad", "approximate", "The shared store cannot be reached; each server counts."
    )


def _describe_worker(services: Services) -> Part:
    if services.settings.study_worker == "off":
        return Part("Study worker", "waiting", "separate", "Studies run where 'mavera worker' runs.")
    return Part("Study worker", "good", "ready", "starts with the first study")
