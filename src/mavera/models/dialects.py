"""
The differences between servers that speak OpenAI's /chat/completions, and the lessons of their refusals.

    dialect_for(name, url, model)      the entry of the table, by its name or, for `auto`, by the URL
    learn(dialect, refusal, …)         the next request after a 400 or 422 that names a parameter

Pure data and pure functions. A dialect leaves a parameter out only if mavera chose its value
(`Prompt.preferences`), or if the answer does not depend on it. A parameter that the caller asked for is
always sent, so that the model's server refuses it in its own words.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from mavera.settings import DialectName

JSONMode = Literal["json_schema", "json_object"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    The form of requests that one kind of server accepts.

    `limits`: the names of the token limit, in the order in which to try them. Empty if the server has no
    limit.
    `json_modes`: the kinds of `response_format` that it accepts. For any other kind, the prompt asks for
    JSON.
    `left_out`: parameters that are sent only if a caller asked for them.
    `names`: parameters that the server calls by another name, with that name.
    `required`: the `tool_choice` that demands a call. `names_function`: whether a choice can name a function.
    `allows_parallel_calls`: whether the server makes several calls at once by default.
    `keeps_empty_parameters`: whether a function without parameters has an empty schema, or none.
    `short_call_ids`: whether ids of calls must be nine letters and digits.
    `mentions_json`: whether the messages must contain "JSON" in its JSON mode.
    `merges_system`: whether it accepts only one system message, at the front.
    `key_header`: the header that carries the key.
    """

    name: DialectName
    limits: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    json_modes: tuple[JSONMode, ...] = ("json_schema", "json_object")
    left_out: frozenset[str] = frozenset()
    names: tuple[tuple[str, str], ...] = ()
    required: str = "required"
    names_function: bool = True
    allows_parallel_calls: bool = True
    keeps_empty_parameters: bool = True
    short_call_ids: bool = False
    mentions_json: bool = False
    merges_system: bool = False
    key_header: Literal["Authorization", "api-key"] = "Authorization"

    def omits(self, name: str, value: Any, preferences: Collection[str]) -> bool:
        """Whether `name` is not sent, because the server does not accept it and no caller asked for it."""
        return name in self.left_out and is_optional(name, value, preferences)

    def choose_json_mode(self, wanted: JSONMode) -> JSONMode | None:
        """
        Return the kind of `response_format` nearest to `wanted`, or None if only words can ask for JSON.
        """
        if wanted in self.json_modes:
            return wanted
        return "json_object" if "json_object" in self.json_modes else None


_NEWER_LIMIT = ("max_completion_tokens", "max_tokens")
# Each row follows the provider's documentation. docs/reference/compatibility.md shows the table.
# Each row has a test.
DIALECTS: Final[Mapping[DialectName, Dialect]] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            Dialect("auto"),
            Dialect("openai", limits=_NEWER_LIMIT, mentions_json=True),
            Dialect("azure", limits=_NEWER_LIMIT, mentions_json=True, key_header="api-key"),
            Dialect("vllm"),
            Dialect("llama.cpp", allows_parallel_calls=False),
            Dialect(
                "deepseek",
                json_modes=("json_object",),
                left_out=frozenset({"seed", "strict", "parallel_tool_calls"}),
                mentions_json=True,
            ),
            Dialect(
                "mistral",
                left_out=frozenset({"stream_options", "top_logprobs"}),
                names=(("seed", "random_seed"),),
                required="any",
                short_call_ids=True,
                mentions_json=True,
            ),
            Dialect(
                "gemini",
                left_out=frozenset(
                    {
                        "seed",
                        "strict",
                        "top_logprobs",
                        "parallel_tool_calls",
                        "frequency_penalty",
                        "presence_penalty",
                        "logit_bias",
                    }
                ),
                keeps_empty_parameters=False,
            ),
            Dialect(
                "anthropic-compatible",
                json_modes=(),
                left_out=frozenset({"seed", "strict", "top_logprobs"}),
            ),
            Dialect("ollama", left_out=frozenset({"parallel_tool_calls", "strict"})),
        )
    }
)

# OpenAI's reasoning models have fixed sampling.
_REASONING_MODELS = re.compile(r"(?:^|/)(?:o[1-9]\b|gpt-5(?!.*chat))", re.IGNORECASE)
_FIXED_SAMPLING = frozenset(
    {"temperature", "top_p", "top_logprobs", "frequency_penalty", "presence_penalty", "logit_bias"}
)
_HOSTS: Final[tuple[tuple[str, DialectName], ...]] = (
    ("api.openai.com", "openai"),
    ("api.deepseek.com", "deepseek"),
    ("api.mistral.ai", "mistral"),
    ("generativelanguage.googleapis.com", "gemini"),
    (".openai.azure.com", "azure"),
    (".services.ai.azure.com", "azure"),
    (".cognitiveservices.azure.com", "azure"),
    ("api.anthropic.com", "anthropic-compatible"),
)
_OLLAMA_PORT = 11434


def dialect_for(name: DialectName, url: str, model: str) -> Dialect:
    """Return the dialect called `name`. For `auto`, return the dialect of the host in `url`."""
    dialect = DIALECTS[_find_name(url) if name == "auto" else name]
    if dialect.name in ("openai", "azure") and _REASONING_MODELS.search(model):
        return replace(dialect, left_out=dialect.left_out | _FIXED_SAMPLING)
    return dialect


def _find_name(url: str) -> DialectName:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    for known, name in _HOSTS:
        if host == known or (known.startswith(".") and host.endswith(known)):
            return name
    return "ollama" if parts.port == _OLLAMA_PORT else "auto"


def describe(dialect: Dialect) -> str:
    """Describe the particular traits of a dialect in one line, for an operator."""
    limit = dialect.limits[0] if dialect.limits else "no token limit"
    json = dialect.json_modes[0] if dialect.json_modes else "JSON asked for in words"
    facts = [limit, json]
    if dialect.left_out:
        facts.append("leaves out " + ", ".join(sorted(dialect.left_out)) + " unless a caller asks for it")
    facts += [f"{name} is sent as {other}" for name, other in dialect.names]
    if dialect.merges_system:
        facts.append("system messages joined")
    return "; ".join(facts)


# No answer depends on these, or mavera itself provides their effect.
_ALWAYS_OPTIONAL = frozenset({"stream_options", "seed", "reasoning_effort", "strict"})
_NEUTRAL: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "temperature": 1,
        "top_p": 1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "logit_bias": {},
        "parallel_tool_calls": True,
    }
)


def is_optional(name: str, value: Any, preferences: Collection[str]) -> bool:
    """Whether the answer is as good without `name`. `preferences` are values that mavera chose itself."""
    return name in _ALWAYS_OPTIONAL or name in preferences or _NEUTRAL.get(name, ...) == value


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's 400 or 422. `params` are the parameters that it named in addition to its message."""

    message: str
    params: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """
    The dialect for another try after a refusal.

    `change` describes the difference, for the log. `is_lasting` is False if the refusal was about one
    request.
    """

    dialect: Dialect
    change: str
    is_lasting: bool = True


def learn(
    dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any], preferences: Collection[str]
) -> Lesson | None:
    """
    Return the dialect in which to send a refused request again, or None if that would not help.

    Each lesson takes something away, so a request is sent only a few times.
    """
    for teach in (_learn_manners, _learn_limit, _learn_format, _learn_tools):
        if (lesson := teach(dialect, refusal, sent)) is not None:
            return lesson
    return _learn_parameters(dialect, refusal, sent, preferences)


def find_refused_parameter(dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any]) -> str | None:
    """Return the parameter that a refusal names, by its name in mavera's API, or None if it names none."""
    names = _find_parameters(dialect, refusal, sent)
    return names[0] if names else None


_UNKNOWN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|extra|not permitted|not allowed|unexpected|unavailable"
    r"|cannot find field|no such|deprecated|use '?max_",
    re.IGNORECASE,
)
_SAYS_JSON = re.compile(r"must contain the word .{0,4}json", re.IGNORECASE)
_ONE_SYSTEM_MESSAGE = re.compile(
    r"system (?:message|role).{0,40}(?:beginning|first|start)|(?:multiple|more than one) system messages?"
    r"|last role .{0,60}got system|unexpected role .?system",
    re.IGNORECASE,
)
_SHORT_IDS = re.compile(r"tool.?call.?id.{0,80}length of 9", re.IGNORECASE | re.DOTALL)
_EMPTY_PROPERTIES = re.compile(r"properties.{0,20}(?:should|must) be non-?empty", re.IGNORECASE)
_BAD_SCHEMA = re.compile(r"invalid.{0,12}schema|schema.{0,40}(?:invalid|not valid)", re.IGNORECASE)
_ABOUT_FORMAT = re.compile(
    r"response_?format|json_schema|json_object|json mode|structured.?outputs?", re.IGNORECASE
)


def _learn_manners(dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any]) -> Lesson | None:
    """Learn the form that messages must have."""
    text = refusal.message
    if _SAYS_JSON.search(text) and "response_format" in sent and not dialect.mentions_json:
        return Lesson(replace(dialect, mentions_json=True), "the messages say JSON")
    if _SHORT_IDS.search(text) and not dialect.short_call_ids:
        return Lesson(replace(dialect, short_call_ids=True), "ids of calls have nine letters and digits")
    if _EMPTY_PROPERTIES.search(text) and "tools" in sent and dialect.keeps_empty_parameters:
        return Lesson(
            replace(dialect, keeps_empty_parameters=False), "functions without parameters have no schema"
        )
    if _ONE_SYSTEM_MESSAGE.search(text) and not dialect.merges_system:
        return Lesson(replace(dialect, merges_system=True), "system messages are joined at the front")
    return None


def _learn_limit(dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any]) -> Lesson | None:
    """Learn the name of the token limit. A refusal of the limit's size teaches nothing."""
    name = dialect.limits[0] if dialect.limits else ""
    is_named = name in sent and name in _find_mentioned(refusal, [name])
    if not is_named or not _UNKNOWN.search(refusal.message):
        return None
    others = tuple(other for other in dialect.limits if other != name)
    return Lesson(replace(dialect, limits=others), f"{others[0]} for {name}") if others else None


def _learn_format(dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any]) -> Lesson | None:
    """Learn which kinds of JSON the server accepts. A refused schema concerns one request only."""
    given = sent.get("response_format")
    if not isinstance(given, Mapping):
        return None
    is_named = any(param.startswith("response_format") for param in refusal.params)
    if not is_named and not (_ABOUT_FORMAT.search(refusal.message) and not refusal.params):
        return None
    mode = given["type"]
    less = replace(dialect, json_modes=tuple(other for other in dialect.json_modes if other != mode))
    instead = less.choose_json_mode(mode) or "JSON asked for in words"
    return Lesson(less, f"{instead} for {mode}", is_lasting=not _BAD_SCHEMA.search(refusal.message))


def _learn_tools(dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any]) -> Lesson | None:
    """Learn whether the server accepts `strict`, and how it accepts a demand for a call."""
    tools, choice = sent.get("tools", ()), sent.get("tool_choice")
    is_strict = any(tool["function"].get("strict") for tool in tools)
    is_bad_schema = bool(_BAD_SCHEMA.search(refusal.message)) and "response_format" not in refusal.message
    is_about_strict = "strict" in _find_mentioned(refusal, ["strict"])
    if is_strict and (is_about_strict or is_bad_schema):
        left_out = dialect.left_out | {"strict"}
        return Lesson(replace(dialect, left_out=left_out), "no strict", is_lasting=not is_bad_schema)
    if choice is None or "tool_choice" not in _find_mentioned(refusal, ["tool_choice"]):
        return None
    if isinstance(choice, Mapping):
        return Lesson(replace(dialect, names_function=False), "tool_choice names no function")
    if choice == "required" and re.search(r"\bany\b", refusal.message):
        return Lesson(replace(dialect, required="any"), "tool_choice any for required")
    return None


def _learn_parameters(
    dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any], preferences: Collection[str]
) -> Lesson | None:
    named = _find_parameters(dialect, refusal, sent)
    if dialect.limits and dialect.limits[0] in named and "max_output_tokens" in preferences:
        return Lesson(replace(dialect, limits=()), "no token limit", bool(_UNKNOWN.search(refusal.message)))
    values = _map_values(dialect, sent)
    optional = frozenset(name for name in named if is_optional(name, values[name], preferences))
    if not optional or optional <= dialect.left_out:
        return None
    # One request can have a value that the model does not accept, such as an effort. The next may have
    # another.
    is_lasting = optional != {"reasoning_effort"} or "unsupported value" not in refusal.message.lower()
    without = ", ".join(sorted(optional))
    return Lesson(replace(dialect, left_out=dialect.left_out | optional), f"no {without}", is_lasting)


_SENT_AS = {"logprobs": "top_logprobs"}
# These words also stand in ordinary sentences, so they name a parameter only in quotes.
_PLAIN_WORDS = frozenset({"stop", "seed", "strict", "tools", "model", "messages", "stream", "user"})
_NOT_PARAMETERS = frozenset({"model", "messages", "stream", "response_format"})


def _map_values(dialect: Dialect, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that were sent, under the names that mavera uses."""
    ours = {theirs: name for name, theirs in dialect.names} | _SENT_AS
    return {ours.get(name, name): value for name, value in sent.items() if name not in _NOT_PARAMETERS}


def _find_parameters(dialect: Dialect, refusal: Refusal, sent: Mapping[str, Any]) -> list[str]:
    """Return the sent parameters that a refusal names, in its order."""
    ours = {theirs: name for name, theirs in dialect.names} | _SENT_AS
    theirs = [name for name in sent if name not in _NOT_PARAMETERS]
    found = [ours.get(name, name) for name in _find_mentioned(refusal, theirs)]
    return list(dict.fromkeys(found))


def _find_mentioned(refusal: Refusal, names: Collection[str]) -> list[str]:
    """Return those of `names` that a refusal lists or, if it lists none, that its message mentions."""
    if refusal.params:
        steps = [re.split(r"[.\[\]]+", param) for param in refusal.params]
        listed = [step[0] for step in steps if step[0] in names]
        listed += ["strict" for step in steps if "strict" in step[1:] and "strict" in names]
        if listed:
            return listed
    places = {}
    for name in names:
        pattern = rf"['\"`]{name}['\"`]" if name in _PLAIN_WORDS else rf"(?<![\w-]){name}(?![\w-])"
        if (match := re.search(pattern, refusal.message)) is not None:
            places[name] = match.start()
    return sorted(places, key=places.__getitem__)
