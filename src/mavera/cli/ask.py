"""
Run `mavera ask`: ask a persona, and print its answer while the model generates it.

    without --url    the loaded model of the server that runs on the same data directory answers; if none
                     runs, the model is loaded in this process, for this question
    with --url       that server answers; it needs a key
"""

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console

from mavera.cli.answer_printer import AnswerPrinter
from mavera.cli.answering import (
    Asking,
    find_persona,
    find_running_engine,
    gather_personas,
    get_id,
    open_answers,
)
from mavera.cli.image_files import read_image
from mavera.cli.options import (
    AsJSON,
    AskAlone,
    AskedServer,
    AskPersona,
    DataDir,
    GivenImages,
    Instructions,
    MaxTokens,
    ModelOption,
    ServerKey,
    Temperature,
    UseTools,
    VerbosityOption,
)
from mavera.cli.remote import Remote
from mavera.cli.store import InWorkspace
from mavera.core.items import Message, Text
from mavera.core.prompt import Sampling
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError
from mavera.settings import load_settings

app = typer.Typer(add_completion=False)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question. '-' reads it from standard input.")],
    persona: AskPersona = None,
    image: GivenImages = None,
    instructions: Instructions = None,
    verbosity: VerbosityOption = "medium",
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the draw. It makes runs more alike, not the same.")
    ] = None,
    model: ModelOption = "mavera-1",
    tools: UseTools = False,
    analysis: Annotated[
        bool, typer.Option("--analysis", help="Analyse the answer, and draw the result.")
    ] = False,
    url: AskedServer = None,
    key: ServerKey = "",
    alone: AskAlone = False,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Ask a persona, and print its answer."""
    text = _read_question(question)
    settings = load_settings(data_dir=data_dir)
    images = [read_image(one, most_bytes=settings.image_max_bytes) for one in image or ()]
    remote = Remote.of(url, key)
    found = find_persona(persona, remote=remote, data_dir=data_dir, workspace=workspace)
    turn = Turn(
        model=model,
        items=(Message("user", (Text(text), *images)),),
        persona_id=get_id(found),
        instructions=instructions,
        max_output_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, seed=seed),
        verbosity=verbosity,
        analysis_mode=analysis,
    )
    shared = None if alone or remote else find_running_engine(settings)
    asking = Asking(settings, model, remote, shared, gather_personas([found]), uses_tools=tools)
    asyncio.run(_ask(turn, asking, as_json=as_json))


def _read_question(question: str) -> str:
    """Return the question, from standard input if it is "-". Raises ConfigurationError if it is empty."""
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise ConfigurationError('The question is empty. Type one: mavera ask "…" --persona "Gen Z Consumer"')
    return text


async def _ask(turn: Turn, asking: Asking, *, as_json: bool) -> None:
    console = Console(stderr=True, highlight=False)
    if asking.announcement and not as_json:
        console.print(asking.announcement, style="dim", markup=False)
    async with open_answers(asking, console) as answers:
        await AnswerPrinter(console, asking.answered_by, as_json=as_json).print(answers.run(turn))
