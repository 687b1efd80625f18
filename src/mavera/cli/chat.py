"""
Run `mavera chat`: a conversation with a persona at the terminal.

    > a question                      the answer follows, word-wrapped
    > \"\"\"                          the start and the end of a question of several lines
    > /image FILE_OR_URL              shows an image with the next question
    > /new, /help, /exit              Ctrl-D leaves too

Ctrl-C stops the answer that is being printed and nothing else: closing its run frees the model, and a
server charges the part that it has sent. Between two questions the event loop rests, because `input` waits.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console

from mavera.cli.answer_printer import AnswerPrinter
from mavera.cli.answering import (
    Answers,
    Asking,
    FoundPersona,
    find_persona,
    find_running_engine,
    gather_personas,
    get_id,
    open_answers,
)
from mavera.cli.conversation import Conversation, read_conversation
from mavera.cli.image_files import read_image
from mavera.cli.options import (
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
from mavera.core.prompt import Sampling
from mavera.core.text import format_count
from mavera.core.turn import Turn
from mavera.errors import APIError, ConfigurationError
from mavera.settings import load_settings

app = typer.Typer(add_completion=False)

_PROMPT, _MORE, _FENCE = "> ", "… ", '"""'
_HELP = f"""\
/image FILE_OR_URL   Show an image with the next question.
/new                 Forget this conversation, and begin a new one.
/exit                Leave. Ctrl-D does the same.
{_FENCE}                  Begin and end a question of several lines with this.
Ctrl-C               Stop the answer that is being printed."""


@app.command()
def chat(
    persona: AskPersona = None,
    image: GivenImages = None,
    instructions: Instructions = None,
    verbosity: VerbosityOption = "medium",
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    model: ModelOption = "mavera-1",
    tools: UseTools = False,
    file: Annotated[
        Path | None,
        typer.Option(help="Keep the conversation in this file, and continue it if the file exists."),
    ] = None,
    url: AskedServer = None,
    key: ServerKey = "",
    alone: AskAlone = False,
    workspace: InWorkspace = None,
    data_dir: DataDir = None,
) -> None:
    """Talk with a persona at the terminal. It remembers what was said."""
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "A conversation needs a terminal, and the standard input is none. To ask one question from a "
            "file or a pipe, type: mavera ask - < question.txt"
        )
    settings = load_settings(data_dir=data_dir)
    remote = Remote.of(url, key)
    conversation = read_conversation(file) if file is not None else Conversation()
    for one in image or ():
        conversation.show(read_image(one, most_bytes=settings.image_max_bytes))
    found = find_persona(
        persona or conversation.persona_id, remote=remote, data_dir=data_dir, workspace=workspace
    )
    conversation.persona_id = get_id(found)
    shared = None if alone or remote else find_running_engine(settings)
    asking = Asking(settings, model, remote, shared, gather_personas([found]), uses_tools=tools)
    turn = Turn(
        model=model,
        items=(),
        persona_id=get_id(found),
        instructions=instructions,
        max_output_tokens=max_tokens,
        sampling=Sampling(temperature=temperature),
        verbosity=verbosity,
        truncation="auto",
    )
    _Chat(asking, turn, conversation, file).hold(_name(found))


def _name(found: FoundPersona | None) -> str:
    if found is None:
        return "The model, without a persona,"
    return f"The persona {found}" if isinstance(found, str) else found.name


class _Chat:
    """A conversation at the terminal. `file` keeps it, if there is one."""

    def __init__(self, asking: Asking, turn: Turn, conversation: Conversation, file: Path | None) -> None:
        self._asking = asking
        self._turn = turn
        self._conversation = conversation
        self._file = file
        self._console = Console(stderr=True, highlight=False)

    def hold(self, name: str) -> None:
        """Ask every question that is typed, until the person leaves."""
        with suppress(ImportError):
            import readline  # noqa: F401, PLC0415 - gives `input` its keys and its history; Windows has none
        self._note(self._asking.announcement)
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            try:
                answers = runner.run(stack.enter_async_context(open_answers(self._asking, self._console)))
                self._note(f"{name} answers. /help lists the commands, /exit leaves.")
                if self._conversation.length:
                    self._note(f"It goes on after {format_count(self._conversation.length, 'question')}.")
                with _on_ctrl_c(_do_nothing):
                    while (question := self._read_question()) is not None:
                        self._ask(runner, answers, question)
            finally:
                runner.run(stack.aclose())

    def _read_question(self) -> str | None:
        """Return the next question, after any commands before it. None if the person leaves."""
        while True:
            try:
                text = _read_lines().strip()
            except EOFError:
                typer.echo()
                return None
            except KeyboardInterrupt:
                typer.echo()
                self._note("Type /exit, or press Ctrl-D, to leave.")
                continue
            if not text.startswith("/"):
                if text:
                    return text
                continue
            command, _, rest = text.partition(" ")
            if command in ("/exit", "/quit"):
                return None
            self._obey(command, rest.strip())

    def _obey(self, command: str, rest: str) -> None:
        match command:
            case "/help":
                self._note(_HELP)
            case "/new":
                self._conversation.clear()
                self._note("The conversation begins anew.")
            case "/image" if rest:
                self._show(rest)
            case "/image":
                self._note("Name a file or a URL: /image photo.jpg")
            case _:
                self._note(f"There is no command {command}. /help lists the commands.")

    def _show(self, path_or_url: str) -> None:
        try:
            self._conversation.show(read_image(path_or_url, most_bytes=self._asking.settings.image_max_bytes))
        except ConfigurationError as error:
            self._complain(str(error))
            return
        self._note("The next question shows it.")

    def _ask(self, runner: asyncio.Runner, answers: Answers, question: str) -> None:
        """Print the answer. After a Ctrl-C, the part that was printed belongs to the conversation."""
        if self._conversation.ask(question):
            self._note("The conversation is long. Its oldest questions are left out from here on.")
        turn = replace(self._turn, items=tuple(self._conversation.items))
        printer = AnswerPrinter(self._console, self._asking.answered_by)
        try:
            if not runner.run(_print_answer(printer, answers, turn)):
                self._note("The answer was stopped.")
        except APIError as error:
            self._complain(error.message)
        if self._conversation.answer(printer.text):
            self._note("The image was not kept with the question. Show it again with /image.")
        typer.echo()
        if self._file is not None:
            self._conversation.write(self._file)

    def _note(self, text: str) -> None:
        if text:
            self._console.print(text, style="dim", markup=False)

    def _complain(self, text: str) -> None:
        self._console.print(text, style="red", markup=False)


async def _print_answer(printer: AnswerPrinter, answers: Answers, turn: Turn) -> bool:
    """Print the answer, and return True. After a Ctrl-C, stop its run and return False. Raises APIError."""
    # A connection that the server ended while the loop rested is noticed now, and not used again.
    await asyncio.sleep(0)
    answering = asyncio.create_task(printer.print(answers.run(turn)))
    with _cancel_on_ctrl_c(answering):
        await asyncio.wait([answering])
    if answering.cancelled():
        return False
    answering.result()
    return True


@contextmanager
def _cancel_on_ctrl_c(task: asyncio.Task[None]) -> Iterator[None]:
    """Let the first Ctrl-C cancel `task`. Further ones do not disturb its ending."""
    loop, is_cancelled = task.get_loop(), False

    def cancel(*_: object) -> None:
        nonlocal is_cancelled
        if not is_cancelled:
            is_cancelled = True
            loop.call_soon_threadsafe(task.cancel)

    with _on_ctrl_c(cancel):
        yield


@contextmanager
def _on_ctrl_c(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _do_nothing(*_: object) -> None:
    """Take a Ctrl-C between a question and its answer, which must not end the conversation."""


def _interrupt_once(*_: object) -> None:
    # The second of two may come before the first is caught.
    signal.signal(signal.SIGINT, _do_nothing)
    raise KeyboardInterrupt


def _read_lines() -> str:
    """Return one line, or all lines between two fences. Raises EOFError, or KeyboardInterrupt on Ctrl-C."""
    with _on_ctrl_c(_interrupt_once):
        line = input(_PROMPT)
        if not line.strip().startswith(_FENCE):
            return line
        lines = [line.strip().removeprefix(_FENCE)]
        while not lines[-1].endswith(_FENCE):
            lines.append(input(_MORE))
        return "\n".join(lines).removesuffix(_FENCE)
