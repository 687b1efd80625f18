"""
Change settings in `mavera.toml`, and leave the operator's other lines and comments as they are.

The file has one setting a line and no tables, so a line can be replaced without an understanding of TOML.
The result is read back before it replaces the file. A file that is written in another way is left alone.
"""

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from mavera.errors import ConfigurationError
from mavera.settings import PREFIX, Settings

Value = str | int | None


def find_settings_file(settings: Settings) -> Path:
    """Return the file from which the settings are read, whether it exists or not."""
    named = os.environ.get(f"{PREFIX}CONFIG")
    return Path(named).expanduser() if named else settings.data_dir / "mavera.toml"


def change_settings(path: Path, changes: Mapping[str, Value]) -> None:
    """Write each setting to the file; None removes it. Raises ConfigurationError if that cannot be done."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        expected = {**tomllib.loads(text), **changes}
        changed = _change_text(text, changes)
        if tomllib.loads(changed) != {name: value for name, value in expected.items() if value is not None}:
            raise ValueError("it is not written one setting a line")
        _replace(path, changed)
    except (OSError, ValueError) as error:
        wanted = ", ".join(
            f"{name} = {json.dumps(value)}" for name, value in changes.items() if value is not None
        )
        raise ConfigurationError(f"{path} cannot be changed ({error}). Set there: {wanted}.") from error


def _change_text(text: str, changes: Mapping[str, Value]) -> str:
    lines = text.splitlines()
    for name, value in changes.items():
        line = [] if value is None else [f"{name} = {json.dumps(value)}"]
        at = next((n for n, old in enumerate(lines) if re.match(rf"\s*{re.escape(name)}\s*=", old)), None)
        if at is None:
            lines += line
        else:
            lines[at : at + 1] = line
    return "".join(f"{line}\n" for line in lines)


def _replace(path: Path, text: str) -> None:
    """Replace the file at once, and keep its mode, because it may hold keys."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(name, target.stat().st_mode & 0o777)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
