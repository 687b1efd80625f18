"""Decode the body of POST /chat/completions, and convert it to a turn."""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mavera.api.http.bounds import (
    MAX_PARTS,
    CallId,
    Identifier,
    Link,
    Name,
    Opaque,
    OpaqueList,
    OpaqueObject,
)
from mavera.api.http.bounds import (
    Text as AnyText,
)
from mavera.api.wire.custom_tools import Grammar, build_custom_tool, to_arguments
from mavera.api.wire.files import File
from mavera.api.wire.parameters import (
    MAX_TOOLS,
    FunctionName,
    JSONSchema,
    Parameters,
    TokenLimit,
    check_mosaic,
    check_tools,
    find_named_tools,
)
from mavera.api.wire.tools import AllowedOwnTool, BuiltInTool, OwnTool
from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part, Refusal, Text
from mavera.core.prompt import FunctionTool, OutputFormat, ToolChoice
from mavera.core.turn import NamedTool, Turn
from mavera.errors import InvalidRequest, ValidationFailed

Detail = Literal["auto", "low", "high", "original"]


class _Object(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class ImageURL(_Object):
    url: Link
    detail: Detail | None = None


class TextPart(_Object, tag_field="type", tag="text"):
    text: AnyText
    prompt_cache_breakpoint: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        return Text(self.text)


class RefusalPart(_Object, tag_field="type", tag="refusal"):
    refusal: AnyText

    def to_part(self, at: str) -> Part:
        return Refusal(self.refusal)


class ImagePart(_Object, tag_field="type", tag="image_url"):
    image_url: ImageURL
    prompt_cache_breakpoint: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        return Image(self.image_url.url, self.image_url.detail or "auto", f"{at}.image_url")


class FileData(_Object):
    file_data: Link | None = None
    filename: Name | None = None
    file_id: Identifier | None = None


class FilePart(_Object, tag_field="type", tag="file"):
    """Text or a picture; `wire/files.py` says what is read of it."""

    file: FileData
    prompt_cache_breakpoint: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        given = self.file
        return File(given.file_data, given.filename, None, given.file_id, f"{at}.file").to_part()


class ThinkingPart(_Object, tag_field="type", tag="thinking"):
    """The reasoning that a model wrote before its answer. No model reads it as history."""

    thinking: Opaque = None
    signature: AnyText | None = None
    closed: bool | None = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        return Text("")


class Attachment(_Object):
    """An image of a user message that stands beside its text."""

    type: Literal["image"]
    url: Link


class CalledFunction(_Object):
    """`parsed_arguments` comes back from OpenAI's library, which adds it to answers. It is ignored."""

    name: Name
    arguments: AnyText
    parsed_arguments: Opaque = None
    provider_specific_fields: OpaqueObject | None = None


class CalledTool(_Object):
    """A tool of OpenAI's kind `custom`, which takes text."""

    name: Name
    input: AnyText


class ToolCall(_Object):
    """
    A call in an earlier answer.

    The call of a custom tool has `custom`, which becomes a function call.
    """

    id: CallId
    function: CalledFunction | None = None
    custom: CalledTool | None = None
    type: Literal["function", "custom"] = "function"
    index: int | None = None
    provider_specific_fields: OpaqueObject | None = None
    extra_content: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_item(self, at: str) -> FunctionCall:
        """Return the call for the model. Raises InvalidRequest if there is neither kind of call."""
        if self.function is not None:
            return FunctionCall(self.id, self.function.name, self.function.arguments)
        if self.custom is None:
            raise InvalidRequest(f"'{at}.function' is missing.", param=f"{at}.function")
        return FunctionCall(self.id, self.custom.name, to_arguments(self.custom.input))


class SystemMessage(_Object, tag_field="role", tag="system"):
    content: AnyText | Annotated[list[TextPart], Meta(max_length=MAX_PARTS)]
    name: Name | None = None
    cache_control: OpaqueObject | None = None

    def to_items(self, at: str) -> tuple[Item, ...]:
        return (Message("system", _to_parts(self.content, at)),)


class DeveloperMessage(SystemMessage, tag_field="role", tag="developer"):
    pass


class UserMessage(_Object, tag_field="role", tag="user"):
    content: (
        AnyText | Annotated[list[TextPart | ImagePart | FilePart], Meta(min_length=1, max_length=MAX_PARTS)]
    )
    attachments: Annotated[list[Attachment], Meta(max_length=1_000)] | None = None
    name: Name | None = None
    cache_control: OpaqueObject | None = None

    def to_items(self, at: str) -> tuple[Item, ...]:
        images = [
            Image(attachment.url, param=f"{at}.attachments[{position}].url")
            for position, attachment in enumerate(self.attachments or ())
        ]
        return (Message("user", (*_to_parts(self.content, at), *images)),)


class AssistantMessage(_Object, tag_field="role", tag="assistant"):
    """Members that servers and libraries add to answers are accepted and ignored."""

    content: (
        AnyText | Annotated[list[TextPart | RefusalPart | ThinkingPart], Meta(max_length=MAX_PARTS)] | None
    ) = None
    refusal: AnyText | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=1_000)] | None = None
    name: Name | None = None
    annotations: OpaqueList | None = None
    audio: OpaqueObject | None = None
    function_call: OpaqueObject | None = None
    parsed: Opaque = None
    artifacts: OpaqueList | None = None
    reasoning_content: AnyText | None = None
    reasoning: Opaque = None
    reasoning_details: OpaqueList | None = None
    thinking: Opaque = None
    thinking_blocks: OpaqueList | None = None
    images: OpaqueList | None = None
    provider_specific_fields: OpaqueObject | None = None
    extra_content: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_items(self, at: str) -> tuple[Item, ...]:
        parts = _to_parts(self.content, at) + ((Refusal(self.refusal),) if self.refusal else ())
        message = (Message("assistant", parts),) if parts or not self.tool_calls else ()
        calls = [call.to_item(f"{at}.tool_calls[{n}]") for n, call in enumerate(self.tool_calls or ())]
        return (*message, *calls)


class ToolMessage(_Object, tag_field="role", tag="tool"):
    content: AnyText | Annotated[list[TextPart | ImagePart], Meta(max_length=MAX_PARTS)]
    tool_call_id: CallId
    name: Name | None = None
    cache_control: OpaqueObject | None = None

    def to_items(self, at: str) -> tuple[Item, ...]:
        return (FunctionOutput(self.tool_call_id, _to_parts(self.content, at)),)


ChatMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def _to_parts(content: str | OpaqueList | None, at: str) -> tuple[Part, ...]:
    """Return the parts of the content at the place `at`."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(part.to_part(f"{at}.content[{position}]") for position, part in enumerate(content))


class FunctionDefinition(_Object):
    name: FunctionName
    description: AnyText | None = None
    parameters: JSONSchema | None = None
    strict: bool | None = None


class Tool(_Object, tag_field="type", tag="function"):
    function: FunctionDefinition

    def to_tool(self, at: str) -> FunctionTool:
        function = self.function
        return FunctionTool(
            function.name,
            function.description,
            function.parameters,
            function.strict or False,
            f"{at}.function.parameters",
        )


class CustomFormatText(_Object, tag_field="type", tag="text"):
    """Any text at all."""


class CustomFormatGrammar(_Object, tag_field="type", tag="grammar"):
    grammar: Grammar


class CustomDefinition(_Object):
    name: FunctionName
    description: AnyText | None = None
    format: CustomFormatText | CustomFormatGrammar | None = None


class CustomTool(_Object, tag_field="type", tag="custom"):
    """A tool of the caller's that takes a text."""

    custom: CustomDefinition

    def to_tool(self, at: str) -> FunctionTool:
        custom = self.custom
        grammar = custom.format.grammar if isinstance(custom.format, CustomFormatGrammar) else None
        at = f"{at}.custom.format.grammar.definition"
        return build_custom_tool(custom.name, custom.description, grammar, at)


class NamedFunction(_Object):
    name: Name


class NamedToolChoice(_Object, tag_field="type", tag="function"):
    function: NamedFunction


class NamedCustomChoice(_Object, tag_field="type", tag="custom"):
    custom: NamedFunction


class AllowedTools(_Object):
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedOwnTool], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedToolsChoice(_Object, tag_field="type", tag="allowed_tools"):
    allowed_tools: AllowedTools

    def to_named(self, at: str) -> tuple[NamedTool, ...]:
        at = f"{at}.allowed_tools.tools"
        tools = self.allowed_tools.tools
        return tuple(named for n, tool in enumerate(tools) for named in tool.to_named(f"{at}[{n}]"))


class JSONSchemaFormat(_Object):
    name: FunctionName
    schema: JSONSchema | None = None
    description: AnyText | None = None
    strict: bool | None = None


class ResponseFormatText(_Object, tag_field="type", tag="text"):
    def to_format(self) -> OutputFormat:
        return OutputFormat()


class ResponseFormatJSONObject(_Object, tag_field="type", tag="json_object"):
    def to_format(self) -> OutputFormat:
        return OutputFormat("json_object")


class ResponseFormatJSONSchema(_Object, tag_field="type", tag="json_schema"):
    json_schema: JSONSchemaFormat

    def to_format(self) -> OutputFormat:
        wanted = self.json_schema
        return OutputFormat(
            "json_schema",
            wanted.name,
            wanted.description,
            wanted.schema or {},
            wanted.strict or False,
            "response_format.json_schema.schema",
        )


class StreamOptions(_Object):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


LogitBias = Annotated[
    dict[Annotated[str, Meta(max_length=20)], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=4_096),
]
Stop = Annotated[str, Meta(min_length=1, max_length=4_096)]


class CreateChatCompletion(Parameters, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /chat/completions."""

    instead_of = {  # noqa: RUF012 - msgspec takes an annotation for a field
        "input": "the conversation as 'messages'",
        "prompt": "the question as a message in 'messages'",
        "instructions": "them as a message with the role 'system'",
        "system": "it as a message with the role 'system'",
        "text": "the format as 'response_format', and 'verbosity' beside it",
        "reasoning": "its effort as 'reasoning_effort'",
        "max_output_tokens": "the limit as 'max_completion_tokens'",
        "previous_response_id": "the whole conversation in 'messages'",
        "conversation": "the whole conversation in 'messages'",
    }

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=128)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    n: Literal[1] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=4)] | None = None
    logprobs: bool | None = None
    logit_bias: LogitBias | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormatText | ResponseFormatJSONObject | ResponseFormatJSONSchema | None = None
    tools: Annotated[list[Tool | CustomTool | OwnTool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: (
        Literal["none", "auto", "required"]
        | NamedToolChoice
        | NamedCustomChoice
        | AllowedToolsChoice
        | OwnTool
        | None
    ) = None
    modalities: Annotated[list[Literal["text", "audio"]], Meta(max_length=8)] | None = None
    audio: OpaqueObject | None = None
    prediction: OpaqueObject | None = None
    web_search_options: OpaqueObject | None = None
    function_call: Opaque = None
    functions: Annotated[list[OpaqueObject], Meta(max_length=128)] | None = None

    @property
    def custom_tools(self) -> frozenset[str]:
        """The names of the tools that take a text."""
        return frozenset(tool.custom.name for tool in self.tools or () if isinstance(tool, CustomTool))

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def to_turn(self) -> Turn:
        """Return the turn. Raises InvalidRequest or ValidationFailed if fields contradict each other."""
        self._check()
        _refuse_stray_outputs(self.messages)
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        tools = [(tool, f"tools[{number}]") for number, tool in enumerate(self.tools or ())]
        items = [message.to_items(f"messages[{number}]") for number, message in enumerate(self.messages)]
        turn = Turn(
            model=self.model,
            items=tuple(chain.from_iterable(items)),
            persona_id=self.persona_id,
            max_output_tokens=self.max_completion_tokens or self.max_tokens,
            sampling=self.sampling(stop=stop, logit_bias=self.logit_bias),
            format=self.response_format.to_format() if self.response_format else OutputFormat(),
            tools=tuple(tool.to_tool(at) for tool, at in tools if isinstance(tool, Tool | CustomTool)),
            named_tools=find_named_tools(tools, self.tool_choice),
            tool_choice=self._to_tool_choice(),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            reasoning_effort=self.reasoning_effort or "medium",
            verbosity=self.verbosity or "medium",
            analysis_mode=self.analysis_mode or False,
            canvas_mode=self.canvas_mode or False,
            audience=self.audience(),
            items_param="messages",
            operation="chat_completions",
            end_user=self.end_user,
        )
        check_mosaic(turn)
        check_tools(turn, name_at="function.name")
        return turn

    def _check(self) -> None:
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("'stream_options' needs 'stream': true.", param="stream_options")
        if self.modalities and "audio" in self.modalities:
            raise ValidationFailed("This server answers in text only.", param="modalities")
        if self.analysis_mode and self.response_format and self.response_format.to_format().type != "text":
            raise InvalidRequest(
                "'analysis_mode' cannot be used with a JSON 'response_format'.", param="analysis_mode"
            )

    def _to_tool_choice(self) -> ToolChoice:
        match self.tool_choice:
            case None:
                return ToolChoice()
            case NamedToolChoice(function=named) | NamedCustomChoice(custom=named):
                return ToolChoice("required", (named.name,))
            case AllowedToolsChoice(allowed_tools=allowed):
                at = "tool_choice.allowed_tools.tools"
                names = tuple(tool.to_name(f"{at}[{n}]") for n, tool in enumerate(allowed.tools))
                return ToolChoice(allowed.mode, names)
            case BuiltInTool() as tool:
                return ToolChoice("required", tuple(named.name for named in tool.to_named("tool_choice")))
            case mode:
                return ToolChoice(mode)


def _refuse_stray_outputs(messages: Sequence[ChatMessage]) -> None:
    """Raise InvalidRequest if an output has no call before it, because no model could make sense of it."""
    calls: set[str] = set()
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            calls.update(call.id for call in message.tool_calls or ())
        elif isinstance(message, ToolMessage) and message.tool_call_id not in calls:
            raise InvalidRequest(
                f"No message before it has a tool call with the id '{message.tool_call_id[:100]}'.",
                param=f"messages[{position}].tool_call_id",
            )
