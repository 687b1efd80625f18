"""
The name under which a tool of an MCP server is offered to a model.

    shop, find_price        → shop__find_price
    shop, prices/find.one   → shop__prices_find_one_b13551a2

MCP allows 1 to 128 of `A-Za-z0-9_-./`; OpenAI's and most other models allow 1 to 64 of `A-Za-z0-9_-`.
"""

import hashlib
import re

MOST_CHARACTERS = 64
ALL_TOOLS = "*"

_SEPARATOR = "__"
_SAFE = re.compile(r"[a-zA-Z0-9_-]+")
_DIGEST_CHARACTERS = 8


def to_offered_name(label: str, name: str) -> str:
    """
    Return the name under which the tool `name` of the server `label` is offered.

    A name that models allow is unchanged. Any other name becomes a safe one that ends with a digest of the
    original, so two names do not collide. An offered name without its label gives the same name again.
    `ALL_TOOLS` stands for every tool of the server.
    """
    if name == ALL_TOOLS:
        return f"{label}{_SEPARATOR}{name}"
    room = max(MOST_CHARACTERS - len(label) - len(_SEPARATOR), 2 * _DIGEST_CHARACTERS)
    if not _SAFE.fullmatch(name) or len(name) > room:
        digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_DIGEST_CHARACTERS]
        safe = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
        name = f"{safe[: room - _DIGEST_CHARACTERS - 1]}_{digest}"
    return f"{label}{_SEPARATOR}{name}"
