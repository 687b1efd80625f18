"""
Digests of what has to be the same on every machine of one database.

    secrets   keys and kept answers (MAVERA_KEY_PEPPER or kept.secret), links to media
    files     models.toml, mcp.toml, search.db

A digest reveals neither a secret nor a file. A secret that a machine has not made yet is left out, because
it may still get that of the others. A machine without `models.toml` differs from one that has it.
"""

import hashlib
import hmac
from pathlib import Path

from mavera.settings import Settings

_LABEL = b"mavera: the same on every machine"
_PIECE_BYTES = 1024 * 1024


def fingerprint(settings: Settings) -> dict[str, str]:
    """Return a digest of each secret and file, by the name under which an operator knows it."""
    pepper = settings.key_pepper.encode()
    digests = {
        "MAVERA_KEY_PEPPER": hmac.digest(pepper, _LABEL, "sha256").hex()[:16] if pepper else "not set",
        "kept.secret": None if pepper else _digest_file(settings.data_dir / "kept.secret"),
        "the secret of links to media": (
            None if settings.s3_bucket else _digest_file(settings.resolved_media_dir / "secret")
        ),
        "models.toml": _digest_file(settings.resolved_models_config) or "missing",
        "mcp.toml": _digest_file(settings.resolved_mcp_config) or "missing",
        "search.db": _digest_file(settings.search_index_path) or "missing",
    }
    return {name: digest for name, digest in digests.items() if digest is not None}


def _digest_file(path: Path) -> str | None:
    digest = hashlib.sha256(_LABEL)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()[:16]
