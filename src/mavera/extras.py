"""
Optional packages, and how this installation gets them.

    distribution   mavera-server      what is installed; the import name and the command are `mavera`
    extras         ocr pages tools mcp s3 postgres redis

The name `mavera` on public package indexes belongs to another project, and nobody owns `mavera-server`
there. No text may install this project from an index by name: `install_command` names the clone or the
wheel file that this installation came from.
"""

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from mavera.child_command import pip_command

DISTRIBUTION = "mavera-server"
PACKAGE = "mavera"

Extra = Literal["ocr", "pages", "tools", "mcp", "s3", "postgres", "redis"]


def install_command(extra: Extra | None = None) -> str:
    """
    Return a shell command that adds `extra` to this installation, or installs it again without one.

    It names the interpreter and the clone or wheel file that this installation came from. If these are
    unknown, the command is to be run in the clone.
    """
    named = f"[{extra}]" if extra else ""
    source = _source()
    if source is None:
        return f".venv/bin/python -m pip install -e {shlex.quote(f'.{named}')}"
    path, is_editable = source
    return shlex.join(pip_command("install", *(["-e"] if is_editable else []), f"{path}{named}"))


def describe_missing_extra(extra: Extra, purpose: str) -> str:
    """
    Return an error message for the operator: `purpose` needs `extra`, and how to install it.

    `purpose` begins the sentence, as in "MAVERA_S3_BUCKET". The message holds paths of this machine:
    do not send it to a client.
    """
    command = install_command(extra)
    place = "" if _source() else ", in the clone of mavera"
    return f"{purpose} needs the extra '{extra}', which is not installed. Type{place}: {command}"


def find_foreign_distributions() -> list[str]:
    """
    Return the names of other distributions in this environment that install a package `mavera`.

    These are another project's package of that name, or this project's under its former name.
    """
    names = packages_distributions().get(PACKAGE, [])
    return sorted({name for name in names if name.lower().replace("_", "-") != DISTRIBUTION})


def _source() -> tuple[Path, bool] | None:
    """Return the clone or wheel file that was installed, and whether it is editable; None if unknown."""
    try:
        record = distribution(DISTRIBUTION).read_text("direct_url.json")
        origin = json.loads(record or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    url = urlsplit(str(origin.get("url", "")))
    path = Path(unquote(url.path))
    if url.scheme != "file" or not path.exists():
        return None
    return path, bool(origin.get("dir_info", {}).get("editable"))
