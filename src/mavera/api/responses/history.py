"""
Find the earlier responses that a request refers to. They are kept for an hour.

    {"type": "item_reference", "id": "msg_…"}    → the item in its place, or 400
    {"previous_response_id": "resp_…"}           → the conversation up to the end of that response

    History.read(body)       the body with its references replaced, and the conversation before it
    History.keep(…)          keeps a response while it is charged, before its client has it

`storage/kept.py` keeps a response encrypted: its output, for references, and the conversation before it, for
`previous_response_id`. A long conversation is a separate value, because references to items do not need it.
The id of an item ends in the digits of its response, so the id of either finds the response. Only keys of the
same workspace and the same mode find it.
"""

from typing import Any, TypeVar

import msgspec
import structlog

from mavera.accounts.principal import Principal
from mavera.api.http.json import json_bytes
from mavera.api.responses.schemas import CompactConversation, CreateResponse, Input, InputItem
from mavera.api.responses.stream import ResponseEncoder
from mavera.core.events import RunCompleted
from mavera.core.ids import owner_of
from mavera.core.items import Item
from mavera.errors import APIError, InvalidRequest, PreviousResponseNotFound, RequestTooLarge
from mavera.services import Services
from mavera.storage.kept import KeptAnswers, Purpose

KEPT_SECONDS = 3_600
# A workspace of the Business plan makes about this many responses in an hour.
RESPONSES = Purpose("responses", 20_000, 256 * 1024 * 1024)
# A larger conversation is not kept, but its output is. The client can send it again.
MAX_KEPT_BYTES = 4 * 1024 * 1024
LONG_BYTES = 16 * 1024

Body = TypeVar("Body", CreateResponse, CompactConversation)

log = structlog.get_logger()

_items = msgspec.msgpack.Decoder(tuple[Item, ...])
_output = msgspec.json.Decoder(list[InputItem])


class _Kept(msgspec.Struct, array_like=True):
    """`output` is JSON. `conversation` is None if it is a separate value, or not kept at all."""

    output: bytes
    conversation: bytes | None


_kept = msgspec.msgpack.Decoder(_Kept)


class History:
    """The earlier responses that one caller may refer to."""

    def __init__(
        self, kept: KeptAnswers, principal: Principal, *, on: bool, strict: bool, most_bytes: int
    ) -> None:
        self._kept = kept
        self._principal = principal
        self._on = on and kept.serves(RESPONSES)
        self._strict = strict
        self._most_bytes = most_bytes

    @classmethod
    def of(cls, services: Services, principal: Principal) -> "History":
        settings = services.settings
        return cls(
            services.kept_answers,
            principal,
            on=settings.response_store == "database",
            strict=settings.strict_history,
            most_bytes=settings.max_body_bytes,
        )

    def keeps(self, body: CreateResponse) -> bool:
        """Whether the response to `body` has to be kept."""
        return self._on and body.store is not False

    async def read(self, body: Body) -> tuple[Body, tuple[Item, ...]]:
        """
        Return `body` with its references resolved, and the conversation up to its `previous_response_id`.

        A reference that is not found stays a reference. A `previous_response_id` that is not found becomes
        null. With MAVERA_STRICT_HISTORY, it raises InvalidRequest instead.
        """
        self.refuse_elsewhere(body)
        if body.previous_response_id is None and not _find_references(body.input):
            return body, ()
        before = await self.find_conversation(body.previous_response_id)
        if before is None and body.previous_response_id is not None:
            self._report_miss(body.previous_response_id)
        read = msgspec.structs.replace(
            body,
            input=await self.resolve(body.input),
            previous_response_id=None if before is None else body.previous_response_id,
        )
        return read, before or ()

    async def resolve(self, given: Input) -> Input:
        """
        Return `given` with its references replaced by their items, except for references that are not found.
        """
        references = _find_references(given)
        if not references or isinstance(given, str):
            return given
        found = await self._find_items(references)
        return [found.get(item.id or "", item) if item.is_reference else item for item in given]

    async def find_conversation(self, response_id: str | None) -> tuple[Item, ...] | None:
        """Return the conversation up to the end of a response, or None if it is not kept."""
        digits = None if response_id is None or not self._on else owner_of(response_id)
        if digits is None or not str(response_id).startswith("resp_"):
            return None
        response, long = self._build_key(digits, "response"), self._build_key(digits, "said")
        values = await self._find_all([response, long])
        if response not in values:
            return None
        kept = _kept.decode(values[response])
        conversation = values.get(long) if kept.conversation is None else kept.conversation
        if conversation is None:
            return None
        output = _output.decode(kept.output)
        return (
            *_items.decode(conversation),
            *(item for number, one in enumerate(output) for item in one.to_items(f"output[{number}]")),
        )

    async def keep(self, encoder: ResponseEncoder, before: tuple[Item, ...], end: RunCompleted) -> None:
        """
        Keep the response that ends with `end`, and the conversation before it.

        If the conversation cannot be kept, the response says `store: false`. A store that is down is no
        reason to fail, because the client can send the conversation again.
        """
        if not await self._keep(encoder.response_id, encoder.close(end), before):
            encoder.deny_kept()

    async def _keep(self, response_id: str, items: list[dict[str, Any]], before: tuple[Item, ...]) -> bool:
        """Keep both, and return whether all of it is kept."""
        digits = owner_of(response_id)
        output = json_bytes(items)
        conversation = msgspec.msgpack.encode(before)
        if digits is None or len(output) > MAX_KEPT_BYTES:
            return False
        is_short, whole = len(conversation) <= LONG_BYTES, len(conversation) <= MAX_KEPT_BYTES
        kept = _Kept(output, conversation if is_short else None)
        values = {self._build_key(digits, "response"): msgspec.msgpack.encode(kept)}
        if whole and not is_short:
            values[self._build_key(digits, "said")] = conversation
        try:
            await self._kept.keep_all(self._principal.workspace_id, RESPONSES, values, seconds=KEPT_SECONDS)
        except APIError as error:
            log.warning("response_not_kept", reason=error.message)
            return False
        except Exception as error:
            # The answer is complete, and no fault of the store may cost it.
            log.exception("response_not_kept", error=type(error).__name__)
            return False
        return whole

    def refuse_elsewhere(self, body: Body) -> None:
        """Log members that refer to OpenAI's own storage, or raise InvalidRequest if history is strict."""
        if isinstance(body, CompactConversation):
            return
        for name, instead in _ELSEWHERE.items():
            if getattr(body, name) is None:
                continue
            if self._strict:
                raise InvalidRequest(f"'{name}' finds nothing here. Send {instead}.", param=name)
            log.warning("parameter_without_effect", parameter=name, workspace=self._principal.workspace_id)

    def _build_key(self, digits: str, part: str) -> str:
        return f"{self._principal.mode} {digits} {part}"

    async def _find_all(self, keys: list[str]) -> dict[str, bytes]:
        values = await self._kept.find_all(
            self._principal.workspace_id, RESPONSES, keys, most_bytes=self._most_bytes
        )
        if values is None:
            raise RequestTooLarge(
                f"The referenced responses have more than {self._most_bytes:,} bytes together, "
                "the most this server takes. Send the conversation in 'input', or compact it first."
            )
        return values

    async def _find_items(self, wanted: set[str]) -> dict[str, InputItem]:
        """Return the kept items with these ids."""
        owners = {digits for one in wanted if (digits := owner_of(one)) is not None}
        if not owners or not self._on:
            return {}
        values = await self._find_all([self._build_key(digits, "response") for digits in owners])
        every = (item for value in values.values() for item in _output.decode(_kept.decode(value).output))
        return {item.id: item for item in every if item.id is not None and item.id in wanted}

    def _report_miss(self, response_id: str) -> None:
        """Log that a `previous_response_id` is not found, or raise PreviousResponseNotFound."""
        if self._strict:
            raise PreviousResponseNotFound(
                f"No response '{response_id[:100]}' is kept here. Send the whole conversation in 'input', "
                "without 'previous_response_id'.",
                param="previous_response_id",
            )
        log.warning("previous_response_not_found", workspace=self._principal.workspace_id)


_ELSEWHERE = {
    "conversation": "the whole conversation in 'input', or a 'previous_response_id'",
    "prompt": "the text of the prompt in 'instructions' or 'input'",
}


def _find_references(given: Input) -> set[str]:
    """Return the ids of all referenced items."""
    return set() if isinstance(given, str) else {item.id for item in given if item.is_reference and item.id}
