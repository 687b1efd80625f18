"""
Check whether the server of a model answers, and learn its dialect.

    GET /models           does it answer, and take the key?
    one short question    which dialect does it speak, and what does it refuse?
"""

import asyncio
from contextlib import aclosing

import aiohttp
from rich.console import Console
from rich.table import Table

from mavera.cli.production import Finding
from mavera.core.items import make_message
from mavera.core.prompt import OutputFormat, Prompt, Sampling
from mavera.errors import APIError
from mavera.models.base_url import build_endpoint_url
from mavera.models.dialects import describe
from mavera.models.endpoint import Endpoint
from mavera.models.named import NamedModel
from mavera.models.upstream import UpstreamModel, build_request_headers, read_model_names

# The request has all parameters that mavera sends by itself: a token limit, a temperature, log-probabilities
# and JSON under a schema.
_QUESTION = Prompt(
    (make_message("user", 'Answer with the JSON {"ok": true}.'),),
    sampling=Sampling(temperature=0.0),
    format=OutputFormat(
        "json_schema",
        "probe",
        schema={
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
            "additionalProperties": False,
        },
        strict=True,
    ),
    max_output_tokens=64,
    top_logprobs=1,
    reasoning_effort="low",
    preferences=frozenset({"temperature", "max_output_tokens", "top_logprobs"}),
)
_ANSWER_SECONDS = 60
_MOST_SHOWN = 5
_PATIENCE = aiohttp.ClientTimeout(total=10, sock_connect=5)


async def probe_named(named: NamedModel) -> Finding:
    """Ask a model of models.toml."""
    assert isinstance(named.model, UpstreamModel)  # noqa: S101 - the file has no others
    return await probe_model(named.name, named.model)


async def probe_model(what: str, model: UpstreamModel) -> Finding:
    """
    Ask one short question with all parameters that mavera sends by itself, and report those that the server
    refused.
    """
    found = await probe_server(what, model)
    if not found.ok:
        return found
    await model.start()
    try:
        async with asyncio.timeout(_ANSWER_SECONDS), aclosing(model.stream(_QUESTION)) as events:
            async for _ in events:
                pass
    except TimeoutError:
        reason = f"it gave no answer within {_ANSWER_SECONDS} seconds"
        return Finding(what, False, f"{found.detail}: {reason}", "see the log of that server")
    except APIError as error:
        advice = f"check {model.options.settings.model}"
        return Finding(what, False, f"{found.detail}: {error.message}", advice)
    finally:
        await model.close()
    dialect = model.dialect
    return Finding(what, True, f"{found.detail}; dialect {dialect.name}: {describe(dialect)}")


async def probe_server(what: str, model: UpstreamModel) -> Finding:
    """List the models of a server, or of each server of a list, which costs nothing."""
    endpoints = model.servers.endpoints if model.servers is not None else (await model.endpoint(),)
    found = [await _probe_endpoint(what, model, endpoint) for endpoint in endpoints]
    fault = next((one for one in found if not one.ok), None)
    if fault is not None or len(found) == 1:
        return fault or found[0]
    return Finding(what, True, f"{model.options.model} at {len(found)} servers")


async def _probe_endpoint(what: str, model: UpstreamModel, endpoint: Endpoint) -> Finding:
    settings = model.options.settings
    base_url = endpoint.base_url
    try:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE, headers=build_request_headers(endpoint)) as session,
            session.get(build_endpoint_url(base_url, "/models")) as answer,
        ):
            status = answer.status
            names = read_model_names(await answer.read()) if status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return Finding(what, False, f"{base_url} does not answer", f"check {settings.base_url}")
    if status == 401:
        return Finding(what, False, f"{base_url} refuses the key", f"check {settings.api_key}")
    if status == 403:
        advice = f"check what {settings.api_key} may do, and any firewall or blocked region in between"
        return Finding(what, False, f"{base_url} refuses the request (403)", advice)
    if status == 503:
        advice = "start the engines behind it, or wait until they have loaded the model"
        return Finding(what, False, f"{base_url} answers, but no engine behind it does (503)", advice)
    if status >= 500:
        return Finding(what, False, f"{base_url} answered {status}", "see the log of that server")
    if names is not None and not names:
        advice = "start the engines behind it, or wait until they have loaded the model"
        return Finding(what, False, f"{base_url} answers, but no engine behind it does", advice)
    if names and model.options.model not in names:
        # A single server may answer to any name; the question shows that. Servers of a list have to agree.
        detail = f"{base_url} lists {_list_some(names)}, and not {model.options.model}"
        return Finding(what, model.servers is None, detail, f"check {settings.model}")
    return Finding(what, True, f"{model.options.model} at {base_url}")


def _list_some(names: frozenset[str]) -> str:
    shown = ", ".join(sorted(names)[:_MOST_SHOWN])
    return f"{shown} and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else shown


def print_findings(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        advice = f"\n→ [bold]{finding.advice}[/]" if finding.advice else ""
        table.add_row(mark, finding.what, finding.detail + advice)
    Console(highlight=False).print(table)
