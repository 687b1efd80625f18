"""
Read the server's secret from a file, or make it once. Only the owner can read the file.

All processes that read the same file get the same secret, whichever of them made it.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mavera.errors import ConfigurationError

SECRET_BYTES = 32


def read_or_make_secret(path: Path) -> bytes:
    """Return the secret in `path`, and make it if there is none. Raises ConfigurationError if that fails."""
    secret = read_secret(path)
    if secret is not None:
        return secret
    try:
        _make(path)
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be written: {error.strerror}.") from error
    secret = read_secret(path)
    if secret is None:
        raise ConfigurationError(f"The file {path} was removed while the server started.")
    return secret


def read_secret(path: Path) -> bytes | None:
    """Return the secret in `path`, or None if there is none. Raises ConfigurationError if it is unusable."""
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
    """Link a complete file to its name, so that no process reads half of it or replaces another's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            # If a power cut lost the secret, no value that was sealed with it could be read again.
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
