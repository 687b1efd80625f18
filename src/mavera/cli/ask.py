"""
`mavera ask`: ask a persona and read its answer here, as it is being said.

    without --url    the model runs here, for this question
    with --url       a running server is asked, with a key
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console

from mavera.cli.options import AsJSON, DataDir, print_json
from mavera.cli.progress import wait_until_ready
from mavera.core.events import RunCompleted, RunFailed, TextDelta
from mavera.core.ids import is_cuid
from mavera.core.items import said
from mavera.core.turn import Sampling, Turn, Verbosity
from mavera.errors import ConfigurationError, PersonaNotFound
from mavera.models.choice import choose_model
from mavera.models.model import Model
from mavera.models.upstream import Endpoint, UpstreamModel, UpstreamOptions, UpstreamSettings
from mavera.personas.library import PersonaLibrary
from mavera.runs.loop import Runner
from mavera.settings import Settings, load_settings

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Remote:
    """A running server to ask, and the key to ask it with."""

    url: str
    key: str


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; '-' reads it from standard input.")],
    persona: Annotated[
        str | None,
        typer.Option(
            "--persona", "-p", help="Who answers: a name or an id. Nobody in particular unless given."
        ),
    ] = None,
    instructions: Annotated[
        str | None, typer.Option(help="What the persona is told before the question.")
    ] = None,
    verbosity: Annotated[str, typer.Option(help="low, medium or high.")] = "medium",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of the answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 for the likeliest words, up to 2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="MAVERA_BASE_URL", help="Ask this server instead, as in http://127.0.0.1:8000/api/v1."
        ),
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="MAVERA_API_KEY", help="The API key for --url.", show_default=False)
    ] = "",
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Ask a persona, and read its answer here."""
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise ConfigurationError('There is no question. Type one: mavera ask "…" --persona "Gen Z Consumer"')
    turn = Turn(
        model="mavera-1",
        items=(said("user", text),),
        persona_id=_persona_id(persona, remote=url is not None),
        instructions=instructions,
        max_output_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, seed=seed),
        verbosity=_verbosity(verbosity),
    )
    remote = Remote(url.rstrip("/"), key) if url else None
    asyncio.run(_ask(turn, load_settings(data_dir=data_dir), remote, as_json=as_json))


def _persona_id(persona: str | None, *, remote: bool) -> str | None:
    if persona is None:
        return None
    try:
        return PersonaLibrary.load().find(persona).id
    except PersonaNotFound:
        if remote and is_cuid(persona):  # a custom persona of that server's
            return persona
        raise


def _verbosity(text: str) -> Verbosity:
    if text in get_args(Verbosity):
        return cast("Verbosity", text)
    raise ConfigurationError(f"--verbosity has to be low, medium or high, not '{text}'.")


async def _ask(turn: Turn, settings: Settings, remote: Remote | None, *, as_json: bool) -> None:
    console = Console(stderr=True, highlight=False)
    async with AsyncExitStack() as stack:
        if remote is not None:
            model: Model = _remote_model(turn, remote)
            # The server composes the prompt: the persona and the guidance must not be said twice.
            turn = replace(turn, persona_id=None, verbosity="medium")
        else:
            model = choose_model(settings)
        stack.push_async_callback(model.close)
        await model.start()
        await wait_until_ready(model, console)
        runner = Runner(PersonaLibrary.load(), {"live": model}, require_persona=False)
        await _print_answer(runner, turn, console, as_json=as_json)


def _remote_model(turn: Turn, remote: Remote) -> UpstreamModel:
    async def endpoint() -> Endpoint:
        return Endpoint(remote.url, remote.key)

    asked: dict[str, Any] = {"verbosity": turn.verbosity}
    if turn.persona_id is not None:
        asked["persona_id"] = turn.persona_id
    return UpstreamModel(
        endpoint,
        UpstreamOptions(
            model="mavera-1", defaults=asked, settings=UpstreamSettings("--key", "--url", "--url")
        ),
    )


async def _print_answer(runner: Runner, turn: Turn, console: Console, *, as_json: bool) -> None:
    started = time.perf_counter()
    first: float | None = None
    pieces: list[str] = []
    async with aclosing(runner.run(turn, "live")) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    first = first or time.perf_counter()
                    pieces.append(text)
                    if not as_json:
                        sys.stdout.write(text)
                        sys.stdout.flush()
                case RunFailed(error):
                    if pieces and not as_json:
                        sys.stdout.write("\n")
                    raise error
                case RunCompleted(reason, usage):
                    seconds = time.perf_counter() - started
                    if as_json:
                        print_json(
                            {
                                "text": "".join(pieces),
                                "persona_id": turn.persona_id,
                                "finish_reason": reason,
                                "usage": usage,
                                "seconds": round(seconds, 3),
                                "seconds_to_first_token": round((first or started) - started, 3),
                            }
                        )
                    else:
                        sys.stdout.write("\n")
                        _print_footer(console, seconds, usage.output_tokens, reason)


def _print_footer(console: Console, seconds: float, tokens: int, reason: str) -> None:
    if console.is_terminal:
        cut = " · cut by the token limit" if reason == "length" else ""
        console.print(f"[dim]{tokens} tokens in {seconds:.1f} s{cut}[/]")
