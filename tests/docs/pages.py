"""The pages as the tests read them: sections, tables, links."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

_HEADING = re.compile(r"^#+ (.*)$")
_CELLS = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def sections(page: Path) -> dict[str, str]:
    """Return the text under each heading, up to the next heading of any level."""
    found: dict[str, list[str]] = {}
    fenced = False
    current: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading:
            current = found.setdefault(heading[1], [])
        else:
            current.append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row, without headers and rules."""
    lines = text.splitlines()
    return [
        [cell.strip() for cell in _CELLS.split(line)[1:-1]]
        for number, line in enumerate(lines)
        if line.startswith("|") and number > 1 and lines[number - 1].startswith("|") and not _is_rule(line)
    ]


def _is_rule(line: str) -> bool:
    return not set(line) - set("|-: ")


def ticked(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links that lead to another file or heading of the repository."""
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    return [target for target in targets if not target.startswith(("http://", "https://", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in sections(page)}
