"""
Traces and metrics by OpenTelemetry, with the semantic conventions for generative AI at version 1.37.0.

    client's traceparent → span of the request → span of each call of a model → its traceparent

The exporter is OTLP over HTTP, and the variables of OpenTelemetry set it up: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on. Questions, personas and answers are in no span unless
MAVERA_OTEL_CONTENT is true. Without MAVERA_OTEL this module is not used, and its libraries are not imported.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mavera.core.events import ModelEvent, RunCompleted, TextDelta
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.errors import APIError, ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.settings import Settings

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
NAME = "mavera"
# The bounds of seconds and tokens that the conventions recommend.
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = tuple(4.0**power for power in range(14))

_head: ContextVar[bytes] = ContextVar("mavera_trace_head", default=b"")


@dataclass(frozen=True)
class Telemetry:
    """Makes spans and records metrics. `providers` are shut down by `close`."""

    tracer: Any
    seconds: Any
    tokens: Any
    providers: tuple[Any, ...]
    captures_content: bool

    @classmethod
    def of(cls, tracer_provider: Any, meter_provider: Any, *, captures_content: bool) -> "Telemetry":
        meter = meter_provider.get_meter(NAME, schema_url=SCHEMA_URL)
        return cls(
            tracer=tracer_provider.get_tracer(NAME, schema_url=SCHEMA_URL),
            seconds=meter.create_histogram(
                "gen_ai.client.operation.duration",
                unit="s",
                description="Seconds of a call of a model.",
                explicit_bucket_boundaries_advisory=SECONDS,
            ),
            tokens=meter.create_histogram(
                "gen_ai.client.token.usage",
                unit="{token}",
                description="Tokens of a call of a model.",
                explicit_bucket_boundaries_advisory=TOKENS,
            ),
            providers=(tracer_provider, meter_provider),
            captures_content=captures_content,
        )

    async def close(self) -> None:
        """Send what is left."""
        for provider in self.providers:
            await asyncio.to_thread(provider.shutdown)

    def build_head(self) -> bytes:
        return _head.get()

    async def trace(
        self, prompt: Prompt, model: str, events: AsyncGenerator[ModelEvent, None]
    ) -> AsyncGenerator[ModelEvent, None]:
        """Yield `events` inside a span of the call, and record its seconds and tokens."""
        api = import_module("opentelemetry.trace")
        same = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
        }
        span = self.tracer.start_span(f"chat {model}", kind=api.SpanKind.CLIENT, attributes=same)
        _head.set(_format_head(span.get_span_context()))
        if self.captures_content:
            span.set_attribute("gen_ai.input.messages", _format_input(prompt))
        began, error, texts = time.perf_counter(), None, []
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, RunCompleted):
                        self._note_end(span, event, same)
                    elif self.captures_content and isinstance(event, TextDelta):
                        texts.append(event.text)
                    yield event
        except APIError as failure:
            error = failure.code
            raise
        except GeneratorExit:
            error = "cancelled"
            raise
        finally:
            attributes = same if error is None else {**same, "error.type": error}
            if error is not None:
                span.set_attribute("error.type", error)
                span.set_status(api.Status(api.StatusCode.ERROR))
            if texts:
                span.set_attribute("gen_ai.output.messages", _format_output("".join(texts)))
            self.seconds.record(time.perf_counter() - began, attributes)
            span.end()

    def _note_end(self, span: Any, event: RunCompleted, same: dict[str, str]) -> None:
        usage = event.usage
        span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
        span.set_attribute("gen_ai.response.finish_reasons", [str(event.reason)])
        for kind, number in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self.tokens.record(number, {**same, "gen_ai.token.type": kind})


def open_telemetry(settings: Settings) -> Telemetry | None:
    """Return what MAVERA_OTEL asks for, None if it is off. Raises ConfigurationError without the extra."""
    if settings.otel == "off":
        return None
    try:
        trace_sdk = import_module("opentelemetry.sdk.trace")
        trace_export = import_module("opentelemetry.sdk.trace.export")
        metrics_sdk = import_module("opentelemetry.sdk.metrics")
        metrics_export = import_module("opentelemetry.sdk.metrics.export")
        resources = import_module("opentelemetry.sdk.resources")
        spans = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        numbers = import_module("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    except ModuleNotFoundError as error:
        raise ConfigurationError(describe_missing_extra("otel", "MAVERA_OTEL")) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over our name.
    resource = resources.Resource({"service.name": NAME}).merge(resources.OTELResourceDetector().detect())
    tracer_provider = trace_sdk.TracerProvider(resource=resource)
    tracer_provider.add_span_processor(trace_export.BatchSpanProcessor(spans.OTLPSpanExporter()))
    reader = metrics_export.PeriodicExportingMetricReader(numbers.OTLPMetricExporter())
    meter_provider = metrics_sdk.MeterProvider([reader], resource=resource)
    return Telemetry.of(tracer_provider, meter_provider, captures_content=settings.otel_content)


def _format_head(context: Any) -> bytes:
    """Return the line `traceparent` of W3C Trace Context."""
    flags = int(context.trace_flags)
    return f"traceparent: 00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}\r\n".encode()


def _format_input(prompt: Prompt) -> str:
    messages = [
        {"role": item.role, "parts": [{"type": "text", "content": item.text}]}
        for item in prompt.items
        if isinstance(item, Message)
    ]
    return json.dumps(messages, ensure_ascii=False)


def _format_output(text: str) -> str:
    return json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": text}]}], ensure_ascii=False
    )
