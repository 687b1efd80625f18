"""Run `mavera models`: list, fetch, choose and serve the language models."""

import asyncio
import difflib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mavera.child_command import build_python_command
from mavera.cli.local_servers import LOCAL_SERVERS, FoundServer, LocalServer, detect_servers
from mavera.cli.model_probe import print_findings, probe_model, probe_named
from mavera.cli.options import AsJSON, DataDir, print_json, print_line
from mavera.cli.production import Finding
from mavera.cli.progress import build_download_bar
from mavera.cli.settings_file import Value, change_settings, find_settings_file
from mavera.errors import ConfigurationError
from mavera.models.choice import choose_upstream
from mavera.models.config import DEFAULT_NAME, ModelConfig, load_models_config
from mavera.models.embedded.catalogue import CATALOGUE, CatalogueModel
from mavera.models.embedded.hub import Hub
from mavera.models.embedded.memory import (
    check_memory,
    compute_needed_bytes,
    count_fitting_slots,
    measure_memory,
)
from mavera.models.embedded.partial import Phase
from mavera.models.embedded.pull import ask_projector_size, is_here
from mavera.models.embedded.pull import pull as pull_model
from mavera.models.embedded.pull import remove as remove_model
from mavera.models.embedded.pulled import PREFIX as HUB_PREFIX
from mavera.models.embedded.pulled import (
    check_name,
    describe_address,
    find_known,
    keep_description,
    list_pulled,
)
from mavera.models.named import choose_other_models
from mavera.settings import PREFIX, Settings, load_settings

SERVER = build_python_command("mavera.server.model_server")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, fetch and choose language models.")


@app.command("list")
def list_models(as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the models that can be fetched: what fits this machine, what is here, and what is in use."""
    settings = load_settings(data_dir=data_dir)
    rows = list(_list_embedded(settings))
    upstreams = list(_list_upstreams(settings))
    if as_json:
        print_json([*rows, *upstreams])
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("name", "fetches", "memory", "fits", "here"):
        table.add_column(heading, no_wrap=True)
    table.add_column("description")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['bytes'] / 1e9:.2f} GB",
            f"{row['memory_bytes'] / 1e9:.1f} GB",
            _describe_fit(row["slots_that_fit"], settings.embedded_slots),
            "in use" if row["in_use"] and row["path"] else "yes" if row["path"] else "no",
            escape(f"{row['summary']} ({row['licence']}){'' if row['tried'] else ' *'}"),
        )
    console = Console()
    console.print(table)
    console.print("* The makers of mavera have not run this model.", style="dim")
    console.print(
        "To fetch and choose a model: mavera models pull NAME && mavera models use NAME", style="dim"
    )
    if upstreams:
        asked = Table("asked for as", "model", "base URL", "dialect", "context", "per million in / out")
        for row in upstreams:
            prices = f"{row['price_in']} / {row['price_out']} {row['currency']}" if row["currency"] else "–"
            context = str(row["context_tokens"] or "–")
            asked.add_row(row["name"], row["model"], row["base_url"], row["dialect"], context, prices)
        console.print(asked)


def _list_embedded(settings: Settings) -> Iterator[dict[str, Any]]:
    folder, memory = settings.resolved_models_dir, measure_memory()
    in_use = _find_name_in_use(settings)
    for model in (*CATALOGUE, *list_pulled(folder)):
        yield {
            "kind": "embedded",
            "name": model.name,
            "aliases": list(model.aliases),
            "summary": model.summary,
            "licence": model.licence,
            "bytes": model.size_bytes,
            "memory_bytes": compute_needed_bytes(model, settings),
            "slots_that_fit": count_fitting_slots(model, settings, memory),
            "sees_images": model.projector is not None,
            "tried": model.is_tried,
            "path": str(folder / model.file_name) if is_here(model, folder) else None,
            "in_use": model.name == in_use,
        }


def _find_name_in_use(settings: Settings) -> str | None:
    """Return the name of the embedded model that answers. None if a file of one's own or a server does."""
    if settings.backend != "embedded" or settings.model_path is not None:
        return None
    return find_known(settings.model, settings.resolved_models_dir).name


def _describe_fit(slots: int, configured: int) -> str:
    if slots == configured:
        return "yes"
    return f"{slots} slot{'s' if slots > 1 else ''}" if slots else "no"


def _list_upstreams(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the models that run elsewhere, as the settings and models.toml name them."""
    configs = load_models_config(settings)
    if settings.backend == "upstream":
        own = replace(
            configs.pop(DEFAULT_NAME, ModelConfig()),
            base_url=settings.upstream_base_url,
            model=settings.upstream_model,
            dialect=settings.upstream_dialect,
        )
        configs = {DEFAULT_NAME: own, **configs}
    for name, config in configs.items():
        if config.base_url:
            yield {"kind": "upstream", "name": name, **msgspec.to_builtins(config)}


@app.command("check")
def check_models(as_json: AsJSON = False) -> None:
    """Ask each model that runs elsewhere one short question. Exit code 1 if one does not answer."""
    settings = load_settings()
    findings = asyncio.run(_check(settings))
    if as_json:
        print_json(findings)
    else:
        print_findings(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


async def _check(settings: Settings) -> list[Finding]:
    findings = []
    if settings.backend == "upstream":
        findings.append(await probe_model(DEFAULT_NAME, choose_upstream(settings)))
    findings += [await probe_named(named) for named in choose_other_models(settings).values()]
    return findings or [Finding("models", True, "none runs elsewhere; models.toml can name some")]


@app.command("serve")
def serve_model(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Serve the embedded model over OpenAI's API, as an upstream of other machines. It has no personas or keys.

    Callers need the key in MAVERA_ENGINE_KEY.
    """
    load_settings(host=host, port=port, data_dir=data_dir)
    options = {"host": host, "port": port, "data_dir": data_dir}
    named = {f"{PREFIX}{name.upper()}": str(value) for name, value in options.items() if value is not None}
    sys.stdout.flush()
    environ = {**os.environ, **named, f"{PREFIX}MODEL_BACKEND": "embedded"}
    os.execve(SERVER[0], SERVER, environ)  # noqa: S606 - our own interpreter, no shell


@app.command()
def pull(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The model's name, or hf:OWNER/REPO/FILE[@REVISION]#SHA256. The default is the one in use."
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Fetch the model even if this machine has too little memory for it."),
    ] = False,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Fetch a model once, check every byte, and resume an interrupted download."""
    settings = load_settings(data_dir=data_dir)
    if name is None and settings.model_path is not None:
        print_line(f"MAVERA_MODEL_PATH is {settings.model_path}, so nothing is fetched.", err=True)
        return
    folder = settings.resolved_models_dir
    hub = Hub(settings.model_hub, settings.model_hub_token)
    wanted = name or settings.model
    model = (
        describe_address(wanted, hub, folder) if wanted.startswith(HUB_PREFIX) else check_name(wanted, folder)
    )
    if not is_here(model, folder):
        model = ask_projector_size(model, hub)
        if not anyway:
            check_memory(model, settings, measure_memory())
    if wanted.startswith(HUB_PREFIX):
        keep_description(model, folder)
    with build_download_bar(Console(stderr=True)) as bar:
        # A model that is here already needs no bar.
        task = bar.add_task(f"Fetching {model.name}", total=model.size_bytes, visible=False)

        def show(done: int, total: int, phase: Phase) -> None:
            verb = "Fetching" if phase == "downloading" else "Checking"
            bar.update(task, completed=done, total=total, description=f"{verb} {model.name}", visible=True)

        path = pull_model(model, folder, show, hub=hub)
    if as_json:
        print_json({"name": model.name, "path": str(path), "bytes": path.stat().st_size})
        return
    print_line(f"{model.name} is in {path}", err=True)
    if model.name != _find_name_in_use(settings):
        print_line(f"To use it: mavera models use {model.name}", err=True)


@app.command()
def use(
    name: Annotated[
        str, typer.Argument(help="A model that is here, or one of a server, as in ollama:llama3.2.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Choose the model for the next start, and write the choice to mavera.toml."""
    settings = load_settings(data_dir=data_dir)
    prefix, _, rest = name.partition(":")
    server = next((one for one in LOCAL_SERVERS if one.key == prefix), None)
    if server is not None and rest:
        changes = asyncio.run(choose_local_model(settings, server, rest))
        print_line(f"{rest} of {server.title} at {server.base_url} answers from the next start.", err=True)
    else:
        changes = choose_embedded_model(settings, name)
        print_line(f"{changes['model']} answers from the next start.", err=True)
    path = find_settings_file(settings)
    change_settings(path, changes)
    print_line(f"Written to {path}.", err=True)
    for setting in changes:
        if (variable := f"{PREFIX}{setting.upper()}") in os.environ:
            print_line(f"{variable} in the environment wins over the file. Unset it.", err=True)


def choose_embedded_model(settings: Settings, name: str) -> dict[str, Value]:
    """Return the settings that choose a model that is here. Raises ConfigurationError if it is not."""
    model = check_name(name, settings.resolved_models_dir)
    if not is_here(model, settings.resolved_models_dir):
        raise ConfigurationError(
            f"{model.name} is not on this machine. Type: mavera models pull {model.name}"
        )
    changes: dict[str, Value] = {"model": model.name, "model_path": None}
    changes["model_backend"] = "embedded" if settings.upstream_base_url else None
    slots = count_fitting_slots(model, settings, measure_memory())
    if 0 < slots < settings.embedded_slots:
        print_line(
            f"This machine's memory is enough for {slots} of {settings.embedded_slots} slots.", err=True
        )
        changes["embedded_slots"] = slots
    return changes


async def choose_local_model(settings: Settings, server: LocalServer, name: str) -> dict[str, Value]:
    """Return the settings that choose a model of a local server. Raises ConfigurationError if it has none."""
    found = await detect_servers([server])
    if not found:
        raise ConfigurationError(f"{server.title} does not answer at {server.base_url}. Start it first.")
    models = found[0].models
    # Ollama lists `name:latest` for what its users call `name`.
    exact = next((one for one in (name, f"{name}:latest") if one in models), None)
    if exact is None and not found[0].problem:
        near = difflib.get_close_matches(name, models, n=1)
        hint = (
            f"Did you mean {server.key}:{near[0]}?" if near else f"It has {', '.join(models[:20]) or 'none'}."
        )
        raise ConfigurationError(f"{server.title} has no model '{name}'. {hint}")
    if settings.upstream_api_key:
        print_line("MAVERA_UPSTREAM_API_KEY is set, and will be sent to it.", err=True)
    changes: dict[str, Value] = {"upstream_base_url": server.base_url, "upstream_model": exact or name}
    if settings.model_backend in ("embedded", "scripted"):
        changes["model_backend"] = "upstream"
    return changes


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A model that is here.")],
    data_dir: DataDir = None,
) -> None:
    """Delete a model from this machine, and what an interrupted pull has left of it."""
    settings = load_settings(data_dir=data_dir)
    folder = settings.resolved_models_dir
    model = check_name(name, folder)
    if model.name == _find_name_in_use(settings):
        raise ConfigurationError(
            f"{model.name} is in use. Choose another first: "
            f"mavera models use {_suggest_other(model, settings)}"
        )
    freed = remove_model(model, folder)
    print_line(
        f"{model.name} is removed: {freed / 1e9:.2f} GB are free again." if freed else "It was not here.",
        err=True,
    )


def _suggest_other(model: CatalogueModel, settings: Settings) -> str:
    folder = settings.resolved_models_dir
    here = [one.name for one in (*CATALOGUE, *list_pulled(folder)) if is_here(one, folder)]
    return next((name for name in here if name != model.name), "NAME")


@app.command()
def detect(as_json: AsJSON = False) -> None:
    """Look for model servers on this machine: Ollama, LM Studio, llama-server and vLLM."""
    found = asyncio.run(detect_servers())
    if as_json:
        print_json([to_row(one) for one in found])
        return
    if not found:
        titles = ", ".join(f"{one.title} ({one.port})" for one in LOCAL_SERVERS)
        print_line(f"None of these answers on 127.0.0.1: {titles}.")
        return
    table = Table("server", "at", "models")
    for one in found:
        table.add_row(
            one.server.title, one.server.base_url, escape(one.problem or "\n".join(one.models) or "none yet")
        )
    console = Console()
    console.print(table)
    example = next((f"{one.server.key}:{one.models[0]}" for one in found if one.models), None)
    if example:
        console.print(f"To use one: mavera models use {example}", style="dim", markup=False)


def to_row(found: FoundServer) -> dict[str, Any]:
    """Return what `--json` says of a server that was found."""
    return {
        "server": found.server.key,
        "base_url": found.server.base_url,
        "models": list(found.models),
        "problem": found.problem or None,
    }
