"""
Encrypt values and make digests that a copy of the database alone does not reveal.

    MAVERA_KEY_PEPPER, or the file `kept.secret` in the data directory
      └─ HKDF-SHA-256 with the workspace's id ─┬─ a key for digests: HMAC-SHA-256
                                               └─ a key for sealing: AES-256-GCM

A sealed value opens only in its own place, because its workspace, purpose and digest are bound into it.
After a rotation, `MAVERA_KEY_PEPPER_PREVIOUS` still finds and opens earlier values.
"""

import hmac
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mavera.settings import Settings
from mavera.storage.secret_file import read_or_make_secret, read_secret

SECRET_FILE_NAME = "kept.secret"  # noqa: S105 - a file's name

_KEY_BYTES = 32
_NONCE_BYTES = 12
_INFO = b"mavera: what is kept for the workspace "


@dataclass(frozen=True, slots=True)
class Secrets:
    """
    The server's secrets. The `previous` ones still open values that were sealed with them.

    `is_shared` is false if other servers of the same database may have another secret.
    """

    current: bytes = field(repr=False)
    previous: tuple[bytes, ...] = field(default=(), repr=False)
    is_shared: bool = True

    def keys_of(self, workspace_id: str) -> "tuple[WorkspaceKeys, ...]":
        """Return the keys of a workspace, those of the current secret first."""
        return tuple(WorkspaceKeys.derive(secret, workspace_id) for secret in (self.current, *self.previous))


def secret_path(settings: Settings) -> Path:
    """Return the file whose secret replaces MAVERA_KEY_PEPPER if that is not set."""
    return settings.data_dir / SECRET_FILE_NAME


def has_shared_secret(settings: Settings) -> bool:
    """Whether all servers of the database have the same secret. With SQLite they share a data directory."""
    return bool(settings.key_pepper) or not settings.database_url.startswith("postgres")


def open_secrets(settings: Settings) -> Secrets:
    """
    Return the secrets that `settings` name. Without MAVERA_KEY_PEPPER, the first process to ask makes one.

    Raises ConfigurationError if the file with the secret cannot be read or made.
    """
    peppers = tuple(pepper.encode() for pepper in settings.previous_peppers)
    path = secret_path(settings)
    if not settings.key_pepper:
        return Secrets(read_or_make_secret(path), peppers, has_shared_secret(settings))
    # Values that were kept before there was a pepper are still read.
    earlier = read_secret(path)
    return Secrets(settings.key_pepper.encode(), peppers if earlier is None else (*peppers, earlier))


@dataclass(frozen=True)
class WorkspaceKeys:
    """The keys of one workspace under one secret."""

    workspace_id: str
    _digest_key: bytes = field(repr=False)
    _sealing_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes, workspace_id: str) -> Self:
        derived = HKDF(SHA256(), 2 * _KEY_BYTES, salt=None, info=_INFO + workspace_id.encode()).derive(secret)
        return cls(workspace_id, derived[:_KEY_BYTES], derived[_KEY_BYTES:])

    def digest(self, purpose: str, text: str) -> str:
        """Return the digest that is stored in place of `text`, in hex."""
        return hmac.digest(self._digest_key, f"{purpose}\0{text}".encode(errors="replace"), "sha256").hex()

    def seal(self, purpose: str, digest: str, value: bytes) -> bytes:
        """Return `value` encrypted. Only the same purpose and digest open it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, self._place(purpose, digest))

    def open(self, purpose: str, digest: str, sealed: bytes) -> bytes | None:
        """Return the sealed value, or None if it is damaged or was sealed for another place."""
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, self._place(purpose, digest))
        except (InvalidTag, ValueError):  # ValueError: the value is shorter than a nonce
            return None

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self._sealing_key)

    def _place(self, purpose: str, digest: str) -> bytes:
        return f"{self.workspace_id}\0{purpose}\0{digest}".encode()
