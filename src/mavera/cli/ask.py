"""
Run `mavera ask`: ask a persona, and print its answer while the model generates it.

    without --url    the loaded model of the server that runs on the same data directory answers; if none
                     runs, the model is loaded in this process, for this question
    with --url       that server answers; it needs a key
"""

import asyncio
import json
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace
from rich.console import Console

from mavera.accounts.principal import Principal
from mavera.cli.drawing import draw_analysis
from mavera.cli.options import AsJSON, DataDir, ModelOption, print_json
from mavera.cli.progress import wait_until_ready
from mavera.cli.store import InWorkspace, load_personas
from mavera.cli.wrapping import WordWriter
from mavera.core.events import (
    RunCompleted,
    RunFailed,
    ServerCallEnded,
    ServerCallStarted,
    TextDelta,
    TextWasReasoning,
)
from mavera.core.ids import is_cuid
from mavera.core.items import Message, make_message
from mavera.core.prompt import Sampling, ToolChoice
from mavera.core.server_calls import ServerCall, ServerOutcome
from mavera.core.turn import Turn, Verbosity
from mavera.errors import ConfigurationError, PersonaNotFound
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.models.choice import choose_shared_model
from mavera.models.config import DEFAULT_NAME
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.sharing import SharedEngineInfo, find_shared_engine
from mavera.models.endpoint import Endpoint
from mavera.models.model import Model
from mavera.models.named import NamedModel
from mavera.models.upstream import UpstreamModel, UpstreamOptions, UpstreamSettings
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.custom import CustomPersona
from mavera.personas.persona import Persona
from mavera.personas.typos import fold
from mavera.runs.loop import Runner
from mavera.services import open_named_model, start_model
from mavera.settings import Settings, load_settings
from mavera.tools.choice import make_lookup_tools
from mavera.tools.toolbox import Toolbox, ToolPolicy

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """The URL of a running server, and an API key for it."""

    url: str
    key: str


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question. '-' reads it from standard input.")],
    persona: Annotated[
        str | None,
        typer.Option(
            "--persona",
            "-p",
            help="The persona that answers: a name or an id. Without it, the answer is generic.",
        ),
    ] = None,
    instructions: Annotated[
        str | None, typer.Option(help="Instructions for the persona, given before the question.")
    ] = None,
    verbosity: Annotated[Verbosity, typer.Option(help="The length of the answer.")] = "medium",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The limit of the answer in tokens.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="From 0, for the likeliest words, to 2.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the draw. It makes runs more alike, not the same.")
    ] = None,
    model: ModelOption = "mavera-1",
    tools: Annotated[
        bool, typer.Option("--tools", help="Let the model search and read web pages, if that is set up.")
    ] = False,
    analysis: Annotated[
        bool, typer.Option("--analysis", help="Analyse the answer, and draw the result.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(envvar="MAVERA_BASE_URL", help="Ask this server, as in http://127.0.0.1:8000/api/v1."),
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="MAVERA_API_KEY", help="The API key for --url.", show_default=False)
    ] = "",
    alone: Annotated[
        bool, typer.Option("--alone", help="Run the model in this process, even if a server runs.")
    ] = False,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Ask a persona, and print its answer."""
    text = _read_question(question)
    remote = Remote(url.rstrip("/"), key) if url else None
    found = find_persona(persona, remote=remote, data_dir=data_dir, workspace=workspace)
    turn = Turn(
        model=model,
        items=(make_message("user", text),),
        persona_id=get_id(found),
        instructions=instructions,
        max_output_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, seed=seed),
        verbosity=verbosity,
        tool_choice=ToolChoice("auto" if tools else "none"),
        analysis_mode=analysis,
    )
    settings = load_settings(data_dir=data_dir)
    shared = None if alone or remote else find_running_engine(settings)
    asyncio.run(_ask(turn, settings, gather_personas([found]), remote, shared, as_json=as_json))


def _read_question(question: str) -> str:
    """Return the question, from standard input if it is "-". Raises ConfigurationError if it is empty."""
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise ConfigurationError('The question is empty. Type one: mavera ask "…" --persona "Gen Z Consumer"')
    return text


def find_persona(
    persona: str | None, *, remote: Remote | None, data_dir: Path | None, workspace: str | None
) -> Persona | CustomPersona | str | None:
    """
    Return the persona with this name or id. Raises PersonaNotFound.

    With `remote`, the id of a custom persona is returned, because only that server knows it.
    """
    if persona is None:
        return None
    if remote is None:
        return load_personas(data_dir, workspace).find(persona)
    try:
        return PersonaLibrary.load().find(persona)
    except PersonaNotFound:
        known = persona if is_cuid(persona) else _ask_for_persona(remote, persona)
        if known is None:
            raise
        return known


def _ask_for_persona(remote: Remote, name: str) -> str | None:
    """Return the id of the server's custom persona of that name, or the only one that the name finds."""
    query = urllib.parse.urlencode({"search": name[:100], "custom": "true", "limit": 100})
    asked = urllib.request.Request(f"{remote.url}/personas?{query}")  # noqa: S310 - the user's own --url
    asked.add_header("Authorization", f"Bearer {remote.key}")
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            found = json.load(answer)["data"]
    except (OSError, ValueError, KeyError):
        return None
    named = [one["id"] for one in found if fold(one["name"]) == fold(name)] or [one["id"] for one in found]
    return named[0] if len(named) == 1 else None


def gather_personas(found: Iterable[Persona | CustomPersona | str | None]) -> Personas:
    """Return the library together with the custom personas in `found`."""
    return Personas(PersonaLibrary.load(), more=[one for one in found if isinstance(one, CustomPersona)])


def get_id(found: Persona | CustomPersona | str | None) -> str | None:
    return found if found is None or isinstance(found, str) else found.id


def find_running_engine(settings: Settings) -> SharedEngineInfo | None:
    """Return the engine of the server that runs on the same data directory. None without one of our own."""
    return find_shared_engine(settings.data_dir) if settings.backend == "embedded" else None


@asynccontextmanager
async def open_asked_model(
    settings: Settings, name: str, people: Personas | None, shared: SharedEngineInfo | None
) -> AsyncIterator[NamedModel]:
    """Start the model that answers a command: the one of a running server if there is one."""
    default = None
    if shared is not None:
        # The settings may have changed since that server was started.
        path = None if shared.model else Path(shared.model_path)
        settings = replace(settings, model=shared.model or settings.model, model_path=path)
        default = choose_shared_model(settings, shared)
    async with open_named_model(settings, name, people, default) as named:
        yield named


def find_answering(
    turn: Turn, settings: Settings, remote: Remote | None, shared: SharedEngineInfo | None
) -> tuple[str, str]:
    """Return who answers, as a URL or "this process", and a line about it, which may be empty."""
    if remote is not None:
        return remote.url, f"{remote.url} answers."
    if turn.model != DEFAULT_NAME or settings.backend != "embedded":
        return "this process", ""
    if shared is not None:
        return shared.server_url, f"The model of the running server at {shared.server_url} answers."
    return "this process", "The model is loaded for this question alone. `mavera serve` keeps it loaded."


async def _ask(
    turn: Turn,
    settings: Settings,
    people: Personas,
    remote: Remote | None,
    shared: SharedEngineInfo | None,
    *,
    as_json: bool,
) -> None:
    console = Console(stderr=True, highlight=False)
    asked = turn
    answered_by, line = find_answering(turn, settings, remote, shared)
    if line and not as_json:
        console.print(line, style="dim", markup=False)
    async with AsyncExitStack() as stack:
        if remote is not None:
            model: Model = await stack.enter_async_context(start_model(build_remote_model(turn, remote)))
            # The server composes the prompt. The persona and the guidance must not be in it twice.
            turn = replace(turn, persona_id=None, verbosity="medium", analysis_mode=False)
        else:
            named = await stack.enter_async_context(open_asked_model(settings, turn.model, people, shared))
            model, turn = named.model, named.prepare(turn)
        await wait_until_ready(model, console, load_progress=get_load_progress(model))
        used = turn.tool_choice.mode != "none" and remote is None
        toolbox = await _toolbox(settings, stack, console) if used else Toolbox()
        if isinstance(model, EmbeddedModel):
            turn = replace(turn, tool_choice=_choose_tool(toolbox, turn))
        runner = Runner(people, {"live": model}, tools={"live": toolbox}, require_persona=False)
        printer = _AnswerPrinter(console, answered_by, asked.persona_id, as_json=as_json)
        await _print_answer(runner, turn, printer)


async def _toolbox(settings: Settings, stack: AsyncExitStack, console: Console) -> Toolbox:
    """Return search and extract even if the settings do not offer them, because `--tools` asks for them."""
    tools = make_lookup_tools(settings, GuardedFetch(FetchPolicy.from_settings(settings)))
    toolbox = Toolbox(tools, policy=ToolPolicy(frozenset(tool.name for tool in tools)))
    stack.push_async_callback(toolbox.close)
    await toolbox.start()
    for tool in tools:
        if not tool.provider:
            console.print(f"{tool.name} is not set up. Set {tool.setting}.", style="dim", markup=False)
    return toolbox


def _choose_tool(toolbox: Toolbox, turn: Turn) -> ToolChoice:
    """
    Return the tool that a small model must call first: extract if the question has a URL, else search.

    Without this, a small model seldom looks up facts that it believes to know, and it invents URLs.
    """
    asked = "".join(item.text for item in turn.items if isinstance(item, Message))
    wanted = "tavily_extract" if "://" in asked else "tavily_search"
    if any(tool.name == wanted and tool.provider for tool in toolbox.tools):
        return ToolChoice("required", (wanted,))
    return turn.tool_choice


def get_load_progress(model: Model) -> Callable[[], float | None]:
    return model.engine.load_progress if isinstance(model, EmbeddedModel) else lambda: None


def build_remote_model(turn: Turn, remote: Remote) -> UpstreamModel:
    async def endpoint() -> Endpoint:
        return Endpoint(remote.url, remote.key)

    asked: dict[str, Any] = {"verbosity": turn.verbosity}
    if turn.analysis_mode:
        asked["analysis_mode"] = True
    if turn.persona_id is not None:
        asked["persona_id"] = turn.persona_id
    return UpstreamModel(
        endpoint,
        UpstreamOptions(
            model=turn.model, defaults=asked, settings=UpstreamSettings("--key", "--url", "--url")
        ),
    )


async def _print_answer(runner: Runner, turn: Turn, answer: "_AnswerPrinter") -> None:
    with answer.waiting:
        async with aclosing(runner.run(turn, Principal.local())) as events:
            async for event in events:
                match event:
                    case TextDelta(text):
                        answer.print_text(text)
                    case TextWasReasoning():
                        answer.withdraw()
                    case ServerCallStarted(call):
                        answer.note_call(call)
                    case ServerCallEnded(outcome):
                        answer.note_outcome(outcome)
                    case RunFailed(error):
                        answer.break_line()
                        raise error
                    case RunCompleted():
                        answer.finish(event)


class _AnswerPrinter:
    """Collects an answer, and prints it at once or as one JSON value at the end."""

    def __init__(self, console: Console, answered_by: str, persona_id: str | None, *, as_json: bool) -> None:
        self.waiting = console.status("Reading the question …")
        self._console = console
        self._answered_by = answered_by
        self._persona_id = persona_id
        self._as_json = as_json
        self._pieces: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._started = time.perf_counter()
        self._first = 0.0
        width = Console().width if sys.stdout.isatty() else None
        self._writer = WordWriter(sys.stdout.write, width)

    def print_text(self, text: str) -> None:
        if not self._pieces:
            self._first = time.perf_counter() - self._started
            self.waiting.stop()
        self._pieces.append(text)
        if not self._as_json:
            self._writer.add(text)
            sys.stdout.flush()

    def withdraw(self) -> None:
        """
        Drop the text, because it was reasoning.

        A terminal has shown it already, and the answer follows below it.
        """
        self.break_line()
        self._pieces.clear()

    def note_call(self, call: ServerCall) -> None:
        self.waiting.update(f"{call.name}: {call.target} …")
        if self._pieces:
            self.break_line()
            self._pieces.append("\n\n")

    def note_outcome(self, outcome: ServerOutcome) -> None:
        call = outcome.call
        self._calls.append(
            {
                "name": call.name,
                "arguments": call.arguments,
                "status": outcome.status,
                "duration_ms": outcome.milliseconds,
                "result": outcome.summary,
                **({"sources": outcome.sources} if outcome.sources else {}),
            }
        )
        if not self._as_json:
            line = f"{call.name} ({outcome.status}, {outcome.milliseconds} ms): {outcome.summary}"
            sources = [f"  [{one.number}] {one.title} · {one.url}" for one in outcome.sources]
            self._console.print("\n".join([line, *sources]), style="dim", markup=False, soft_wrap=True)

    def break_line(self) -> None:
        if self._pieces and not self._as_json:
            self._writer.add("\n")

    def finish(self, done: RunCompleted) -> None:
        seconds = time.perf_counter() - self._started
        self.break_line()
        if self._as_json:
            print_json(
                {
                    "text": "".join(self._pieces),
                    "persona_id": self._persona_id,
                    "finish_reason": done.reason,
                    "answered_by": self._answered_by,
                    **({"tool_calls": self._calls} if self._calls else {}),
                    "usage": done.usage,
                    "seconds": round(seconds, 3),
                    "seconds_to_first_token": round(self._first, 3),
                    **({"analysis": done.analysis} if done.analysis is not None else {}),
                }
            )
            return
        if done.analysis is not None:
            shown = Console(highlight=False)
            for part in draw_analysis(done.analysis, "".join(self._pieces)):
                shown.print(part)
        if self._console.is_terminal:
            cut = " · cut by the token limit" if done.reason == "length" else ""
            self._console.print(f"[dim]{done.usage.output_tokens} tokens in {seconds:.1f} s{cut}[/]")
