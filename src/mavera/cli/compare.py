"""`mavera compare`: one question to several personas, and how differently they feel about it."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mavera.accounts.principal import Principal
from mavera.cli.ask import Remote, id_of, load_progress, meant_by, personas_with, remote_model
from mavera.cli.drawing import bar, chart, scales
from mavera.cli.options import AsJSON, DataDir, print_json
from mavera.cli.progress import wait_until_ready
from mavera.cli.store import InWorkspace
from mavera.core.analysis import Analysis
from mavera.core.events import RunCompleted, RunFailed, TextDelta
from mavera.core.items import said
from mavera.core.prompt import Sampling
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.models.model import Model
from mavera.personas.catalogue import Personas
from mavera.runs.loop import Runner
from mavera.services import open_model, started
from mavera.settings import Settings, load_settings

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    question: Annotated[str, typer.Argument(help="What to ask each of them.")],
    persona: Annotated[
        list[str], typer.Option("--persona", "-p", help="Who answers: a name or an id. Once for each.")
    ],
    plot: Annotated[Path | None, typer.Option(help="Write a chart of the emotions here, as SVG.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of each answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 for the likeliest words, up to 2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="MAVERA_BASE_URL", help="Ask this server instead, as in http://127.0.0.1:8000/api/v1."
        ),
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="MAVERA_API_KEY", help="The API key for --url.", show_default=False)
    ] = "",
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Ask several personas the same, and compare the analyses of their answers."""
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigurationError(f"{plot} has to end in .svg: the chart is written as SVG.")
    remote = Remote(url.rstrip("/"), key) if url else None
    asked = Turn(
        "mavera-1",
        (said("user", question),),
        max_output_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, seed=seed),
        analysis_mode=True,
    )
    found = [
        meant_by(name, remote=remote is not None, data_dir=data_dir, workspace=workspace) for name in persona
    ]
    turns = [replace(asked, persona_id=id_of(one)) for one in found]
    answers = asyncio.run(_ask_all(turns, load_settings(data_dir=data_dir), personas_with(found), remote))
    compared = [(name, text, analysis) for name, (text, analysis) in zip(persona, answers, strict=True)]
    if plot is not None:
        made = chart(question, [(name, analysis) for name, _, analysis in compared])
        plot.write_text(made, encoding="utf-8")
    if as_json:
        print_json([{"persona": n, "text": t, "analysis": a} for n, t, a in compared])
    else:
        _print(compared)


async def _ask_all(
    turns: list[Turn], settings: Settings, people: Personas, remote: Remote | None
) -> list[tuple[str, Analysis]]:
    """Ask one after the other: side by side they would share the same cores."""
    console = Console(stderr=True, highlight=False)
    answers: list[tuple[str, Analysis]] = []
    async with AsyncExitStack() as stack:
        local = None if remote else await stack.enter_async_context(open_model(settings))
        for turn in turns:
            if remote is not None:
                model: Model = await stack.enter_async_context(started(remote_model(turn, remote)))
                turn = replace(turn, persona_id=None, analysis_mode=False)
            else:
                assert local is not None  # noqa: S101 - one of the two is there
                model = local
            await wait_until_ready(model, console, load_progress=load_progress(model))
            answers.append(await _answer(Runner(people, {"live": model}), turn))
    return answers


async def _answer(runner: Runner, turn: Turn) -> tuple[str, Analysis]:
    pieces: list[str] = []
    analysis: Analysis | None = None
    async with aclosing(runner.run(turn, Principal.local())) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    pieces.append(text)
                case RunFailed(error):
                    raise error
                case RunCompleted():
                    analysis = event.analysis
                case _:
                    pass
    if analysis is None:
        raise ServiceUnavailable("The server sent no analysis.", retry_after=1)
    return "".join(pieces), analysis


def _print(compared: list[tuple[str, str, Analysis]]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("", *(name for name, _, _ in compared)):
        table.add_column(heading)
    by_scale = [dict(scales(analysis)) for _, _, analysis in compared]
    for scale in by_scale[0]:
        cells = [f"{bar(one[scale])[::3]} {_number(one[scale])}" for one in by_scale]
        table.add_row(scale, *cells)
    emotions = [analysis.emotion.primary_emotion if analysis.emotion else "–" for _, _, analysis in compared]
    table.add_row("emotion", *emotions)
    suspected = [", ".join(bias.name for bias in analysis.biases) for _, _, analysis in compared]
    table.add_row("biases", *(names or "–" for names in suspected))
    console.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
