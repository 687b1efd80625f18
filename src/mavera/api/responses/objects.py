"""Describe the Response object and the events of its stream, as `stream.py` writes them."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from mavera.api.responses.tools import (
    AllowedTools,
    FormatAnyText,
    FormatGrammar,
    NamedCustom,
    NamedFunction,
)
from mavera.api.wire.objects import (
    ArtifactObject,
    Described,
    MosaicObject,
    ServiceTierUsed,
    TokenLogprobObject,
)
from mavera.core.analysis import Analysis
from mavera.core.prompt import Effort
from mavera.core.turn import Truncation, Verbosity

ItemStatus = Literal["in_progress", "completed", "incomplete"]
CallStatus = Literal["in_progress", "completed", "failed"]


class UrlCitation(Described, tag_field="type", tag="url_citation"):
    """Characters `start_index` to `end_index` of the text refer to a source that a tool found."""

    start_index: int
    end_index: int
    url: str
    title: str


class OutputTextPart(Described, tag_field="type", tag="output_text"):
    text: str
    annotations: list[UrlCitation]
    logprobs: list[TokenLogprobObject]


class OutputRefusalPart(Described, tag_field="type", tag="refusal"):
    refusal: str


class ReasoningTextPart(Described, tag_field="type", tag="reasoning_text"):
    text: str


class OutputReasoning(Described, tag_field="type", tag="reasoning"):
    """The reasoning of the model, if its server shows it. It is not part of the answer."""

    id: str
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningTextPart]


class OutputMessage(Described, tag_field="type", tag="message"):
    id: str
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputTextPart | OutputRefusalPart]


class OutputFunctionCall(Described, tag_field="type", tag="function_call"):
    """`arguments` is JSON as text. `namespace` is present if the request has the function in a namespace."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: str | UnsetType = UNSET


class OutputCustomCall(Described, tag_field="type", tag="custom_tool_call"):
    """A call of a tool that takes a text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    input: str
    namespace: str | UnsetType = UNSET


class WebSearchCall(Described, tag_field="type", tag="web_search_call"):
    """The server searched, or opened a page. `action` says which of them, with the result."""

    id: str
    status: CallStatus
    action: dict[str, Any]


class ImageGenerationCall(Described, tag_field="type", tag="image_generation_call"):
    """`result` is the image in base64, or null while it is being made."""

    id: str
    status: CallStatus
    result: str | None


class McpCall(Described, tag_field="type", tag="mcp_call"):
    """A call of any other server tool. `output` is a summary."""

    id: str
    status: CallStatus
    server_label: str
    name: str
    arguments: str
    output: str | None
    error: str | None


OutputItem = (
    OutputMessage
    | OutputReasoning
    | OutputFunctionCall
    | OutputCustomCall
    | WebSearchCall
    | ImageGenerationCall
    | McpCall
)


class InputTokensDetails(Described):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Described):
    reasoning_tokens: int


class ResponseUsage(Described):
    """`credits_used` is the price of the answer in credits."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int
    credits_used: int


class ResponseError(Described):
    """`type` is mavera's name for the failure, and `code` is the name that OpenAI's clients know."""

    code: Literal["server_error"]
    message: str
    type: str


class IncompleteDetails(Described):
    reason: Literal["max_output_tokens", "content_filter"]


class ReasoningUsed(Described):
    effort: Effort
    summary: str | None


class TextUsed(Described):
    format: dict[str, Any]
    verbosity: Verbosity


class FunctionUsed(Described, tag_field="type", tag="function"):
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class CustomUsed(Described, tag_field="type", tag="custom"):
    name: str
    description: str | None
    format: FormatAnyText | FormatGrammar


class ToolSearchUsed(Described, tag_field="type", tag="tool_search"):
    execution: str | None
    description: str | None
    parameters: dict[str, Any] | None


class WebSearchUsed(Described, tag_field="type", tag="web_search"):
    pass


class ImageGenerationUsed(Described, tag_field="type", tag="image_generation"):
    pass


class McpUsed(Described, tag_field="type", tag="mcp"):
    server_label: str
    allowed_tools: list[str] | dict[str, Any] | UnsetType = UNSET


class WebSearchChoice(Described, tag_field="type", tag="web_search_preview"):
    pass


class ImageGenerationChoice(Described, tag_field="type", tag="image_generation"):
    pass


class McpChoice(Described, tag_field="type", tag="mcp"):
    server_label: str
    name: str | None


ToolUsed = FunctionUsed | CustomUsed | ToolSearchUsed | WebSearchUsed | ImageGenerationUsed | McpUsed
ChoiceUsed = NamedFunction | NamedCustom | AllowedTools | WebSearchChoice | ImageGenerationChoice | McpChoice


class ResponseObject(Described):
    """
    A response. It repeats the settings of the request, with defaults filled in.

    `parsed` is the value of an answer in JSON. `artifacts`, `analysis` and `mosaic` are present with
    `canvas_mode`, `analysis_mode` and `mosaic_mode`, and `server_tool_calls` if tools ran on the server.
    """

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    persona_id: str | None
    output: list[OutputItem]
    usage: ResponseUsage | None
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    background: bool
    conversation: None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt: None
    prompt_cache_key: str | None
    prompt_cache_retention: Literal["in_memory", "24h"] | None
    reasoning: ReasoningUsed
    safety_identifier: str | None
    service_tier: ServiceTierUsed
    store: bool
    temperature: float
    text: TextUsed
    tool_choice: Literal["none", "auto", "required"] | ChoiceUsed
    tools: list[ToolUsed]
    top_logprobs: int
    top_p: float
    truncation: Truncation
    frequency_penalty: float
    presence_penalty: float
    user: str | UnsetType = UNSET
    parsed: Any = UNSET
    artifacts: list[ArtifactObject] | UnsetType = UNSET
    analysis: Analysis | UnsetType = UNSET
    mosaic: MosaicObject | UnsetType = UNSET
    server_tool_calls: list[dict[str, Any]] | UnsetType = UNSET


class _Event(Described):
    """Events are numbered from 0."""

    sequence_number: int


class _OfResponse(_Event):
    response: ResponseObject


class ResponseCreatedEvent(_OfResponse, tag_field="type", tag="response.created"):
    pass


class ResponseInProgressEvent(_OfResponse, tag_field="type", tag="response.in_progress"):
    pass


class ResponseCompletedEvent(_OfResponse, tag_field="type", tag="response.completed"):
    pass


class ResponseIncompleteEvent(_OfResponse, tag_field="type", tag="response.incomplete"):
    pass


class ResponseFailedEvent(_OfResponse, tag_field="type", tag="response.failed"):
    pass


class _OfItem(_Event):
    output_index: int
    item: OutputItem


class OutputItemAddedEvent(_OfItem, tag_field="type", tag="response.output_item.added"):
    pass


class OutputItemDoneEvent(_OfItem, tag_field="type", tag="response.output_item.done"):
    pass


class _InItem(_Event):
    item_id: str
    output_index: int


class _InPart(_InItem):
    content_index: int


class _OfPart(_InPart):
    part: OutputTextPart | OutputRefusalPart | ReasoningTextPart


class ContentPartAddedEvent(_OfPart, tag_field="type", tag="response.content_part.added"):
    pass


class ContentPartDoneEvent(_OfPart, tag_field="type", tag="response.content_part.done"):
    pass


class OutputTextDeltaEvent(_InPart, tag_field="type", tag="response.output_text.delta"):
    delta: str
    logprobs: list[TokenLogprobObject]


class OutputTextDoneEvent(_InPart, tag_field="type", tag="response.output_text.done"):
    text: str
    logprobs: list[TokenLogprobObject]


class ReasoningTextDeltaEvent(_InPart, tag_field="type", tag="response.reasoning_text.delta"):
    delta: str


class ReasoningTextDoneEvent(_InPart, tag_field="type", tag="response.reasoning_text.done"):
    text: str


class RefusalDeltaEvent(_InPart, tag_field="type", tag="response.refusal.delta"):
    delta: str


class RefusalDoneEvent(_InPart, tag_field="type", tag="response.refusal.done"):
    refusal: str


class ArgumentsDeltaEvent(_InItem, tag_field="type", tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDoneEvent(_InItem, tag_field="type", tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class CustomInputDeltaEvent(_InItem, tag_field="type", tag="response.custom_tool_call_input.delta"):
    delta: str


class CustomInputDoneEvent(_InItem, tag_field="type", tag="response.custom_tool_call_input.done"):
    input: str


class AnnotationAddedEvent(_InPart, tag_field="type", tag="response.output_text.annotation.added"):
    annotation_index: int
    annotation: UrlCitation


class McpArgumentsDoneEvent(_InItem, tag_field="type", tag="response.mcp_call_arguments.done"):
    arguments: str


class WebSearchCallInProgressEvent(_InItem, tag_field="type", tag="response.web_search_call.in_progress"):
    pass


class WebSearchCallSearchingEvent(_InItem, tag_field="type", tag="response.web_search_call.searching"):
    pass


class WebSearchCallCompletedEvent(_InItem, tag_field="type", tag="response.web_search_call.completed"):
    pass


class ImageCallInProgressEvent(_InItem, tag_field="type", tag="response.image_generation_call.in_progress"):
    pass


class ImageCallGeneratingEvent(_InItem, tag_field="type", tag="response.image_generation_call.generating"):
    pass


class ImageCallCompletedEvent(_InItem, tag_field="type", tag="response.image_generation_call.completed"):
    pass


class McpCallInProgressEvent(_InItem, tag_field="type", tag="response.mcp_call.in_progress"):
    pass


class McpCallCompletedEvent(_InItem, tag_field="type", tag="response.mcp_call.completed"):
    pass


class McpCallFailedEvent(_InItem, tag_field="type", tag="response.mcp_call.failed"):
    pass


EVENTS: tuple[type[Described], ...] = (
    ResponseCreatedEvent,
    ResponseInProgressEvent,
    OutputItemAddedEvent,
    ContentPartAddedEvent,
    OutputTextDeltaEvent,
    OutputTextDoneEvent,
    RefusalDeltaEvent,
    RefusalDoneEvent,
    ReasoningTextDeltaEvent,
    ReasoningTextDoneEvent,
    ContentPartDoneEvent,
    ArgumentsDeltaEvent,
    ArgumentsDoneEvent,
    CustomInputDeltaEvent,
    CustomInputDoneEvent,
    AnnotationAddedEvent,
    McpArgumentsDoneEvent,
    WebSearchCallInProgressEvent,
    WebSearchCallSearchingEvent,
    WebSearchCallCompletedEvent,
    ImageCallInProgressEvent,
    ImageCallGeneratingEvent,
    ImageCallCompletedEvent,
    McpCallInProgressEvent,
    McpCallCompletedEvent,
    McpCallFailedEvent,
    OutputItemDoneEvent,
    ResponseCompletedEvent,
    ResponseIncompleteEvent,
    ResponseFailedEvent,
)


class InputTextPart(Described, tag_field="type", tag="input_text"):
    text: str


class KeptMessage(Described, tag_field="type", tag="message"):
    """A message of the user, word for word."""

    id: str
    role: Literal["user"]
    status: Literal["completed"]
    content: list[InputTextPart]


class CompactionItem(Described, tag_field="type", tag="compaction"):
    """`encrypted_content` is opaque, and as secret as its conversation."""

    id: str
    encrypted_content: str


class CompactedConversation(Described):
    """`output` is the beginning of the next request's input. The new items follow it."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[KeptMessage | CompactionItem]
    usage: ResponseUsage
