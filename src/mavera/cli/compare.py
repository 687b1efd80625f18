"""Run `mavera compare`: ask several personas one question, and compare the emotions of their answers."""

import asyncio
import csv
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.markup import escape

from mavera.cli.answering import Answers, Asking, find_persona, gather_personas, get_id, open_answers
from mavera.cli.drawing import draw_chart, list_scales
from mavera.cli.options import (
    AsJSON,
    AskedServer,
    DataDir,
    MaxTokens,
    ModelOption,
    ServerKey,
    Temperature,
    print_json,
)
from mavera.cli.remote import Remote
from mavera.cli.store import InWorkspace
from mavera.cli.tables import Shown, print_table
from mavera.core.analysis import Analysis
from mavera.core.events import RunCompleted, RunFailed, TextDelta, TextWasReasoning
from mavera.core.items import make_message
from mavera.core.prompt import Sampling
from mavera.core.text import escape_formula
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.settings import load_settings

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    question: Annotated[str, typer.Argument(help="The question for each of them.")],
    persona: Annotated[
        list[str],
        typer.Option(
            "--persona", "-p", help="A persona that answers: a name or an id. Give it once for each."
        ),
    ],
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a line for each persona, for spreadsheets.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a chart of the emotions here, as SVG.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the draw. It makes runs more alike, not the same.")
    ] = None,
    model: ModelOption = "mavera-1",
    url: AskedServer = None,
    key: ServerKey = "",
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Ask several personas, and compare the analyses of their answers."""
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigurationError(f"{plot} must end in .svg, because the chart is SVG.")
    remote = Remote.of(url, key)
    asked = Turn(
        model,
        (make_message("user", question),),
        max_output_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, seed=seed),
        analysis_mode=True,
    )
    found = [find_persona(name, remote=remote, data_dir=data_dir, workspace=workspace) for name in persona]
    turns = [replace(asked, persona_id=get_id(one)) for one in found]
    asking = Asking(load_settings(data_dir=data_dir), model, remote, people=gather_personas(found))
    answers = asyncio.run(_ask_all(turns, asking))
    compared = [(name, text, analysis) for name, (text, analysis) in zip(persona, answers, strict=True)]
    if plot is not None:
        made = draw_chart(question, [(name, analysis) for name, _, analysis in compared])
        plot.write_text(made, encoding="utf-8")
    if as_json:
        print_json([{"persona": n, "text": t, "analysis": a} for n, t, a in compared])
    elif as_csv:
        _write_csv(compared)
    else:
        _print(compared)


async def _ask_all(turns: list[Turn], asking: Asking) -> list[tuple[str, Analysis]]:
    """Ask one persona after the other, because parallel questions would share the same cores."""
    async with open_answers(asking, Console(stderr=True, highlight=False)) as answers:
        return [await _answer(answers, turn) for turn in turns]


async def _answer(answers: Answers, turn: Turn) -> tuple[str, Analysis]:
    pieces: list[str] = []
    analysis: Analysis | None = None
    async with aclosing(answers.run(turn)) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    pieces.append(text)
                case TextWasReasoning():
                    pieces.clear()
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
    for name, text, _ in compared:
        console.print(f"[bold]{escape(name)}[/]")
        console.print(f"{text.strip()}\n", markup=False)
    scales = [name for name, _ in list_scales(compared[0][2])]
    columns = (
        Shown("persona", is_text=True),
        *(Shown(scale, is_number=True) for scale in scales),
        Shown("emotion"),
        Shown("biases", is_text=True, is_extra=True),
    )
    print_table(columns, [(name, *_list_values(analysis)) for name, _, analysis in compared], empty="")


def _list_values(analysis: Analysis) -> list[str]:
    """Return the figures of an analysis as the table shows them, in the order of its columns."""
    emotion = analysis.emotion.primary_emotion if analysis.emotion else "–"
    biases = ", ".join(bias.name for bias in analysis.biases) or "–"
    return [*(_number(value) for _, value in list_scales(analysis)), emotion, biases]


def _write_csv(compared: list[tuple[str, str, Analysis]]) -> None:
    writer = csv.writer(sys.stdout)
    scales = [name for name, _ in list_scales(compared[0][2])]
    writer.writerow(["persona", "answer", *scales, "emotion", "biases"])
    for name, text, analysis in compared:
        cells = [name, text.strip(), *_list_values(analysis)]
        writer.writerow([escape_formula(cell) for cell in cells])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
