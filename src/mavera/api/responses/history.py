"""
Find the earlier responses that a request refers to. They are kept for an hour.

    {"type": "item_reference", "id": "msg_…"}    → the item, where it stands; or 400
    {"previous_response_id": "resp_…"}           → all that was said up to that response and in it

    History.read(body)       the body with its references replaced, and what was said before it
    History.keep(…)          a response that ends, while it is charged: before its client knows

A response is kept encrypted by `storage/kept.py`: its output, for references, and what was said before it,
for `previous_response_id`. A long conversation is a value of its own, so that whoever refers to items need
not read it. The ids of the items end in the digits of their response, so both are found by any of them, by
keys of the same workspace and the same mode only.
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
# About as many as a workspace of the Business plan makes in an hour.
RESPONSES = Purpose("responses", 20_000, 256 * 1024 * 1024)
# A larger conversation can be sent again, and its output is still kept.
MAX_KEPT_BYTES = 4 * 1024 * 1024
LONG_BYTES = 16 * 1024

Body = TypeVar("Body", CreateResponse, CompactConversation)

log = structlog.get_logger()

_items = msgspec.msgpack.Decoder(tuple[Item, ...])
_output = msgspec.json.Decoder(list[InputItem])


class _Kept(msgspec.Struct, array_like=True):
    """`output` is JSON; `said` is None if the conversation is kept by itself, or not at all."""

    output: bytes
    said: bytes | None


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
        """Whether the answer to `body` is to be kept."""
        return self._on and body.store is not False

    async def read(self, body: Body) -> tuple[Body, tuple[Item, ...]]:
        """
        Return `body` with its references resolved, and what was said up to its `previous_response_id`.

        A `previous_response_id` that is not found is null in the body that is returned, and a reference
        that is not found stays one. With MAVERA_STRICT_HISTORY, InvalidRequest is raised for the former.
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
        """Return `given` with the items that it refers to; a reference that is not found stays one."""
        references = _find_references(given)
        if not references or isinstance(given, str):
            return given
        found = await self._find_items(references)
        return [found.get(item.id or "", item) if item.is_reference else item for item in given]

    async def find_conversation(self, response_id: str | None) -> tuple[Item, ...] | None:
        """Return what was said up to a response and in it, or None if it is not kept."""
        digits = None if response_id is None or not self._on else owner_of(response_id)
        if digits is None or not str(response_id).startswith("resp_"):
            return None
        response, conversation = self._build_key(digits, "response"), self._build_key(digits, "said")
        values = await self._find_all([response, conversation])
        if response not in values:
            return None
        kept = _kept.decode(values[response])
        said = values.get(conversation) if kept.said is None else kept.said
        if said is None:
            return None
        output = _output.decode(kept.output)
        return (
            *_items.decode(said),
            *(item for number, one in enumerate(output) for item in one.to_items(f"output[{number}]")),
        )

    async def keep(self, encoder: ResponseEncoder, said: tuple[Item, ...], end: RunCompleted) -> None:
        """
        Keep the response that ends in `end`, and what was said before it.

        One that a `previous_response_id` will not find says `store: false`. A store that is down keeps
        nothing: the answer is made, and its client can send the conversation again.
        """
        if not await self._keep(encoder.response_id, encoder.close(end), said):
            encoder.deny_kept()

    async def _keep(self, response_id: str, items: list[dict[str, Any]], said: tuple[Item, ...]) -> bool:
        """Return whether all of it is kept."""
        digits = owner_of(response_id)
        output = json_bytes(items)
        conversation = msgspec.msgpack.encode(said)
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
            # The answer is made: whatever this is, it must not cost it.
            log.exception("response_not_kept", error=type(error).__name__)
            return False
        return whole

    def refuse_elsewhere(self, body: Body) -> None:
        """Note what only OpenAI's own service has stored, or raise InvalidRequest if history is strict."""
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
                f"The responses that are referred to have more than {self._most_bytes:,} bytes together, "
                "the most this server takes. Send the conversation in 'input', or compact it first."
            )
        return values

    async def _find_items(self, wanted: set[str]) -> dict[str, InputItem]:
        """Return those of the items with these ids that are kept."""
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
    """Return the ids of the items that are referred to."""
    return set() if isinstance(given, str) else {item.id for item in given if item.is_reference and item.id}
