"""
Build the documentation's site from docs/, and check that it is whole.

    .venv/bin/python -m docs_site.build_site      writes build/site

Zensical draws the pages. Each page is also there as Markdown, `llms.txt` lists them, and `llms-full.txt`
holds them all. A link that leads nowhere, to a page, an anchor or a picture, ends the build with an error.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mavera.api.routes.manual import list_pages, write_full_text, write_summary

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"
SITE = BUILD / "site"
# The order of the sections. Pages within one are sorted by the list in its index, then by name.
SECTIONS = ("tutorial", "how-to", "reference", "explanation", "decisions")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def build_site() -> Path:
    """Build the site and return its folder. Raises SystemExit if zensical fails or a link leads nowhere."""
    pages = BUILD / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(DOCS, pages)
    for page in pages.rglob("*.md"):
        page.write_text(
            cut_outside_links(page.read_text(encoding="utf-8"), page.parent, pages), encoding="utf-8"
        )
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    written = BUILD / "zensical.toml"
    navigation = f"[project]\nnav = [\n{write_navigation(pages)}]\n"
    config = config.replace("[project]\n", navigation, 1)
    written.write_text(config.replace('"docs"', '"pages"').replace('"build/site"', '"site"'))
    zensical = Path(sys.executable).parent / "zensical"
    done = subprocess.run(
        [zensical, "build", "-f", written], cwd=BUILD, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    for page in pages.rglob("*.md"):
        target = SITE / page.relative_to(pages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, target)
    documents = list_pages(pages)
    (SITE / "llms.txt").write_text(write_summary(documents, ""), encoding="utf-8")
    (SITE / "llms-full.txt").write_text(write_full_text(documents), encoding="utf-8")
    broken = find_broken_links(SITE)
    if broken:
        raise SystemExit("These links lead nowhere:\n" + "\n".join(broken))
    return SITE


def cut_outside_links(text: str, folder: Path, root: Path) -> str:
    """Return the page with plain text where a link leaves docs/: the site does not have those files."""

    def cut(match: re.Match[str]) -> str:
        target = urlsplit(match[2])
        if target.scheme or not target.path:
            return match[0]
        inside = (folder / target.path).resolve().is_relative_to(root.resolve())
        return match[0] if inside else match[1]

    return _LINK.sub(cut, text)


def write_navigation(pages: Path) -> str:
    """Return the lines of the navigation: the front page, then each section with its pages by title."""
    lines = ['  { "mavera" = "index.md" },']
    for section in SECTIONS:
        lines.append(f'  {{ "{section.capitalize()}" = [')
        for page in order_pages(pages / section):
            title = read_title(page).replace('"', "'")
            lines.append(f'    {{ "{title}" = "{page.relative_to(pages).as_posix()}" }},')
        lines.append("  ] },")
    return "\n".join(lines) + "\n"


def order_pages(folder: Path) -> list[Path]:
    """Return a section's pages: the index, those that the index links to in its order, then the others."""
    index = next((path for name in ("index.md", "README.md") if (path := folder / name).exists()), None)
    listed = [] if index is None else [index, *_list_targets(index)]
    others = sorted(folder.rglob("*.md"))
    return list(dict.fromkeys(path for path in [*listed, *others] if path in others))


def _list_targets(page: Path) -> Iterator[Path]:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        yield (page.parent / urlsplit(match[2]).path).resolve()


def read_title(page: Path) -> str:
    """Return the page's first heading."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    return page.stem


class _Page(HTMLParser):
    """Collect the anchors of a page, and what it links to and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.targets.append(value)


def find_broken_links(site: Path) -> list[str]:
    """Return `page: target` for each link to a file or an anchor of the site that is not there."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target.startswith("/"):
                continue
            wanted = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if wanted.is_dir():
                wanted /= "index.html"
            known = pages[wanted].anchors if wanted in pages else None
            if not wanted.exists() or (parts.fragment and known is not None and parts.fragment not in known):
                broken.append(f"{path.relative_to(site)}: {target}")
    return broken


def main() -> None:
    """Build, and say where the site is."""
    site = build_site()
    print(f"{len(list(site.rglob('*.html')))} pages in {site.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
