"""Read why a model's server refused a request, whatever shape the body has."""

from contextlib import suppress
from typing import Any

import msgspec

from mavera.models.dialects import Refusal

NO_REASON = "it gave no reason."


def to_refusal(body: Any) -> Refusal:
    """
    Read the body of a refusal, in any of the shapes that servers send.

        {"error": {"message", "param"}}         OpenAI, Azure, DeepSeek, llama.cpp; vLLM also without `error`
        [{"error": {"message"}}]                Gemini
        {"message": {"detail": [{"loc", "msg"}]}} or {"detail": [...]}      Mistral, FastAPI
    """
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return Refusal(NO_REASON)
    error = next((body[name] for name in ("error", "detail", "message") if body.get(name)), None)
    param = error.get("param") if isinstance(error, dict) else body.get("param")
    if isinstance(error, dict):
        error = next((error[name] for name in ("message", "detail", "msg") if error.get(name)), None)
    if isinstance(error, str) and error.startswith("{"):  # Mistral's older servers
        with suppress(msgspec.DecodeError, RecursionError):
            inner = msgspec.json.decode(error)
            error = inner.get("detail") or error
    if isinstance(error, dict):
        error = error.get("detail")
    if isinstance(error, list):
        return _to_detailed_refusal(error)
    message = error if isinstance(error, str) and error else NO_REASON
    return Refusal(message, (param,) if isinstance(param, str) and param else ())


def _to_detailed_refusal(details: list[Any]) -> Refusal:
    """Join the messages of pydantic's list of faults."""
    messages, params = [], []
    for detail in details:
        if not isinstance(detail, dict) or not isinstance(detail.get("msg"), str):
            continue
        loc = detail.get("loc")
        steps = [str(step) for step in loc if step != "body"] if isinstance(loc, list) else []
        messages.append(f"{'.'.join(steps)}: {detail['msg']}" if steps else detail["msg"])
        params += [".".join(steps)] if steps else []
    return Refusal("; ".join(messages) or NO_REASON, tuple(params))
