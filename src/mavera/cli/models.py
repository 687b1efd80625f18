"""Run `mavera models`: list and fetch the embedded language models."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mavera.cli.options import AsJSON, print_json
from mavera.cli.progress import build_download_bar
from mavera.models.embedded.catalogue import CATALOGUE, find_model
from mavera.models.embedded.pull import pull as pull_model
from mavera.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List and fetch the embedded language models."
)


@app.command("list")
def list_models(as_json: AsJSON = False) -> None:
    """List the models that can be fetched by name, and say which are on this machine."""
    settings = load_settings()
    folder = settings.resolved_models_dir
    rows = [
        {
            "name": model.name,
            "aliases": list(model.aliases),
            "summary": model.summary,
            "licence": model.licence,
            "bytes": model.size_bytes,
            "path": str(folder / model.file_name) if (folder / model.file_name).exists() else None,
        }
        for model in CATALOGUE
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("name", "description", "size", "licence", "here")
    for model, row in zip(CATALOGUE, rows, strict=True):
        size = f"{model.size_bytes / 1e9:.2f} GB"
        table.add_row(model.name, model.summary, size, model.licence, "yes" if row["path"] else "no")
    Console().print(table)


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
