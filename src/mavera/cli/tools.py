"""Run `mavera tools`: show the setup of the server tools, allow them to workspaces, and list calls."""

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from mavera.accounts.audit import Actor
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.cli.options import AsJSON, DataDir, format_day, format_time, print_json, print_line
from mavera.cli.store import InWorkspace, choose_workspace, with_database
from mavera.cli.tables import Shown, print_table
from mavera.core.text import format_count
from mavera.errors import APIError, ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.fetch.page_reader import PageReader, is_installed
from mavera.media.store import MediaStore
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.tools import audit
from mavera.tools.allowances import allow_tools, find_allowed_tools
from mavera.tools.choice import OWN_TOOLS, Parts, choose_media_files, choose_tools, open_tool_sources
from mavera.tools.mcp.config import load_mcp_config
from mavera.tools.search.index import Document, SearchIndex
from mavera.tools.search.tavily_extract import FetchedPages, read_document
from mavera.tools.tool import Tool, ToolFailed, one_line
from mavera.tools.toolbox import Toolbox, ToolSource, matches

SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst", ".html", ".htm", ".csv"})
MOST_FILE_BYTES = 10 * 1024 * 1024

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List the server tools, and allow them to workspaces."
)
index = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Keep documents that tavily_search finds without a key."
)
app.add_typer(index, name="index")
_CALL_COLUMNS = (
    Shown("when"),
    Shown("tool"),
    Shown("provider", is_text=True),
    Shown("status"),
    Shown("ms", is_number=True),
    Shown("characters", is_number=True, is_extra=True),
    Shown("run", is_extra=True),
)
_DOCUMENT_COLUMNS = (
    Shown("address"),
    Shown("title", is_text=True),
    Shown("characters", is_number=True, is_extra=True),
    Shown("added", is_extra=True),
)


@app.command("list")
def list_tools(workspace: InWorkspace = None, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the tools (also those of MCP servers), their providers, and whether a workspace may use them."""

    async def find(database: Database, settings: Settings) -> list[dict[str, object]]:
        workspace_id = workspace or await find_first_workspace_id(database)
        allowed = await find_allowed_tools(database, workspace_id) if workspace_id else None
        media = MediaStore(database, settings, choose_media_files(settings))
        tools = choose_tools(settings, Parts(GuardedFetch(FetchPolicy.from_settings(settings)), media))
        toolbox = Toolbox(tools, sources=open_tool_sources(settings))
        try:
            await toolbox.start_sources()
            return [
                *(_describe_tool(tool, allowed) for tool in toolbox.tools),
                *(_describe_absence(source, allowed) for source in toolbox.away),
                *(row for source in toolbox.sources for row in _describe_omissions(source)),
            ]
        finally:
            for tool in tools:
                await tool.close()
            await toolbox.close()

    found = with_database(data_dir, find)
    if as_json:
        print_json(found)
        return
    table = Table(Column("tool", no_wrap=True), "provider", "allowed", "to set it up")
    for row in found:
        allowed = "yes" if row["allowed"] else "no"
        table.add_row(str(row["name"]), str(row["provider"] or "none"), allowed, str(row["to_set_up"] or ""))
    Console().print(table)


def _describe_tool(tool: Tool, allowed: frozenset[str] | None) -> dict[str, object]:
    return {
        "name": tool.name,
        "provider": tool.provider or None,
        "allowed": allowed is None or matches(tool.name, allowed),
        "to_set_up": None if tool.provider else tool.setting,
    }


def _describe_absence(source: ToolSource, allowed: frozenset[str] | None) -> dict[str, object]:
    """Return the row of an MCP server that has no tools at the moment."""
    return {
        "name": f"{source.label}__*",
        "provider": None,
        "allowed": allowed is None or any(name.startswith(f"{source.label}__") for name in allowed),
        "to_set_up": "the MCP server cannot be reached, or has no tools that can be offered",
    }


def _describe_omissions(source: ToolSource) -> Iterator[dict[str, object]]:
    """Yield the rows of an MCP server's tools that cannot be offered, with the reasons."""
    for name, reason in source.left_out.items():
        yield {
            "name": f"{source.label}: {one_line(name, 64)}",
            "provider": None,
            "allowed": False,
            "to_set_up": f"left out: {reason}",
        }


@app.command()
def allow(
    names: Annotated[
        list[str],
        typer.Argument(help="The tools' names, 'all', 'none', or shop__* for an MCP server."),
    ],
    workspace: InWorkspace = None,
    data_dir: DataDir = None,
) -> None:
    """Set the tools that a workspace may use. A running server follows within a second."""
    chosen = None if names == ["all"] else () if names == ["none"] else tuple(names)

    async def change(database: Database, settings: Settings) -> str:
        _check_names(settings, chosen or ())
        workspace_id = await choose_workspace(database, workspace)
        await allow_tools(database, workspace_id, chosen, Actor.of_command(), now=int(time.time()))
        return workspace_id

    workspace_id = with_database(data_dir, change)
    print_line(f"{workspace_id} may use: {' '.join(names)}")


def _check_names(settings: Settings, names: tuple[str, ...]) -> None:
    """
    Raise ConfigurationError for an unknown name, because allowing it alone would turn all other tools off.

    MCP servers may be down, so the names of their tools are checked up to the label only.
    """
    configs = load_mcp_config(settings.resolved_mcp_config, required=settings.mcp_config is not None)
    labels = set(configs)
    known = [*OWN_TOOLS, *(f"{label}__*" for label in sorted(labels))]
    for name in names:
        label, separator, tool = name.partition("__")
        if name in OWN_TOOLS or (separator and tool and label in labels):
            continue
        if name in ("all", "none"):
            raise ConfigurationError(f"'{name}' must stand alone: mavera tools allow {name}")
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(known)}."
        raise ConfigurationError(f"There is no tool '{name[:80]}'.{hint} Nothing was changed.")


@app.command()
def calls(
    workspace: InWorkspace = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The number of calls to show.")] = 20,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Show the newest tool calls of a workspace."""

    async def find(database: Database, _: Settings) -> list[dict[str, object]]:
        workspace_id = await choose_workspace(database, workspace)
        return [dict(row) for row in await audit.recent(database, workspace_id, limit=limit)]

    found = with_database(data_dir, find)
    if as_json:
        print_json(found)
        return
    members = ("tool", "provider", "status", "milliseconds", "characters", "run_id")
    rows = [
        (format_time(int(str(row["created_at"]))), *(str(row[member]) for member in members)) for row in found
    ]
    print_table(_CALL_COLUMNS, rows, empty="No server tool was called yet.")


@index.command("add")
def add(
    source: Annotated[str, typer.Argument(help="A folder, a file, or the http(s) URL of a page.")],
    data_dir: DataDir = None,
) -> None:
    """Add documents to the index, or update them."""
    settings = load_settings(data_dir=data_dir)
    asyncio.run(_add(settings, source))


@index.command("list")
def list_documents(as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the documents in the index."""
    found = SearchIndex(load_settings(data_dir=data_dir).search_index_path).list_documents()
    if as_json:
        print_json(found)
        return
    rows = [
        (document.url, document.title, f"{document.characters:,}", format_day(document.added_at))
        for document in found
    ]
    print_table(
        _DOCUMENT_COLUMNS, rows, empty="The index is empty. `mavera tools index add FOLDER` fills it."
    )


@index.command("remove")
def remove(
    address: Annotated[
        str, typer.Argument(help="The document's address in the list. A folder removes all below it.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Remove documents from the index."""
    removed = SearchIndex(load_settings(data_dir=data_dir).search_index_path).remove(address)
    if not removed:
        raise ConfigurationError(
            f"The index has no document {address}. List all with 'mavera tools index list'."
        )
    print_line(f"Removed {format_count(removed, 'document')}.")


async def _add(settings: Settings, source: str) -> None:
    target = SearchIndex(settings.search_index_path)
    added = unchanged = skipped = 0
    async with _reading() as reader:
        async for document in _documents(settings, source, reader):
            if document is None:
                skipped += 1
            elif await asyncio.to_thread(target.add, document):
                added += 1
            else:
                unchanged += 1
    print_line(f"{added} added or changed, {unchanged} unchanged, {skipped} without text.")


@asynccontextmanager
async def _reading() -> AsyncIterator[PageReader]:
    reader = PageReader()
    try:
        yield reader
    finally:
        await reader.close()


async def _documents(settings: Settings, source: str, reader: PageReader) -> AsyncIterator[Document | None]:
    if source.startswith(("http://", "https://")):
        yield await _page(settings, source, reader)
        return
    root = await asyncio.to_thread(lambda: Path(source).expanduser().resolve())
    for path, url in await asyncio.to_thread(lambda: list(_files(root))):
        yield await _file(path, url, reader)


async def _page(settings: Settings, url: str, reader: PageReader) -> Document:
    pages = FetchedPages(
        GuardedFetch(FetchPolicy.from_settings(settings)), reader, enabled=settings.fetch_enabled
    )
    try:
        page = await pages.fetch_page(url)
    except ToolFailed as error:
        raise ConfigurationError(f"{url}: {error}") from error
    return Document(url, page.title or url, page.text, page.date)


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files at `root`, each with its address in the index."""
    if root.is_file():
        yield root, f"index:{root.name}"
        return
    if not root.is_dir():
        raise ConfigurationError(f"There is no folder or file {root}.")
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink() and not hidden:
            yield path, f"index:{root.name}/{path.relative_to(root).as_posix()}"


async def _file(path: Path, url: str, reader: PageReader) -> Document | None:
    if (await asyncio.to_thread(path.stat)).st_size > MOST_FILE_BYTES:
        return None
    body = await asyncio.to_thread(path.read_bytes)
    if path.suffix.lower() in (".html", ".htm") and not is_installed():
        raise ConfigurationError(describe_missing_extra("pages", "Reading HTML"))
    try:
        page = await read_document(reader, body, url="", title=path.stem)
    except APIError as error:
        raise ConfigurationError(f"{path}: {error.message}") from error
    return Document(url, page.title or path.stem, page.text, page.date) if page is not None else None
