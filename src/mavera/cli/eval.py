"""Run `mavera eval`: measure whether personas differ as people do, and answer as they do."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mavera.accounts.principal import Principal
from mavera.cli.eval_surveys import surveys
from mavera.cli.options import AsJSON, DataDir, ModelOption, print_json
from mavera.cli.progress import wait_until_ready
from mavera.core.events import Event
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError
from mavera.evaluation.asking import AnswerFile, Interviewer
from mavera.evaluation.items import ITEMS, QUESTIONS
from mavera.evaluation.personas import Plan, Report, evaluate
from mavera.evaluation.plot import draw_svg
from mavera.evaluation.wording import Embed
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.reading.encoder import SentenceEncoder
from mavera.runs.loop import Runner
from mavera.services import open_named_model
from mavera.settings import Settings, load_settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Measure whether personas answer as people do."
)
MOST_PAIRS = 3 * len(ITEMS)


@app.command()
def personas(
    personas: Annotated[int, typer.Option(min=0, help="The number of personas that answer in words.")] = 60,
    questions: Annotated[
        int, typer.Option(min=0, max=len(QUESTIONS), help="The number of open questions.")
    ] = 30,
    drawn: Annotated[
        int | None,
        typer.Option(
            min=1, max=len(QUESTIONS), help="Ask each persona this many questions, drawn by a seed."
        ),
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=0, max=MOST_PAIRS, help="The number of pairs for direction.")
    ] = MOST_PAIRS,
    answers: Annotated[
        Path | None, typer.Option(help="Save the answers in this file, and continue from it.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, help="The personas to ask at a time. A large server can take more.")
    ] = 4,
    model: ModelOption = "mavera-1",
    plot: Annotated[Path | None, typer.Option(help="Draw the figures into this SVG file.")] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Measure whether personas differ, and in the right direction, with the model in the settings."""
    plan = Plan.of(PersonaLibrary.load(), personas, questions, pairs, drawn)
    report = asyncio.run(_run(plan, load_settings(data_dir=data_dir), model, answers, at_once))
    if plot is not None:
        try:
            plot.write_text(draw_svg(report.figures, "Personas, with 95 % intervals"), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{plot} cannot be written: {error.strerror}.") from error
    if as_json:
        print_json({figure["name"]: figure for figure in [*_rows(report), _words_row(report)]})
    else:
        _print(report)


async def _run(plan: Plan, settings: Settings, name: str, answers: Path | None, at_once: int) -> Report:
    console = Console(stderr=True, highlight=False)
    people = Personas(PersonaLibrary.load())
    columns = (TextColumn("Asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with open_named_model(settings, name, people) as named:
        await wait_until_ready(named.model, console)
        runner = Runner(people, {"live": named.model})

        def ask(turn: Turn) -> AsyncGenerator[Event, None]:
            # A yes or no is read from probabilities, which the recommended sampling has nothing to do with.
            asked = named.prepare(turn) if turn.top_logprobs is None else turn
            return runner.run(asked, Principal.local())

        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=plan.steps)
            interviewer = Interviewer(ask, AnswerFile(answers))
            return await evaluate(plan, interviewer, lambda: bar.advance(task), at_once, _choose_embed())


def _choose_embed() -> Embed | None:
    encoder = SentenceEncoder()
    return encoder.embed if encoder.find_problem() is None else None


def _rows(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "name": figure.name,
            "share": round(figure.share.value, 4) if figure.share.cases else None,
            "interval": [round(bound, 4) for bound in figure.share.interval] if figure.share.cases else None,
            "cases": figure.share.cases,
            "chance": figure.chance,
        }
        for figure in (*report.figures, *report.by_contrast)
    ]


def _words_row(report: Report) -> dict[str, Any]:
    words = report.wording.words
    return {
        "name": "Words, median",
        "value": words.value if words.cases else None,
        "interval": list(words.interval) if words.cases else None,
        "cases": words.cases,
    }


def _print(report: Report) -> None:
    table = Table("measure", "share", "95 % interval", "cases", "chance")
    for row in _rows(report):
        bounds = row["interval"]
        table.add_row(
            row["name"],
            "–" if row["share"] is None else f"{row['share']:.1%}",
            "–" if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}",
            str(row["cases"]),
            "–" if row["chance"] is None else f"{row['chance']:.1%}",
        )
    words = report.wording.words
    if words.cases:
        low, high = words.interval
        table.add_row("Words, median", f"{words.value:g}", f"{low:g} to {high:g}", str(words.cases), "–")
    Console().print(table)


app.command()(surveys)
