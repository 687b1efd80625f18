"""Run `mavera models`: list and fetch the embedded language models."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mavera.cli.model_probe import print_findings, probe_model, probe_named
from mavera.cli.options import AsJSON, print_json
from mavera.cli.production import Finding
from mavera.cli.progress import build_download_bar
from mavera.models.choice import choose_upstream
from mavera.models.config import DEFAULT_NAME, ModelConfig, load_models_config
from mavera.models.embedded.catalogue import CATALOGUE, find_model
from mavera.models.embedded.pull import pull as pull_model
from mavera.models.named import choose_other_models
from mavera.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List and fetch the embedded language models."
)


@app.command("list")
def list_models(as_json: AsJSON = False) -> None:
    """List the models that can be fetched by name, and say which are on this machine."""
    settings = load_settings()
    folder = settings.resolved_models_dir
    rows: list[dict[str, Any]] = [
        {
            "kind": "embedded",
            "name": model.name,
            "aliases": list(model.aliases),
            "summary": model.summary,
            "licence": model.licence,
            "bytes": model.size_bytes,
            "path": str(folder / model.file_name) if (folder / model.file_name).exists() else None,
        }
        for model in CATALOGUE
    ]
    upstreams = list(_list_upstreams(settings))
    if as_json:
        print_json([*rows, *upstreams])
        return
    table = Table("name", "description", "size", "licence", "here")
    for model, row in zip(CATALOGUE, rows, strict=True):
        size = f"{model.size_bytes / 1e9:.2f} GB"
        table.add_row(model.name, model.summary, size, model.licence, "yes" if row["path"] else "no")
    Console().print(table)
    if upstreams:
        asked = Table("asked for as", "model", "base URL", "dialect", "context", "per million in / out")
        for row in upstreams:
            prices = f"{row['price_in']} / {row['price_out']} {row['currency']}" if row["currency"] else "–"
            context = str(row["context_tokens"] or "–")
            asked.add_row(row["name"], row["model"], row["base_url"], row["dialect"], context, prices)
        Console().print(asked)


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


@app.command()
def pull(
    name: Annotated[
        str | None, typer.Argument(help="The model's name. The default is the model in the settings.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Fetch a model once, check every byte, and resume an interrupted download."""
    settings = load_settings()
    if name is None and settings.model_path is not None:
        typer.echo(f"MAVERA_MODEL_PATH is {settings.model_path}, so nothing is fetched.", err=True)
        return
    model = find_model(name or settings.model)
    with build_download_bar(Console(stderr=True)) as bar:
        task = bar.add_task(f"Fetching {model.name}", total=model.size_bytes)

        def show(done: int, total: int, phase: str) -> None:
            verb = "Fetching" if phase == "downloading" else "Checking"
            bar.update(task, completed=done, total=total, description=f"{verb} {model.name}")

        path = pull_model(model.name, settings.resolved_models_dir, show)
    if as_json:
        print_json({"name": model.name, "path": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(f"{model.name} is in {path}", err=True)
