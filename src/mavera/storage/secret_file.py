"""
A secret that this server makes once and keeps in a file of its own, readable to its owner only.

Every process that asks for the same file gets the same secret, whichever of them made it.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mavera.errors import ConfigurationError

SECRET_BYTES = 32


def read_or_make_secret(path: Path) -> bytes:
    """Return the secret in `path`, made now if there is none. Raises ConfigurationError if neither works."""
    found = read_secret(path)
    if found is not None:
        return found
    try:
        _make(path)
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be written: {error.strerror}.") from error
    made = read_secret(path)
    if made is None:
        raise ConfigurationError(f"The file {path} was removed while the server started.")
    return made


def read_secret(path: Path) -> bytes | None:
    """Return the secret in `path`, or None if there is no such file. Raises ConfigurationError."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error.strerror}.") from error
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            f"The file {path} is damaged. Restore it from a backup, or remove it to have a new one made."
        )
    return secret


def _make(path: Path) -> None:
    """Link a finished file to its name, so that no process sees half of it and none replaces another's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            # What is sealed with a secret that a power cut takes away could not be read again.
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
