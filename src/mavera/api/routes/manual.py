"""
The documentation as text, for people and programs that read Markdown.

    GET /llms.txt             what mavera is, and a link to each page
    GET /llms-full.txt        all pages in one text
    GET /manual/{page}.md     a page
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import mavera
from mavera.errors import NotFound

# The order of the sections in both texts. Decisions are for those who change mavera.
_SECTIONS = ("tutorial", "how-to", "reference", "explanation")
_MEDIA_TYPE = "text/markdown; charset=utf-8"
_ABOUT = (
    "# mavera\n\n"
    "> A self-hosted server that answers as personas over OpenAI's wire formats. Any OpenAI client works "
    "after changing `base_url` and adding a `persona_id`.\n"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the documentation. `path` is its place, such as `reference/errors.md`."""

    path: str
    title: str
    text: str


def routes() -> list[BaseRoute]:
    """Return the routes of the documentation's texts. They need no key."""
    return [
        Route("/llms.txt", _show_summary),
        Route("/llms-full.txt", _show_full_text),
        Route("/manual/{path:path}", _show_page),
    ]


async def _show_summary(_: Request) -> Response:
    return Response(write_summary(_load_pages(), "/manual/"), media_type=_MEDIA_TYPE)


async def _show_full_text(_: Request) -> Response:
    return Response(write_full_text(_load_pages()), media_type=_MEDIA_TYPE)


async def _show_page(request: Request) -> Response:
    wanted = request.path_params["path"]
    for page in _load_pages():
        if page.path == wanted:
            return Response(page.text, media_type=_MEDIA_TYPE)
    raise NotFound("There is no such page. GET /llms.txt lists them.")


def find_folder() -> Path | None:
    """Return the folder of the pages: in the package, or beside the sources; None if there is none."""
    package = Path(mavera.__file__).parent
    folders = (package / "manual", package.parents[1] / "docs")
    return next((folder for folder in folders if (folder / "index.md").is_file()), None)


@cache
def _load_pages() -> tuple[Page, ...]:
    folder = find_folder()
    return () if folder is None else list_pages(folder)


def list_pages(folder: Path) -> tuple[Page, ...]:
    """Return the pages below `folder`: the front page, then those of each section by name."""
    files = [
        folder / "index.md",
        *(file for name in _SECTIONS for file in sorted((folder / name).rglob("*.md"))),
    ]
    return tuple(_read_page(file, folder) for file in files)


def _read_page(file: Path, folder: Path) -> Page:
    text = file.read_text(encoding="utf-8")
    heading = next((line[2:] for line in text.splitlines() if line.startswith("# ")), file.stem)
    return Page(file.relative_to(folder).as_posix(), heading.strip(), text)


def write_summary(pages: Sequence[Page], prefix: str) -> str:
    """Return the list of pages in the form of llms.txt, with links below `prefix`."""
    lines = [_ABOUT]
    for section in _SECTIONS:
        lines.append(f"## {section.capitalize()}\n")
        lines += [f"- [{page.title}]({prefix}{page.path})" for page in pages if page.path.startswith(section)]
        lines.append("")
    return "\n".join(lines)


def write_full_text(pages: Sequence[Page]) -> str:
    """Return all pages in one text, each below its path."""
    return "\n\n".join([_ABOUT, *(f"<!-- {page.path} -->\n\n{page.text}" for page in pages)])
