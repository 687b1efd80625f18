"""
Call the HTTP API of llama.cpp's server, except for its answers to questions, which `upstream.py` streams.

    count_tokens      messages → /apply-template → the text as the model reads it → /tokenize
    evaluate          read tokens into a slot, and write nothing
    slots, health     /slots, to save and restore what a slot has read; /health

Each call opens a connection: the engine closes a connection that rests, and an exchange that meets the
close would fail. Exceptions of the exchange stop here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import msgspec

from mavera.core.prompt import Prompt
from mavera.models.chat_wire import build_request_body
from mavera.models.embedded.process import EngineAddress
from mavera.models.exchange import Address, ExchangeFailed, Poster

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
# The members of a request that become text for the model.
_MEMBERS_READ = frozenset({"messages", "tools", "tool_choice"})


class EngineCallFailed(Exception):
    """The engine refused a call, or answered something that is not expected."""


class EngineUnreachable(EngineCallFailed):
    """The engine did not answer, or not in time."""


class _Templated(msgspec.Struct):
    prompt: str


class _Tokenized(msgspec.Struct):
    tokens: list[int]


class _Evaluated(msgspec.Struct):
    id_slot: int


class _Slot(msgspec.Struct):
    is_processing: bool


class _Saved(msgspec.Struct):
    n_saved: int


class EngineApi:
    """
    The API of the engine at `address`. Each call may take `seconds`.

    Most methods raise EngineCallFailed, which is EngineUnreachable if the engine does not answer.
    """

    def __init__(self, address: EngineAddress, *, seconds: float) -> None:
        self._base_url = address.base_url
        self._headers = {"Authorization": f"Bearer {address.api_key}", "Content-Type": "application/json"}
        self._seconds = seconds
        self._poster = Poster(
            connect_seconds=min(_CONNECT_SECONDS, seconds), keep_alive=False, total_seconds=seconds
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._poster.close()

    async def is_healthy(self) -> bool:
        """Say whether the engine is ready for requests. Never fails."""
        try:
            status, _ = await self._exchange("GET", "/health")
        except EngineCallFailed:
            return False
        return status == 200

    async def tokenize_prompt(self, prompt: Prompt) -> list[int]:
        """Return the tokens of `prompt` as the model reads it, with its template."""
        return await self.tokenize_text(await self.apply_template(prompt))

    async def apply_template(self, prompt: Prompt) -> str:
        """Return the text of `prompt` as the model reads it."""
        asked = build_request_body(prompt, model="embedded")
        members = {name: value for name, value in asked.items() if name in _MEMBERS_READ}
        return (await self._call("/apply-template", members, _Templated)).prompt

    async def tokenize_text(self, text: str) -> list[int]:
        body = {"content": text, "add_special": True, "parse_special": True}
        return (await self._call("/tokenize", body, _Tokenized)).tokens

    async def evaluate(self, tokens: Sequence[int]) -> int:
        """Let a slot read `tokens`, and return the id of the slot."""
        body = {"prompt": list(tokens), "n_predict": 0, "cache_prompt": True}
        return (await self._call("/completion", body, _Evaluated)).id_slot

    async def has_idle_slot(self) -> bool:
        status, answer = await self._exchange("GET", "/slots")
        return any(not slot.is_processing for slot in _decode("/slots", status, answer, list[_Slot]))

    async def has_busy_slot(self) -> bool:
        status, reply = await self._exchange("GET", "/slots")
        return any(slot.is_processing for slot in _decode("/slots", status, reply, list[_Slot]))

    async def save_slot(self, slot: int, filename: str) -> int:
        """Write the state of a slot to a file. Returns the number of its tokens."""
        return (await self._call(f"/slots/{slot}?action=save", {"filename": filename}, _Saved)).n_saved

    async def restore_slot(self, slot: int, filename: str) -> bool:
        """Load a file into a slot. Returns False if the engine refuses the file."""
        body = msgspec.json.encode({"filename": filename})
        status, _ = await self._exchange("POST", f"/slots/{slot}?action=restore", body)
        return status == 200

    async def _call(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        status, answer = await self._exchange("POST", path, msgspec.json.encode(body))
        return _decode(path, status, answer, kind)

    async def _exchange(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        try:
            address = Address.of(self._base_url + path, headers=self._headers, method=method)
            answer = await self._poster.post(address, body, patience_seconds=self._seconds)
            try:
                pieces = []
                while piece := await answer.read(patience_seconds=self._seconds):
                    pieces.append(piece)
            finally:
                answer.close()
        except ExchangeFailed as failure:
            raise EngineUnreachable(f"{method} {path}: {type(failure).__name__}, {failure}") from failure
        return answer.status, b"".join(pieces)


def _decode(path: str, status: int, answer: bytes, kind: type[T]) -> T:
    if status != 200:
        raise EngineCallFailed(f"{path} answered {status}")
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise EngineCallFailed(f"{path}: {error}") from error
