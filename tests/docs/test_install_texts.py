"""
No text installs this project from a package index by name.

There the name `mavera` is another project's, and nobody has registered `mavera-server`. The tests walk
every text file under version control, code and its messages included: an install command must name a
path (`.`, `-e '.[ocr]'`, a wheel file), and no text may show an extra as `NAME[extra]`.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

# Minified code: long lines of other people's words.
DATA = {"swagger-ui-bundle.js", "swagger-ui.css"}
# This file holds the bad examples; the name's own page explains them.
EXEMPT = {Path(__file__)}

_OURS = r"mavera(?:[-_.]+server)?"
_COMMANDS = re.compile(
    r"\b(?:(?:pip[\d.]*|uv|pdm|poetry|conda|mamba|rye|hatch|pixi|npm|pnpm|yarn|bun)\b"
    r"(?:\s+(?:-\S+(?:\s+\S+)?|pip|tool))*?\s+(?:install|add|run|i|require)\b|pipx\s+(?:install|run|inject)\b|uvx\b|easy_install\b|npx\b)"
    r"(?P<rest>[^;|&\n]*)",
    re.IGNORECASE,
)
_NAME = re.compile(rf"^{_OURS}(?:\[.*)?(?:[=<>!~@,].*)?$", re.IGNORECASE)
_EXTRA = re.compile(rf"(?<![\w/]){_OURS}\[\s*[a-z{{]", re.IGNORECASE)
_REQUIREMENT = re.compile(rf"^\s*[-\"'`]*{_OURS}\s*(?:[=~!<>]=|[<>]\s*\d|@\s*\S)", re.IGNORECASE)
_METADATA = re.compile(
    rf"(?:\b(?:version|distribution|metadata|files|requires|require)\(\s*[\"']{_OURS}[\"']"
    rf"|\bmavera(?:-\d[\w.]*)?\.(?:egg-info|dist-info))",
    re.IGNORECASE,
)
# A single pair of Markdown or code delimiters, commas of a list of arguments, a prompt.
_PUNCTUATION = str.maketrans(dict.fromkeys("\"'`,()", " "))
# The option, and the word that follows it.
_OPTIONS = re.compile(r"--(?:with|from|spec|extra|index-url|python)[= ]\s*")


def violations(text: str, *, is_requirements: bool = False) -> Iterator[str]:
    """Yield each line of `text` (continued lines joined) that would fetch this project by name."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if (
            any(pattern.search(line) for pattern in (_EXTRA, _REQUIREMENT, _METADATA))
            or any(map(_names_us, _COMMANDS.finditer(line.translate(_PUNCTUATION))))
            or (is_requirements and re.match(rf"\s*{_OURS}\s*(?:[;#\\]|$)", line, re.IGNORECASE))
        ):
            yield line.strip()


def _names_us(command: re.Match[str]) -> bool:
    words = _OPTIONS.sub(" ", command["rest"]).split()
    return any(_NAME.match(word) for word in words)


def tracked_texts() -> Iterator[tuple[Path, str]]:
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    for path in (ROOT / name for name in names if name):
        if path in EXEMPT or path.name in DATA or not path.is_file():
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_text_installs_this_project_from_an_index() -> None:
    found = [
        f"{path}: {line}"
        for path, text in tracked_texts()
        for line in violations(text, is_requirements="requirements" in path.as_posix())
    ]
    assert not found, "\n".join(found)


def test_only_one_module_writes_commands_that_install() -> None:
    """Every message about a missing package comes from `mavera.extras`, which names the clone or the file."""
    found = [
        f"{path}:{node.lineno}: {node.value}"
        for path in (ROOT / "src").rglob("*.py")
        if path.name not in ("extras.py", "mavera_command.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"\b(pip|uv|pipx|poetry) (install|add) (?!pip`)", node.value)
    ]
    assert not found, "\n".join(found)


def test_the_distribution_has_a_name_of_its_own() -> None:
    assert '\nname = "mavera-server"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "pip install mavera",
        "pip install 'mavera[ocr]'",
        'pip install "mavera[ocr]"',
        "pip install -U mavera",
        "pip install --upgrade --quiet mavera-server",
        "pip3 install mavera_server",
        "pip3.12 install mavera",
        "python -m pip install mavera",
        ".venv/bin/python -m pip install --user mavera==0.1.0",
        "pip install openai mavera",
        "pip install \\\n    mavera",
        "pip install Mavera>=0.1",
        "uv add mavera",
        "uv pip install mavera",
        "uv tool install mavera-server",
        "uvx mavera serve",
        "uvx --from mavera-server mavera serve",
        "uvx --from=mavera mavera",
        "uv run --with mavera mavera serve",
        "pipx run mavera",
        "pipx install mavera",
        "pipx run --spec mavera-server mavera",
        "poetry add mavera",
        "pdm add mavera",
        "conda install -c conda-forge mavera",
        "npm install mavera",
        '["-m", "pip", "install", "mavera"]',
        "Type `pip install mavera` first.",
        "install the package mavera[s3]",
        "pip install mavera [tools]",
        'f"mavera[{extra}]"',
        "mavera-server[postgres,redis]",
        "mavera==0.1.0",
        "mavera-server>=0.1",
        '    "mavera>=0.1",',
        "mavera @ https://example.com/mavera.whl",
        'importlib.metadata.version("mavera")',
        "distribution('mavera')",
        "src/mavera.egg-info",
        "mavera-0.1.0.dist-info",
    ],
)
def test_a_text_that_does_is_found(text: str) -> None:
    assert list(violations(text))


@pytest.mark.parametrize(
    "text",
    [
        "make serve",
        ".venv/bin/python -m pip install '.[ocr]'",
        "pip install -e '.[tools,mcp]'",
        "python3 -m pip install 'dist/mavera_server-0.1.0-py3-none-any.whl[s3]'",
        "pip uninstall -y mavera",
        "pip install openai; mavera serve",
        "pip install openai && mavera serve",
        "the package mavera, installed from the clone",
        "uv pip install pip",
        'mavera = "mavera_command:main"',
        'mavera = ["py.typed"]',
        "mavera serve --port 9000",
        "mavera [tools](docs/how-to/tools.md)",
        "uv, pip or pipx: any of them may run beside mavera",
        "[bold]mavera[/] at",
    ],
)
def test_a_text_that_does_not_is_left_alone(text: str) -> None:
    assert not list(violations(text))


@pytest.mark.parametrize("line", ["mavera", "mavera-server  # ours", "Mavera ; python_version > '3.11'"])
def test_a_line_of_requirements_is_found(line: str) -> None:
    assert list(violations(f"httpx\n{line}\n", is_requirements=True))
