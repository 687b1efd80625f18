"""Describe the completion and the chunks of its stream, as `stream.py` writes them."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from mavera.api.wire.objects import (
    ArtifactObject,
    Described,
    MosaicObject,
    ServiceTierUsed,
    TokenLogprobObject,
)
from mavera.core.analysis import Analysis

FinishReasonGiven = Literal["stop", "length", "tool_calls", "content_filter"]


class CalledFunctionObject(Described):
    """`arguments` is JSON as text."""

    name: str
    arguments: str


class FunctionCallObject(Described, tag_field="type", tag="function"):
    id: str
    function: CalledFunctionObject


class CalledCustomObject(Described):
    """`input` is the text for the tool."""

    name: str
    input: str


class CustomCallObject(Described, tag_field="type", tag="custom"):
    id: str
    custom: CalledCustomObject


class CitedUrl(Described):
    """Characters `start_index` to `end_index` of the content refer to a source that a tool found."""

    start_index: int
    end_index: int
    url: str
    title: str


class AnnotationObject(Described):
    type: Literal["url_citation"]
    url_citation: CitedUrl


class ChatMessageObject(Described):
    """`reasoning_content` is present if the model's server shows the model's reasoning."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[AnnotationObject]
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[FunctionCallObject | CustomCallObject] | UnsetType = UNSET
    parsed: Any = UNSET
    artifacts: list[ArtifactObject] | UnsetType = UNSET


class ChatLogprobs(Described):
    content: list[TokenLogprobObject]
    refusal: None


class ChatChoice(Described):
    index: int
    message: ChatMessageObject
    logprobs: ChatLogprobs | None
    finish_reason: FinishReasonGiven


class PromptTokensDetails(Described):
    cached_tokens: int


class CompletionTokensDetails(Described):
    reasoning_tokens: int


class ChatUsage(Described):
    """`credits_used` is the price of the answer in credits."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    credits_used: int


class ChatCompletionObject(Described):
    """`analysis` and `mosaic` are present with their modes, and `tool_calls` if tools ran on the server."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    service_tier: ServiceTierUsed
    analysis: Analysis | UnsetType = UNSET
    mosaic: MosaicObject | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET


class FunctionDelta(Described):
    """Only the first delta of a call has the name."""

    arguments: str
    name: str | UnsetType = UNSET


class CustomDelta(Described):
    """The name stands in the first delta of a call only."""

    input: str
    name: str | UnsetType = UNSET


class ToolCallDeltaObject(Described):
    """
    Only the first delta of a call has `id` and `type`.

    A call of a custom tool has `custom` in place of `function`, and no `type`.
    """

    index: int
    function: FunctionDelta | UnsetType = UNSET
    custom: CustomDelta | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChunkDelta(Described):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallDeltaObject] | UnsetType = UNSET
    annotations: list[AnnotationObject] | UnsetType = UNSET
    parsed: Any = UNSET


class ChunkChoice(Described):
    index: int
    delta: ChunkDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReasonGiven | None


class ChatCompletionChunkObject(Described):
    """`usage` and mavera's own members are in the chunk with the `finish_reason`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | UnsetType | None = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET
    artifacts: list[ArtifactObject] | UnsetType = UNSET
    analysis: Analysis | UnsetType = UNSET
    mosaic: MosaicObject | UnsetType = UNSET
