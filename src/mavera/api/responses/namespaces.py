"""
Join the names of functions in namespaces, which Codex sends for its MCP servers.

    {"type": "namespace", "name": "shop", "tools": [{"type": "function", "name": "search", …}]}
    {"type": "function_call", "namespace": "shop", "name": "search", …}

Models know one name per function, so they read `shop__search`. Their calls get the namespace back.
"""

import hashlib

_MOST_CHARACTERS = 64
_DIGEST_CHARACTERS = 8


def join_name(namespace: str, name: str) -> str:
    """Return the name for the model, of at most 64 characters. It is the same every time."""
    joined = f"{namespace}__{name}"
    if len(joined) <= _MOST_CHARACTERS:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{joined[: _MOST_CHARACTERS - _DIGEST_CHARACTERS - 1]}_{digest}"
