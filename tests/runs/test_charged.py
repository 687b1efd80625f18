"""Turns that are admitted, run and charged on opened services, without HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from mavera.accounts import workspaces
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.plans import Overrides
from mavera.accounts.principal import Principal
from mavera.accounts.workspaces import NewWorkspace
from mavera.core.events import Event, RunCompleted, RunFailed, TextDelta
from mavera.core.items import make_message
from mavera.core.turn import Turn
from mavera.errors import CreditsExhausted, ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.services import Components, Services, open_services
from mavera.settings import Settings

TURN = Turn("mavera-1", (make_message("user", "Would you pay?"),))
NOW = 1_700_000_000


def on_services(
    folder: Path,
    use: Callable[[Services, Principal], Awaitable[None]],
    *,
    model: ScriptedModel | None = None,
    credits: int = 10,
) -> None:
    """Run `use` on opened services, for a key of a workspace that has `credits` and is granted none."""

    async def run() -> None:
        settings = Settings(data_dir=folder, model_backend="scripted")
        components = Components.of(settings, model=model or ScriptedModel(["I would ", "pay."]))
        async with open_services(settings, components) as services:
            terms = NewWorkspace("Team", plan="enterprise", overrides=Overrides(monthly_credits=0))
            workspace_id = await workspaces.create(services.database, terms, now=NOW)
            if credits:
                await workspaces.top_up(services.database, workspace_id, credits, note=None, now=NOW)
            key = await services.keyring.make(workspace_id, KeyTerms("study"))
            await use(services, await services.keyring.authenticate(f"Bearer {key.text}"))

    asyncio.run(run())


async def balance(services: Services, principal: Principal) -> int:
    return (await workspaces.get(services.database, principal.workspace_id, now=NOW)).balance


async def held(services: Services) -> int:
    row = await services.database.fetch_one("SELECT COALESCE(SUM(credits), 0) AS s FROM reservations")
    assert row is not None
    return int(row["s"])


async def events_of(services: Services, principal: Principal) -> list[Event]:
    async with aclosing(await services.runs.begin(principal, TURN)) as run:
        return [event async for event in run]


def test_a_turn_is_charged_without_a_route(tmp_path: Path) -> None:
    async def use(services: Services, principal: Principal) -> None:
        events = await events_of(services, principal)

        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "I would pay."
        assert isinstance(events[-1], RunCompleted)
        assert events[-1].usage.credits == 1
        assert await balance(services, principal) == 9
        assert await held(services) == 0

    on_services(tmp_path, use)


def test_a_turn_that_nobody_reads_gives_its_credits_back(tmp_path: Path) -> None:
    async def use(services: Services, principal: Principal) -> None:
        run = await services.runs.begin(principal, TURN)
        assert await held(services) > 0

        await run.aclose()

        assert await held(services) == 0
        assert await balance(services, principal) == 10

    on_services(tmp_path, use)


def test_a_turn_that_fails_costs_nothing(tmp_path: Path) -> None:
    failing = ScriptedModel(["I ", "would"], fail_after=1, failure=ServiceUnavailable("Down."))

    async def use(services: Services, principal: Principal) -> None:
        events = await events_of(services, principal)

        assert isinstance(events[-1], RunFailed)
        assert await held(services) == 0
        assert await balance(services, principal) == 10

    on_services(tmp_path, use, model=failing)


def test_a_turn_without_credits_is_refused_before_the_model_is_asked(tmp_path: Path) -> None:
    model = ScriptedModel(["I would pay."])

    async def use(services: Services, principal: Principal) -> None:
        with pytest.raises(CreditsExhausted):
            await services.runs.begin(principal, TURN)

        assert model.prompts == []

    on_services(tmp_path, use, model=model, credits=0)
