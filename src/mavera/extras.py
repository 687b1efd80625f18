"""
Name the optional packages, and the commands that add them to this installation.

    distribution   mavera-server      the installed name; the import name and the command are `mavera`
    extras         ocr pages tools mcp s3 postgres redis research oidc mail otel

The name `mavera` on public package indexes belongs to another project, and nobody owns `mavera-server`
there. No text may install this project from an index by name. `build_install_command` names the clone or
the wheel file that this installation came from.
"""

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from mavera.child_command import build_pip_command

DISTRIBUTION = "mavera-server"
PACKAGE = "mavera"

Extra = Literal["ocr", "pages", "tools", "mcp", "s3", "postgres", "redis", "research", "oidc", "mail", "otel"]


def build_install_command(extra: Extra | None = None) -> str:
    """
    Return a shell command that adds `extra` to this installation. Without `extra` it reinstalls mavera.

    The command names the interpreter, and the clone or wheel file that this installation came from. If
    these are unknown, the operator has to run the command in the clone.
    """
    named = f"[{extra}]" if extra else ""
    source = _find_source()
    if source is None:
        return f".venv/bin/python -m pip install -e {shlex.quote(f'.{named}')}"
    path, is_editable = source
    return shlex.join(build_pip_command("install", *(["-e"] if is_editable else []), f"{path}{named}"))


def describe_missing_extra(extra: Extra, purpose: str) -> str:
    """
    Return an error message for the operator. It says that `purpose` needs `extra`, and how to install it.

    `purpose` begins the sentence, as in "MAVERA_S3_BUCKET". Do not send the message to a client, because
    it contains paths of this machine.
    """
    command = build_install_command(extra)
    place = "" if _find_source() else ", in the clone of mavera"
    return f"{purpose} needs the extra '{extra}', which is not installed. Type{place}: {command}"


def find_foreign_distributions() -> list[str]:
    """
    Return the names of other distributions in this environment that install a package `mavera`.

    They belong to another project of that name, or to this project under its former name.
    """
    names = packages_distributions().get(PACKAGE, [])
    return sorted({name for name in names if name.lower().replace("_", "-") != DISTRIBUTION})


def _find_source() -> tuple[Path, bool] | None:
    """Return the clone or wheel file that was installed, and whether it is editable. None if unknown."""
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
