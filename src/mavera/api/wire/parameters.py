"""
The parameters that the request bodies of both endpoints share.

Every parameter that OpenAI documents is here or in the endpoint's own `schemas.py`.
docs/reference/compatibility.md lists those that are accepted only so that clients which send them are not
refused.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from mavera.api.http.bounds import Identifier, OpaqueObject, PersonaId
from mavera.api.wire.tools import BuiltInTool, NamesOwnTools
from mavera.core.prompt import Effort, Sampling, ToolChoice
from mavera.core.text import format_count
from mavera.core.turn import NamedTool, Turn, Verbosity
from mavera.errors import InvalidRequest, ValidationFailed
from mavera.models.config import DEFAULT_NAME

MODEL = DEFAULT_NAME
# The Gen Z Consumer of the library: the persona of the examples.
EXAMPLE_PERSONA = "cmwqagwqp44qoe5wkq8j5u15r"
# The operator decides which names exist, and `check_model_name` knows them.
ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=300,
        description="The model to ask: `mavera-1`, or another one that `GET /api/v1/models` lists; with "
        "the slug or the id of a persona behind a slash, if you like.",
    ),
]
MAX_TOOLS = 64

TokenLimit = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Weight = Annotated[float, Meta(gt=0, le=1)]
# Three weights of 0.33 are close enough to 1.
WEIGHTS_TOLERANCE = 0.011
FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$", min_length=1, max_length=64)]
JSONSchema = OpaqueObject
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class Parameters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """
    Parameters of both endpoints. Null means the same as leaving the parameter out.

    `instead_of` has the replacements for parameters that only other endpoints have.
    """

    instead_of: ClassVar[Mapping[str, str]] = {}

    model: ModelName
    persona_id: Annotated[
        PersonaId | None,
        Meta(description="Id of the persona that answers. `GET /api/v1/personas` lists them."),
    ] = None
    stream: Annotated[bool | None, Meta(description="Answer as server-sent events.")] = None
    analysis_mode: bool | None = None
    canvas_mode: bool | None = None
    mosaic_mode: Annotated[bool | None, Meta(description="Blend the answers of `persona_ids`.")] = None
    persona_ids: Annotated[list[PersonaId], Meta(min_length=2, max_length=10)] | None = None
    persona_weights: Annotated[list[Weight], Meta(min_length=2, max_length=10)] | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    parallel_tool_calls: bool | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    prompt_cache_key: Identifier | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: OpaqueObject | None = None
    service_tier: ServiceTier | None = None
    moderation: OpaqueObject | None = None

    @property
    def end_user(self) -> str | None:
        """The caller's name for its user. OpenAI replaces `user` by `safety_identifier`."""
        return self.safety_identifier or self.user or None

    def sampling(
        self,
        *,
        stop: tuple[str, ...] = (),
        logit_bias: dict[str, float] | None = None,
    ) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=self.seed,
            stop=stop,
            logit_bias=logit_bias,
        )

    def audience(self) -> tuple[tuple[str, float], ...]:
        """
        Return the personas of a mosaic with their weights. It is empty without a mosaic.

        Raises InvalidRequest or ValidationFailed if the fields contradict each other.
        """
        if not self.mosaic_mode:
            for name in ("persona_ids", "persona_weights"):
                if getattr(self, name) is not None:
                    raise InvalidRequest(f"'{name}' needs 'mosaic_mode': true.", param=name)
            return ()
        if self.persona_ids is None:
            raise InvalidRequest("'mosaic_mode' needs 'persona_ids', two to ten.", param="persona_ids")
        if self.persona_id is not None:
            raise InvalidRequest("With 'mosaic_mode', send only 'persona_ids'.", param="persona_id")
        for position, persona_id in enumerate(self.persona_ids):
            if persona_id in self.persona_ids[:position]:
                raise InvalidRequest("'persona_ids' names a persona twice.", param=f"persona_ids[{position}]")
        weights = self.persona_weights or [1 / len(self.persona_ids)] * len(self.persona_ids)
        if len(weights) != len(self.persona_ids):
            raise ValidationFailed(
                f"'persona_weights' has {format_count(len(weights), 'weight')} for "
                f"{format_count(len(self.persona_ids), 'persona')}. Give each persona one.",
                param="persona_weights",
            )
        if abs((total := math.fsum(weights)) - 1) > WEIGHTS_TOLERANCE:
            raise ValidationFailed(
                f"'persona_weights' add up to {total:g}; they have to add up to 1.", param="persona_weights"
            )
        return tuple((one, weight / total) for one, weight in zip(self.persona_ids, weights, strict=True))


def check_mosaic(turn: Turn) -> None:
    """Raise InvalidRequest if a mosaic is requested with tools."""
    if turn.audience and (turn.tools or turn.named_tools):
        raise InvalidRequest("A mosaic calls no tools. Leave 'tools' out.", param="tools")


def find_named_tools(tools: Sequence[tuple[Any, str]], choice: Any) -> tuple[NamedTool, ...]:
    """Return each server tool that a request names in `tools` or in `tool_choice`, once."""
    if not tools and choice is None:
        return ()
    found = [named for tool, at in tools if isinstance(tool, BuiltInTool) for named in tool.to_named(at)]
    # A word is not a tool, and an isinstance check against a Protocol is slow.
    if not found and not isinstance(choice, str | None) and isinstance(choice, NamesOwnTools):
        found = list(choice.to_named("tool_choice"))
    return tuple({named.name: named for named in reversed(found)}.values())[::-1]


def check_tools(turn: Turn, *, name_at: str = "name") -> None:
    """
    Raise InvalidRequest if the tools and the choice among them do not fit together.

    `name_at` is the path of the name inside a tool.
    """
    if not turn.tools and turn.tool_choice == ToolChoice():
        return
    names = [tool.name for tool in turn.tools]
    for position, tool in enumerate(turn.tools):
        if tool.name in names[:position]:
            at, _, _ = tool.at.partition(".")
            raise InvalidRequest(f"Two tools are named '{tool.name}'.", param=f"{at}.{name_at}")
    check_choice(turn.tool_choice, [*names, *(tool.name for tool in turn.named_tools)])


def check_choice(choice: ToolChoice, names: list[str]) -> None:
    if choice.mode == "required" and not names:
        raise InvalidRequest("A call is required, but there are no tools to call.", param="tool_choice")
    for name in choice.names:
        if name not in names:
            raise InvalidRequest(
                f"tool_choice names '{name[:100]}', which is not among the tools.", param="tool_choice"
            )
