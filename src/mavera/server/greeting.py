"""
Tell the user of a new server what a first request needs, and let the model get ready for it meanwhile.

    at once           the address, the data directory, and the key if this is the first start
    when it is ready  the first call, whose persona the model has read by then
    if it cannot be   what is wrong with it, and the first call for later

Meanwhile the commands of the same data directory learn which engine runs here.
"""

import asyncio
import sys

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mavera.models.embedded.memory import describe_suggestion, measure_memory
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.process import EngineAddress
from mavera.models.embedded.pull import resolve_model
from mavera.models.embedded.sharing import Announcement, SharedEngineInfo
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.model import Model, ModelStatus
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.likely import FIRST_PERSONA
from mavera.personas.prompt import build_library_prefix
from mavera.settings import Settings

log = structlog.get_logger()

QUESTION = "How do you feel about sustainable fashion?"
_POLL_SECONDS = 0.05


class Greeting:
    """
    Greets the user of a server. `key` is None unless this is the first start. `link` signs the user in to the
    console.

    `announcement` is None if no engine runs here, or another server of this data directory has announced its.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        key: str | None,
        announcement: Announcement | None,
        link: str | None = None,
    ) -> None:
        self._settings = settings
        self._url = url
        self._key = key
        self._announcement = announcement
        self._link = link
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def print_address(self) -> None:
        show = self._console.print
        show(f"[bold]mavera[/] at {self._url}/api/v1   docs: [link]{self._url}/docs[/link]")
        show(f"data in {self._settings.data_dir}")
        if self._key is not None:
            show(f"\nYour API key, shown this once: [bold green]{self._key}[/]")
        else:
            show("\nYour API key was shown at the first start; 'mavera keys create' makes another.")
        if self._link is not None:
            show(f"\nOpen the console, with this link, once and within ten minutes:\n  {self._link}")
        elif self._settings.console == "on":
            show(f"The console is at {self._url}/console; 'mavera console' prints a link to sign in.")
        sys.stdout.flush()

    def print_fault(self, status: ModelStatus) -> None:
        self._console.print(f"\nThe model cannot answer yet. {status.detail}", style="yellow", markup=False)

    def print_first_call(self) -> None:
        persona = PersonaLibrary.load().find(FIRST_PERSONA)
        self._console.print("\nTry it:\n")
        body = f'{{"model": "mavera-1", "persona_id": "{persona.id}", "input": "{QUESTION}"}}'
        self._console.print(
            f"  curl {self._url}/api/v1/responses \\\n"
            f"    -H 'Authorization: Bearer {self._key or 'mvra_live_…'}' \\\n"
            f"    -H 'Content-Type: application/json' \\\n"
            f"    -d '{body}'\n",
            markup=False,
        )
        suggestion = describe_suggestion(self._settings, measure_memory())
        if suggestion is not None:
            self._console.print(f"{suggestion}\n", style="dim", markup=False)
        sys.stdout.flush()

    async def greet(self, model: Model | None) -> None:
        """Print the first call as soon as `model` is ready for it, or at once if it cannot get ready."""
        if isinstance(model, EmbeddedModel) and isinstance(model.engine, EmbeddedEngine):
            self._announce(model.engine, self._announcement)
        if isinstance(model, EmbeddedModel) and self._settings.embedded_start == "startup":
            try:
                await self._prepare(model)
            except Exception as error:  # the first call works all the same, only later
                log.exception("greeting_failed", error=type(error).__name__)
            if (status := model.status()).state == "unavailable":
                self.print_fault(status)
        self.print_first_call()

    def _announce(self, engine: EmbeddedEngine, announcement: Announcement | None) -> None:
        """Tell the commands of this data directory where the engine is, now and after each restart."""
        if announcement is None:
            return

        def tell() -> None:
            state, address = engine.status().state, engine.address
            if state == "starting" or address is not None:
                announcement.write(self._describe(engine, address))
            else:
                announcement.withdraw()

        engine.watch(tell)

    def _describe(self, engine: EmbeddedEngine, address: EngineAddress | None) -> SharedEngineInfo:
        settings = self._settings
        return SharedEngineInfo(
            server_url=self._url,
            model="" if settings.model_path else settings.model,
            model_path=str(resolve_model(settings) or ""),
            context_tokens=engine.context_tokens,
            base_url=address.base_url if address else "",
            api_key=address.api_key if address else "",
        )

    async def _prepare(self, model: EmbeddedModel) -> None:
        """Load the model and let it read the persona of the first call, with a bar on a terminal."""
        progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        with progress:
            task = progress.add_task("Loading the model", total=1.0)
            while model.status().state == "starting":
                done = model.engine.load_progress()
                progress.update(task, completed=done or 0.0, total=None if done is None else 1.0)
                await asyncio.sleep(_POLL_SECONDS)
            if model.status().state != "ready" or model.profile.read_prefix is None:
                return
            progress.update(task, description=f"Reading {FIRST_PERSONA}", completed=0.0, total=1.0)

            def show(read: int, total: int) -> None:
                progress.update(task, completed=read / total)

            prefix = build_library_prefix(PersonaLibrary.load().find(FIRST_PERSONA))
            await model.profile.read_prefix(prefix, show)
