"""
Map the finish reasons of all servers that document theirs to ours.

    "stop", "eos", "end_turn", "STOP" …                → stop
    "model_length", "MAX_TOKENS", "time_limit" …       → length
    "sensitive", "guardrail_intervened", "SAFETY" …    → content_filter
    "insufficient_system_resource", "abort" …          → a failure

If no list names a reason, the answer may not be whole. The reason becomes `length`, which both formats report
as incomplete.
"""

from typing import Any, Final, Literal

from mavera.core.events import FinishReason

Ending = FinishReason | Literal["failed"]

# Documented by OpenAI, Anthropic, AWS Bedrock, Cohere, DeepSeek, Google, Mistral, Z.ai, IBM, Alibaba and
# Tencent, and by vLLM, SGLang, TGI and llama.cpp. Only letters and digits are compared, without case.
ENDINGS: Final[dict[Ending, frozenset[str]]] = {
    "stop": frozenset(
        (
            "stop",
            "stopped",
            "eos",
            "eos_token",
            "end_of_text",
            "endoftext",
            "end_turn",
            "end",
            "stop_sequence",
            "stop_criteria_met",
            "stop_token",
            "complete",
            "completed",
            "finish",
            "finished",
            "normal",
            "done",
        )
    ),
    "tool_calls": frozenset(("tool_calls", "tool_call", "tool_use", "function_call", "function_calls")),
    "length": frozenset(
        (
            "length",
            "length_limit",
            "length_capped",
            "max_length",
            "max_tokens",
            "max_token",
            "max_output_tokens",
            "max_output_reached",
            "max_completion_tokens",
            "max_new_tokens",
            "model_length",
            "model_context_window_exceeded",
            "context_window_exceeded",
            "context_length_exceeded",
            "context_length",
            "token_limit",
            "time_limit",
            "incomplete",
            "pause_turn",
            "error_limit",
            "not_finished",
            "repetition",
        )
    ),
    "content_filter": frozenset(
        (
            "content_filter",
            "content_filtered",
            "contentfilter",
            "sensitive",
            "guardrail_intervened",
            "guardrails",
            "safety",
            "recitation",
            "blocklist",
            "blocked",
            "block",
            "prohibited_content",
            "spii",
            "refusal",
            "error_toxic",
            "moderation",
            "moderated",
            "flagged",
            "image_safety",
            "image_prohibited_content",
            "image_recitation",
            "model_armor",
            "violation",
            "unsafe",
        )
    ),
    "failed": frozenset(
        (
            "error",
            "failed",
            "failure",
            "abort",
            "aborted",
            "cancelled",
            "canceled",
            "cancel",
            "user_cancel",
            "user_cancelled",
            "insufficient_system_resource",
            "network_error",
            "server_error",
            "internal_error",
            "timeout",
            "timed_out",
            "interrupted",
            "malformed_function_call",
            "malformed_model_output",
            "malformed_tool_use",
            "malformed_response",
            "unexpected_tool_call",
            "too_many_tool_calls",
            "missing_thought_signature",
            "function_call_filter",
            "overloaded",
        )
    ),
}


def _normalise(reason: str) -> str:
    return "".join(filter(str.isalnum, reason)).lower()


_ENDING_OF: Final = {_normalise(name): ending for ending, names in ENDINGS.items() for name in names}
# Servers send these while the answer has not ended.
_NOT_YET: Final = frozenset(("", "null", "none", "finishreasonunspecified", "unspecified"))


def read_reason(reported: Any) -> str:
    """Return the reason that a server sent as text, or "" while there is none."""
    if isinstance(reported, dict):  # SGLang's own API: {"type": "stop", "matched": 2}
        reported = reported.get("type")
    if not reported:
        return ""
    text = str(reported).strip()
    return "" if _normalise(text) in _NOT_YET else text[:200]


def ending_of(reason: str) -> Ending | None:
    """Return the ending for `reason`, or None if no list names it."""
    whole = _ENDING_OF.get(_normalise(reason))
    # Google writes "content_filter: RECITATION" and "function_call_filter: MALFORMED_FUNCTION_CALL".
    return whole or _ENDING_OF.get(_normalise(reason.partition(":")[0]))
