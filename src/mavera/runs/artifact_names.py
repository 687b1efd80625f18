"""
Choose the name and the type of an artifact.

    ```python Sorting a list      →  code, "Sorting a list", python, sorting-a-list
    <artifact type="text/html" …> →  html, …

A model may use any names. The result is one of our types, a title on one line, and an identifier that is
unique in the answer.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from mavera.core.artifacts import Artifact, ArtifactType

MAX_TITLE = 120
MAX_IDENTIFIER = 48

_TYPES: Mapping[str, ArtifactType] = {
    **dict.fromkeys(("html", "htm", "xhtml", "text/html"), "html"),
    **dict.fromkeys(("svg", "image/svg+xml"), "svg"),
    **dict.fromkeys(("mermaid", "mmd", "application/vnd.ant.mermaid"), "mermaid"),
    **dict.fromkeys(("csv", "tsv", "text/csv"), "csv"),
    **dict.fromkeys(("json", "jsonc", "application/json"), "json"),
    **dict.fromkeys(
        ("", "document", "markdown", "md", "mdx", "text", "txt", "plaintext", "plain", "text/markdown"),
        "document",
    ),
    **dict.fromkeys(("code", "application/vnd.ant.code"), "code"),
}
_DEFAULT_TITLES: Mapping[ArtifactType, str] = {
    "code": "Code",
    "document": "Document",
    "html": "HTML page",
    "svg": "SVG image",
    "mermaid": "Mermaid diagram",
    "csv": "CSV data",
    "json": "JSON data",
}
# These beginnings reveal the type of a block whose fence names no language, or only that of its syntax.
_TELLTALES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\s*(<\?xml[^>]*>\s*)?<svg\b", re.I), "svg"),
    (re.compile(r"\s*<(!doctype html|html)\b", re.I), "html"),
    (
        re.compile(r"\s*(graph (TD|TB|LR|RL|BT)|flowchart |sequenceDiagram|classDiagram|gantt|pie\b)"),
        "mermaid",
    ),
)
_VAGUE = frozenset({"", "xml", "html", "text", "txt", "plaintext"})
_INFO = re.compile(r"\s*\{?\.?(?P<language>[\w+#.-]*)[:\s]*(?P<rest>.*?)\}?\s*", re.DOTALL)
_TITLE_WORD = re.compile(r"""(?:title|filename|file|name)\s*[=:]\s*""", re.I)
_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(?P<title>.*?)[\s#]*|\s*\*\*(?P<bold>[^*]+?):?\*\*:?\s*")


class Label(msgspec.Struct, frozen=True):
    """The members that the model wrote for a block."""

    language: str = ""
    type: str = ""
    title: str = ""
    identifier: str = ""


def from_info(info: str) -> Label:
    """Read the text behind the backticks of a fence."""
    match = _INFO.fullmatch(info)
    if match is None:
        return Label()
    title = _TITLE_WORD.sub("", match["rest"], count=1).strip(" \t\"'()[]")
    return Label(match["language"].lower(), title=title)


def from_attributes(text: str) -> Label:
    """Read the attributes of a tag that the model wrote itself."""
    found = {name.lower(): first or second for name, first, second in _ATTRIBUTE.findall(text)}
    return Label(
        found.get("language", "").strip().lower(),
        found.get("type", "").strip().lower(),
        found.get("title", "") or found.get("name", ""),
        found.get("identifier", "") or found.get("id", ""),
    )


def heading_of(line: str) -> str:
    """Return the title in a line of prose if it is a heading or in bold, otherwise an empty text."""
    match = _HEADING.fullmatch(line)
    return (match["title"] or match["bold"] or "").strip() if match else ""


def settle(label: Label, first_line: str, heading: str, taken: Iterable[str]) -> Artifact:
    """Return the artifact that begins with `first_line` below `heading`."""
    language = _find_language(label.language, first_line)
    kind = _find_type(label.type, language)
    title = _join_lines(label.title) or _join_lines(heading) or _build_default_title(kind, language)
    return Artifact(
        identifier=_free(_build_slug(label.identifier or title) or kind, frozenset(taken)),
        type=kind,
        title=title,
        language=language or ("markdown" if kind == "document" else "" if kind == "code" else kind),
    )


def _find_language(named: str, first_line: str) -> str:
    if named in _VAGUE:
        for telltale, language in _TELLTALES:
            if telltale.match(first_line):
                return language
    return named


def _find_type(named: str, language: str) -> ArtifactType:
    if named in _TYPES and named:
        return _TYPES[named]
    return _TYPES.get(language, "code")


def _build_default_title(kind: ArtifactType, language: str) -> str:
    return f"{language.capitalize()} code" if kind == "code" and language else _DEFAULT_TITLES[kind]


def _join_lines(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_TITLE].strip()


def _build_slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:MAX_IDENTIFIER].strip("-")


def _free(wanted: str, taken: frozenset[str]) -> str:
    """Return `wanted`, with a number if another artifact has that name already."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name
