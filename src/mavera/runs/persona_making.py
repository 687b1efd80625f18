"""
Make a custom persona for credits.

    make      Sheet → credits held → drafted, for north_star → stored → charged
    preview   Sheet → drafted, and shown

A persona that cannot be charged is not stored, and a failed draft costs nothing. The personas of a test key
cost nothing, and only test keys find them.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import msgspec

from mavera.accounts.keys.text import Mode
from mavera.accounts.principal import Principal
from mavera.core.finish import finish
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.config import DEFAULT_NAME
from mavera.models.model import Model
from mavera.models.named import NamedModels
from mavera.personas.catalogue import Personas
from mavera.personas.custom import CustomPersona, Sheet
from mavera.runs.admission import Admission, Outcome, Ticket
from mavera.runs.persona_draft import Drafted, draft

# Ends its block early if nobody waits for the draft any more.
Watch = Callable[[], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class PersonaMaker:
    """Makes personas. `credits` is the price of one for a live key."""

    personas: Personas
    admission: Admission
    models: Mapping[Mode, Model]
    named_models: NamedModels
    credits: int

    def price(self, principal: Principal) -> int:
        return self.credits if principal.mode == "live" else 0

    async def make(
        self, principal: Principal, sheet: Sheet, watch: Watch, *, model: str = DEFAULT_NAME
    ) -> CustomPersona:
        """
        Make and charge a persona. `model` drafts it if it is a north_star without a profile.

        Raises the errors of admission, and ServiceUnavailable without a usable draft or if `watch` ended.
        """
        drafts = sheet.pipeline_type == "north_star" and sheet.profile is None
        if drafts:
            await self.personas.check_room(principal)
        ticket = await self.admission.admit(
            principal,
            Turn(model, (), operation="personas"),
            scope="personas:write",
            credits=self.price(principal),
            needs_model=drafts,
        )
        try:
            usage, whole = Usage(), sheet
            if drafts:
                drafted = await self._draft(principal, sheet, model, ticket, watch)
                usage, whole = drafted.usage, msgspec.structs.replace(sheet, profile=drafted.profile)
            # The charge follows the store, even if the client disconnects in between.
            return await finish(self._store(principal, ticket, whole, usage))
        finally:
            await ticket.fail()  # has no effect after the charge

    async def preview(
        self, principal: Principal, sheet: Sheet, watch: Watch, *, model: str = DEFAULT_NAME
    ) -> Drafted:
        """
        Return a draft, for which nothing is stored or charged. A persona can be made of its profile.

        Raises what `make` raises, and Forbidden for a key that may not make personas.
        """
        turn = Turn(model, (), operation="personas")
        ticket = await self.admission.admit(principal, turn, scope="personas:write", credits=0)
        try:
            drafted = await self._draft(principal, sheet, model, ticket, watch)
            await ticket.end(Outcome("completed", drafted.usage))
            return drafted
        finally:
            await ticket.fail()  # has no effect after the end

    async def _store(self, principal: Principal, ticket: Ticket, sheet: Sheet, usage: Usage) -> CustomPersona:
        price = self.price(principal)
        persona = await self.personas.create(principal, sheet, credits=price)
        try:
            await ticket.end(Outcome("completed", usage, price))
        except BaseException:
            await self.personas.delete(principal, persona.id)
            raise
        return persona

    async def _draft(
        self, principal: Principal, sheet: Sheet, name: str, ticket: Ticket, watch: Watch
    ) -> Drafted:
        """Let the model invent the person."""
        model = self.named_models[name].model if principal.mode == "live" else self.models["test"]
        drafted = None
        async with watch():
            if ticket.place is not None:
                await ticket.place.turn()
            drafted = await draft(model, sheet.name, sheet.description, sheet.type)
        if drafted is None:
            raise ServiceUnavailable("The client disconnected before its persona was drafted.")
        return drafted
