"""Decode the body of POST /responses, convert it to a turn, and echo its settings in the response."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from mavera.api.http.bounds import (
    MAX_INPUT_ITEMS,
    MAX_LINK,
    MAX_PARTS,
    Address,
    CallId,
    Identifier,
    Link,
    LogprobList,
    Name,
    Opaque,
    OpaqueList,
    OpaqueObject,
    Word,
)
from mavera.api.http.bounds import (
    Text as AnyText,
)
from mavera.api.http.decoding import convert
from mavera.api.responses.compaction import open_summary
from mavera.api.responses.namespaces import join_name
from mavera.api.responses.tools import (
    AllowedTools,
    Custom,
    Function,
    GivenTool,
    NamedCustom,
    NamedFunction,
    list_tools,
)
from mavera.api.wire.custom_tools import to_arguments
from mavera.api.wire.files import File
from mavera.api.wire.parameters import (
    MAX_TOOLS,
    FunctionName,
    JSONSchema,
    ModelName,
    Parameters,
    ServiceTier,
    TokenLimit,
    check_mosaic,
    check_tools,
    find_named_tools,
)
from mavera.api.wire.tools import BuiltInTool, OwnTool
from mavera.core.items import (
    FunctionCall,
    FunctionOutput,
    Image,
    Item,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    make_message,
)
from mavera.core.prompt import Effort, OutputFormat, ToolChoice
from mavera.core.turn import Turn, Verbosity
from mavera.errors import InvalidRequest, ValidationFailed

T = TypeVar("T")

MAX_INPUT_CHARACTERS = 100_000

RoleName = Literal["user", "assistant", "system", "developer"]
# Models without a developer role read a developer's message as a system message.
_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


class _Object(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class InputText(_Object, tag_field="type", tag="input_text"):
    text: AnyText
    prompt_cache_breakpoint: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        return Text(self.text)


class OutputText(_Object, tag_field="type", tag="output_text"):
    text: AnyText
    annotations: OpaqueList | None = None
    logprobs: LogprobList | None = None
    parsed: Opaque = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        return Text(self.text)


class OutputRefusal(_Object, tag_field="type", tag="refusal"):
    refusal: AnyText

    def to_part(self, at: str) -> Part:
        return Refusal(self.refusal)


class InputImage(_Object, tag_field="type", tag="input_image"):
    image_url: Link | None = None
    file_id: Identifier | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_part(self, at: str) -> Part:
        if self.image_url is None:
            raise InvalidRequest(
                "An input_image needs 'image_url'. This server keeps no files, so 'file_id' finds nothing.",
                param=f"{at}.image_url",
            )
        return Image(self.image_url, self.detail or "auto", f"{at}.image_url")


class ReasoningText(_Object, tag_field="type", tag="reasoning_text"):
    """A part of an earlier answer's reasoning. No model reads it."""

    text: AnyText

    def to_part(self, at: str) -> Part:
        return Text("")


class SummaryText(ReasoningText, tag_field="type", tag="summary_text"):
    pass


class InputFile(_Object, tag_field="type", tag="input_file"):
    """Text or a picture; `wire/files.py` says what is read of it."""

    file_data: Link | None = None
    filename: Name | None = None
    file_url: Address | None = None
    file_id: Identifier | None = None
    detail: Word | None = None
    prompt_cache_breakpoint: OpaqueObject | None = None
    cache_control: OpaqueObject | None = None

    def to_file(self, at: str) -> File:
        return File(self.file_data, self.filename, self.file_url, self.file_id, at)

    def to_part(self, at: str) -> Part:
        return self.to_file(at).to_part()


ContentPart = InputText | OutputText | OutputRefusal | InputImage | InputFile | ReasoningText | SummaryText
FunctionResult = (
    AnyText | Annotated[list[InputText | OutputText | InputImage | InputFile], Meta(max_length=MAX_PARTS)]
)


class InputItem(_Object):
    """
    One item of `input`. The `type` decides which members it needs:

        message                   role, content
        function_call             call_id, name, arguments
        function_call_output      call_id, output
        custom_tool_call          call_id, name, input
        custom_tool_call_output   call_id, output
        compaction                encrypted_content, from /responses/compact
        item_reference            id, from an earlier answer. An item with only an id is a reference too.

    Items of other types, and their members, are accepted and ignored, so that the answer of any server can be
    sent back unchanged.
    """

    type: Literal[
        "message",
        "function_call",
        "function_call_output",
        "compaction",
        "item_reference",
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "computer_call",
        "computer_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "reasoning",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    ] = "message"
    id: Identifier | None = None
    status: Word | None = None
    role: Word | None = None
    content: AnyText | Annotated[list[ContentPart], Meta(max_length=MAX_PARTS)] | None = None
    phase: Literal["commentary", "final_answer"] | None = None
    call_id: CallId | None = None
    name: Name | None = None
    namespace: Name | None = None
    caller: OpaqueObject | None = None
    arguments: Opaque = None
    output: Opaque = None
    summary: OpaqueList | None = None
    encrypted_content: AnyText | None = None
    action: OpaqueObject | None = None
    result: Annotated[str, Meta(max_length=MAX_LINK)] | None = None
    parsed_arguments: Opaque = None
    acknowledged_safety_checks: OpaqueList | None = None
    actions: OpaqueList | None = None
    approval_request_id: Identifier | None = None
    approve: bool | None = None
    background: Word | None = None
    cache_control: OpaqueObject | None = None
    channel: Word | None = None
    code: AnyText | None = None
    container_id: Identifier | None = None
    created_by: Name | None = None
    environment: OpaqueObject | None = None
    error: Opaque = None
    execution: Word | None = None
    fingerprint: AnyText | None = None
    input: AnyText | None = None
    max_output_length: int | None = None
    operation: OpaqueObject | None = None
    output_format: Word | None = None
    outputs: OpaqueList | None = None
    pending_safety_checks: OpaqueList | None = None
    provider_specific_fields: OpaqueObject | None = None
    quality: Word | None = None
    queries: OpaqueList | None = None
    reason: AnyText | None = None
    recipient: Name | None = None
    results: OpaqueList | None = None
    revised_prompt: AnyText | None = None
    server_label: Name | None = None
    size: Word | None = None
    tools: OpaqueList | None = None

    @property
    def is_reference(self) -> bool:
        """Whether this refers to an item of an earlier response."""
        if self.type != "message":
            return self.type == "item_reference"
        return self.role is None and self.content is None and self.id is not None

    def to_items(self, at: str) -> tuple[Item, ...]:
        """
        Return the items for the model. `at` is the place in the request, such as `input[2]`.

        Raises InvalidRequest for a reference, because a reference that is found has been replaced before.
        """
        if self.is_reference:
            identifier = _require(self.id, f"{at}.id")
            raise InvalidRequest(
                f"'{at}' refers to the item '{identifier[:100]}', which is not kept here, or no longer. "
                "Send the whole conversation in 'input', without references.",
                param=f"{at}.id",
            )
        match self.type:
            case "message":
                role = _to_role(_require(self.role, f"{at}.role"), f"{at}.role")
                return (Message(role, _to_parts(_require(self.content, f"{at}.content"), f"{at}.content")),)
            case "function_call":
                call_id = _require(self.call_id, f"{at}.call_id")
                name = _require(self.name, f"{at}.name")
                name = join_name(self.namespace, name) if self.namespace else name
                arguments = _require(self.arguments, f"{at}.arguments")
                return (FunctionCall(call_id, name, convert(arguments, AnyText, f"{at}.arguments")),)
            case "function_call_output" | "custom_tool_call_output":
                call_id = _require(self.call_id, f"{at}.call_id")
                output = convert(_require(self.output, f"{at}.output"), FunctionResult, f"{at}.output")
                return (FunctionOutput(call_id, _to_output_parts(output, f"{at}.output")),)
            case "custom_tool_call":
                call_id = _require(self.call_id, f"{at}.call_id")
                name = _require(self.name, f"{at}.name")
                name = join_name(self.namespace, name) if self.namespace else name
                return (FunctionCall(call_id, name, to_arguments(_require(self.input, f"{at}.input"))),)
            case "compaction":
                content = _require(self.encrypted_content, f"{at}.encrypted_content")
                return (open_summary(content, f"{at}.encrypted_content"),)
            case _:
                return ()


def _to_role(name: str, param: str) -> Role:
    return _ROLES[convert(name, RoleName, param)]


def _require(value: T | None, param: str) -> T:
    if value is None:
        raise InvalidRequest(f"'{param}' is missing.", param=param)
    return value


def _to_parts(content: str | Sequence[Any], at: str) -> tuple[Part, ...]:
    """Return the parts of the content at the place `at`."""
    if isinstance(content, str):
        return (Text(content),)
    return tuple(part.to_part(f"{at}[{position}]") for position, part in enumerate(content))


def _to_output_parts(output: str | Sequence[Any], at: str) -> tuple[Part, ...]:
    """Return the output of a function that stands `at`. A file that cannot be read is named in it."""
    if isinstance(output, str):
        return (Text(output),)
    return tuple(
        part.to_file(place).to_output_part() if isinstance(part, InputFile) else part.to_part(place)
        for part, place in ((one, f"{at}[{position}]") for position, one in enumerate(output))
    )


Input = str | list[InputItem]


def items_of(given: Input, before: tuple[Item, ...] = ()) -> tuple[Item, ...]:
    """Return the conversation: `before`, then the input. Raises InvalidRequest or ValidationFailed."""
    new: tuple[Item, ...]
    if isinstance(given, str):
        new = (make_message("user", given),)
    else:
        new = tuple(item for number, one in enumerate(given) for item in one.to_items(f"input[{number}]"))
    items = (*before, *new)
    characters = sum(len(item.text) for item in items if isinstance(item, Message))
    if characters > MAX_INPUT_CHARACTERS:
        raise ValidationFailed(
            f"'input' has {characters:,} characters; {MAX_INPUT_CHARACTERS:,} are the most.", param="input"
        )
    _refuse_stray_outputs(items)
    return items


def _refuse_stray_outputs(items: Sequence[Item]) -> None:
    """Raise InvalidRequest if an output has no call before it, because no model could make sense of it."""
    calls: set[str] = set()
    for item in items:
        if isinstance(item, FunctionCall):
            calls.add(item.call_id)
        elif isinstance(item, FunctionOutput) and item.call_id not in calls:
            raise InvalidRequest(
                f"No call with the call_id '{item.call_id[:100]}' stands before its output.",
                param="input",
            )


class FormatText(_Object, tag_field="type", tag="text"):
    def to_format(self) -> OutputFormat:
        return OutputFormat()


class FormatJSONObject(_Object, tag_field="type", tag="json_object"):
    def to_format(self) -> OutputFormat:
        return OutputFormat("json_object")


class NestedSchema(_Object):
    name: FunctionName
    schema: JSONSchema
    description: AnyText | None = None
    strict: bool | None = None


class FormatJSONSchema(_Object, tag_field="type", tag="json_schema"):
    """The members stand here, as OpenAI's libraries send them, or inside `json_schema`."""

    name: FunctionName | None = None
    schema: JSONSchema | None = None
    description: AnyText | None = None
    strict: bool | None = None
    json_schema: NestedSchema | None = None

    def to_format(self) -> OutputFormat:
        inner = self.json_schema or self
        name = _require(inner.name, "text.format.name")
        schema = _require(inner.schema, "text.format.schema")
        strict = inner.strict or False
        return OutputFormat("json_schema", name, inner.description, schema, strict, "text.format.schema")


class TextOptions(_Object):
    format: FormatText | FormatJSONObject | FormatJSONSchema | None = None
    verbosity: Verbosity | None = None


class ReasoningOptions(_Object):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Word | None = None


class ResponseStreamOptions(_Object):
    include_obfuscation: bool | None = None


Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class CreateResponse(Parameters, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /responses."""

    instead_of = {  # noqa: RUF012 - msgspec takes an annotation for a field
        "messages": "the conversation as 'input'",
        "system": "it as 'instructions'",
        "response_format": "the format as 'text.format'",
        "max_tokens": "the limit as 'max_output_tokens'",
        "max_completion_tokens": "the limit as 'max_output_tokens'",
        "functions": "them as 'tools'",
        "function_call": "it as 'tool_choice'",
        "logprobs": "'top_logprobs'",
    }

    input: (
        Annotated[str, Meta(min_length=1, max_length=MAX_INPUT_CHARACTERS)]
        | Annotated[list[InputItem], Meta(min_length=1, max_length=MAX_INPUT_ITEMS)]
    )
    instructions: AnyText | None = None
    max_output_tokens: TokenLimit | None = None
    max_tool_calls: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[GivenTool], Meta(max_length=MAX_TOOLS)] | None = None
    client_metadata: OpaqueObject | None = None
    tool_choice: (
        Literal["none", "auto", "required"] | NamedFunction | NamedCustom | AllowedTools | OwnTool | None
    ) = None
    reasoning: ReasoningOptions | None = None
    include: Annotated[list[Include], Meta(max_length=64)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream_options: ResponseStreamOptions | None = None
    previous_response_id: Identifier | None = None
    background: bool | None = None
    conversation: Identifier | OpaqueObject | None = None
    context_management: Annotated[list[OpaqueObject], Meta(max_length=64)] | None = None
    prompt: OpaqueObject | None = None

    def to_turn(self, before: tuple[Item, ...] = ()) -> Turn:
        """
        Return the turn. `before` is the conversation up to its input.

        Raises InvalidRequest or ValidationFailed if fields contradict each other.
        """
        wanted = self._to_format()
        if self.analysis_mode and wanted.type != "text":
            raise InvalidRequest(
                "'analysis_mode' cannot be used with a JSON 'text.format'.", param="analysis_mode"
            )
        items = items_of(self.input, before)
        if not items:
            raise InvalidRequest("'input' contains nothing that a model could answer.", param="input")
        tools = list_tools(self.tools or ())
        turn = Turn(
            model=self.model,
            items=items,
            persona_id=self.persona_id,
            instructions=self.instructions,
            max_output_tokens=self.max_output_tokens,
            sampling=self.sampling(),
            format=wanted,
            tools=tuple(tool.to_tool(at) for tool, at in tools if isinstance(tool, Function | Custom)),
            named_tools=find_named_tools(tools, self.tool_choice),
            max_tool_calls=self.max_tool_calls,
            tool_choice=self._to_tool_choice(),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            top_logprobs=self._count_top_logprobs(),
            reasoning_effort=self._choose_effort(),
            verbosity=self._choose_verbosity(),
            analysis_mode=self.analysis_mode or False,
            canvas_mode=self.canvas_mode or False,
            audience=self.audience(),
            truncation=self.truncation or "disabled",
            end_user=self.end_user,
        )
        check_mosaic(turn)
        check_tools(turn)
        return turn

    def echo(self, *, kept: bool = False) -> dict[str, Any]:
        """Return the settings for the Response object, with defaults filled in."""
        return {
            "background": False,
            "conversation": None,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": self.max_tool_calls,
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": self.previous_response_id,
            "prompt": None,
            "prompt_cache_key": self.prompt_cache_key,
            "prompt_cache_retention": self.prompt_cache_retention
            and self.prompt_cache_retention.replace("-", "_"),
            "reasoning": {
                "effort": self._choose_effort(),
                "summary": self.reasoning and self.reasoning.summary,
            },
            "safety_identifier": self.safety_identifier,
            "service_tier": "default",
            "store": kept,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "text": {"format": self._echo_format(), "verbosity": self._choose_verbosity()},
            "tool_choice": self._echo_choice(),
            "tools": [tool.echo() for tool, _ in list_tools(self.tools or ())],
            "top_logprobs": self.top_logprobs or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "truncation": self.truncation or "disabled",
            "frequency_penalty": self.frequency_penalty or 0.0,
            "presence_penalty": self.presence_penalty or 0.0,
            **({"user": self.user} if self.user is not None else {}),
        }

    def _echo_choice(self) -> Any:
        choice = self.tool_choice or "auto"
        return choice.echo_choice() if isinstance(choice, BuiltInTool) else choice

    def _to_format(self) -> OutputFormat:
        return self.text.format.to_format() if self.text and self.text.format else OutputFormat()

    def _echo_format(self) -> dict[str, Any]:
        wanted = self._to_format()
        if wanted.type != "json_schema":
            return {"type": wanted.type}
        described = {"description": wanted.description} if wanted.description is not None else {}
        return {
            "type": wanted.type,
            "name": wanted.name,
            **described,
            "schema": wanted.schema,
            "strict": wanted.strict,
        }

    def _count_top_logprobs(self) -> int | None:
        if "message.output_text.logprobs" in (self.include or ()) or self.top_logprobs:
            return self.top_logprobs or 0
        return None

    def _choose_effort(self) -> Effort:
        nested = self.reasoning.effort if self.reasoning else None
        return nested or self.reasoning_effort or "medium"

    def _choose_verbosity(self) -> Verbosity:
        nested = self.text.verbosity if self.text else None
        return nested or self.verbosity or "medium"

    def _to_tool_choice(self) -> ToolChoice:
        match self.tool_choice:
            case None:
                return ToolChoice()
            case NamedFunction(name=name) | NamedCustom(name=name):
                return ToolChoice("required", (name,))
            case AllowedTools(mode=mode, tools=tools):
                at = "tool_choice.tools"
                return ToolChoice(mode, tuple(t.to_name(f"{at}[{n}]") for n, t in enumerate(tools)))
            case BuiltInTool() as tool:
                return ToolChoice("required", tuple(named.name for named in tool.to_named("tool_choice")))
            case mode:
                return ToolChoice(mode)


class CompactConversation(_Object):
    """
    The body of POST /responses/compact.

    `instructions` say what the summary has to keep. References and `previous_response_id` work as on
    /responses. The cache and the tier have no effect.
    """

    model: ModelName
    input: (
        Annotated[str, Meta(min_length=1, max_length=MAX_INPUT_CHARACTERS)]
        | Annotated[list[InputItem], Meta(min_length=1, max_length=MAX_INPUT_ITEMS)]
    )
    instructions: Annotated[str, Meta(max_length=MAX_INPUT_CHARACTERS)] | None = None
    previous_response_id: Identifier | None = None
    prompt_cache_key: Identifier | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: OpaqueObject | None = None
    service_tier: ServiceTier | None = None

    def to_items(self, before: tuple[Item, ...] = ()) -> tuple[Item, ...]:
        """Return the conversation. Raises InvalidRequest if it has nothing to summarise."""
        items = items_of(self.input, before)
        if not items:
            raise InvalidRequest("'input' contains nothing to summarise.", param="input")
        return items
