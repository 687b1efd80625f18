"""
Open the part that answers the questions of a command: a running server, or a model in this process.

    Asking        the choices of the command: a server, a model, tools, a workspace
    open_answers  → Answers, whose `run` yields the events of one question
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace
from rich.console import Console

from mavera.accounts.principal import Principal
from mavera.cli.progress import wait_until_ready
from mavera.cli.remote import Remote, find_remote_persona, open_remote
from mavera.cli.store import load_personas
from mavera.core.events import Event
from mavera.core.ids import is_cuid
from mavera.core.items import Message
from mavera.core.prompt import ToolChoice
from mavera.core.turn import Turn
from mavera.errors import PersonaNotFound
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.models.choice import choose_shared_model, choose_vision_model
from mavera.models.config import DEFAULT_NAME
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.sharing import SharedEngineInfo, find_shared_engine
from mavera.models.model import Model
from mavera.models.named import NamedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.custom import CustomPersona
from mavera.personas.persona import Persona
from mavera.runs.images import ImageLimits, ImageStep
from mavera.runs.loop import Runner
from mavera.services import make_image_reader, open_named_model, start_model
from mavera.settings import Settings
from mavera.tools.choice import make_lookup_tools
from mavera.tools.toolbox import Toolbox, ToolPolicy

# A persona of the library, one of the workspace here, or the id of one that only the asked server knows.
FoundPersona = Persona | CustomPersona | str


@dataclass(frozen=True, slots=True)
class Asking:
    """
    The choices of a command: who answers it, and with what.

    `shared` is the engine of a server that runs on the same data directory. `uses_tools` lets the model
    search and read pages. A `remote` server decides that itself.
    """

    settings: Settings
    model: str
    remote: Remote | None = None
    shared: SharedEngineInfo | None = None
    people: Personas | None = None
    uses_tools: bool = False

    @property
    def answered_by(self) -> str:
        """The URL of the server that answers, or "this process"."""
        if self.remote is not None:
            return self.remote.url
        return self.shared.server_url if self.shared is not None and self._is_embedded else "this process"

    @property
    def announcement(self) -> str:
        """A line about who answers. It is empty if the settings say it."""
        if self.remote is not None:
            return f"The server at {self.remote.url} answers."
        if not self._is_embedded:
            return ""
        if self.shared is not None:
            return f"The model of the running server at {self.shared.server_url} answers."
        return "This command loads the model for itself. `mavera serve` keeps it loaded."

    @property
    def _is_embedded(self) -> bool:
        return self.model == DEFAULT_NAME and self.settings.backend == "embedded"


class Answers(Protocol):
    """Whatever answers. Closing the iterator of a run stops its work."""

    def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        """Yield the events of `turn`. Raises APIError before the answer begins."""
        ...


class LocalAnswers:
    """The answers of a model in this process, or of the loaded model of a running server."""

    def __init__(self, named: NamedModel, runner: Runner, toolbox: Toolbox | None) -> None:
        self._named = named
        self._runner = runner
        self._toolbox = toolbox

    def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        turn = self._named.prepare(turn)
        if self._toolbox is None:
            turn = replace(turn, tool_choice=ToolChoice("none"))
        elif isinstance(self._named.model, EmbeddedModel):
            turn = replace(turn, tool_choice=_choose_tool(self._toolbox, turn))
        return self._runner.run(turn, Principal.local())


def find_persona(
    persona: str | None, *, remote: Remote | None, data_dir: Path | None, workspace: str | None
) -> FoundPersona | None:
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
        known = persona if is_cuid(persona) else asyncio.run(find_remote_persona(remote, persona))
        if known is None:
            raise
        return known


def gather_personas(found: Iterable[FoundPersona | None]) -> Personas:
    """Return the library together with the custom personas in `found`."""
    return Personas(PersonaLibrary.load(), more=[one for one in found if isinstance(one, CustomPersona)])


def get_id(found: FoundPersona | None) -> str | None:
    return found if found is None or isinstance(found, str) else found.id


def find_running_engine(settings: Settings) -> SharedEngineInfo | None:
    """Return the engine of the server that runs on the same data directory. None without one of our own."""
    return find_shared_engine(settings.data_dir) if settings.backend == "embedded" else None


@asynccontextmanager
async def open_answers(asking: Asking, console: Console) -> AsyncIterator[Answers]:
    """
    Open the server or the model, and close it at the end of the block.

    `console` shows how far the model is loaded.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        if asking.remote is not None:
            yield await enter(open_remote(asking.remote))
            return
        settings, people = asking.settings, asking.people or Personas(PersonaLibrary.load())
        named = await enter(_open_model(asking, people))
        await wait_until_ready(named.model, console, load_progress=_get_load_progress(named.model))
        toolbox = await _open_toolbox(settings, stack, console) if asking.uses_tools else None
        vision = choose_vision_model(settings) if asking.model == DEFAULT_NAME else None
        runner = Runner(
            people,
            {"live": named.model},
            images=_make_image_step(settings, stack),
            vision=await enter(start_model(vision)) if vision is not None else None,
            tools={"live": toolbox or Toolbox()},
        )
        yield LocalAnswers(named, runner, toolbox)


@asynccontextmanager
async def _open_model(asking: Asking, people: Personas) -> AsyncIterator[NamedModel]:
    """Start the model that answers a command: the one of a running server if there is one."""
    settings, shared, default = asking.settings, asking.shared, None
    if shared is not None:
        # The settings may have changed since that server was started.
        path = None if shared.model else Path(shared.model_path)
        settings = replace(settings, model=shared.model or settings.model, model_path=path)
        default = choose_shared_model(settings, shared)
    async with open_named_model(settings, asking.model, people, default) as named:
        yield named


def _make_image_step(settings: Settings, stack: AsyncExitStack) -> ImageStep:
    reader = make_image_reader(settings)
    if reader is not None:
        stack.push_async_callback(reader.close)
    return ImageStep(GuardedFetch(FetchPolicy.from_settings(settings)), reader, ImageLimits.of(settings))


async def _open_toolbox(settings: Settings, stack: AsyncExitStack, console: Console) -> Toolbox:
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
    asked = next((item.text for item in reversed(turn.items) if isinstance(item, Message)), "")
    wanted = "tavily_extract" if "://" in asked else "tavily_search"
    if any(tool.name == wanted and tool.provider for tool in toolbox.tools):
        return ToolChoice("required", (wanted,))
    return turn.tool_choice


def _get_load_progress(model: Model) -> Callable[[], float | None]:
    return model.engine.load_progress if isinstance(model, EmbeddedModel) else lambda: None
