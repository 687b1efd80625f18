"""
Sign the calls of webhooks as Standard Webhooks describes. Studies and alerts both use this.

    webhook-id           the same in each try of a message
    webhook-timestamp    1790000000, the time of this try
    webhook-signature    v1,<base64 of HMAC-SHA-256 of "id.timestamp.body" with the secret>
"""

import base64
import binascii
import hashlib
import hmac

from mavera.errors import ConfigurationError

PREFIX = "whsec_"
_LEAST_BYTES = 24


def sign(secret: str, message_id: str, body: bytes, now: float) -> dict[str, str]:
    """Return the headers of a signed call. `secret` has the form `whsec_…`, `now` is in Unix seconds."""
    timestamp = str(int(now))
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def check_secret(variable: str, secret: str) -> None:
    """Raise ConfigurationError unless `secret` is a secret of Standard Webhooks with enough bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or len(key) < _LEAST_BYTES:
        raise ConfigurationError(
            f"{variable} must be whsec_ and the base64 of at least {_LEAST_BYTES} bytes:"
            ' echo "whsec_$(openssl rand -base64 32)"'
        )
