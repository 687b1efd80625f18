"""
Compute the key by which a router sends the questions to one persona to one engine.

    persona, model and tools → 32 hexadecimal digits, the same on every machine and in every release
                               that writes this persona in the same words

An engine that has read a persona, and the tools that stand beside it, answers the next question without
reading them again. A prompt without a persona has no key, so that a router spreads such prompts.
"""

from hashlib import blake2b

import msgspec

from mavera.core.prompt import Prompt
from mavera.models.chat_wire import EncodedPrefixes


def compute_routing_key(prompt: Prompt, model: str, prefixes: EncodedPrefixes) -> str | None:
    """Return the key of a prompt to `model`, or None if it has no persona."""
    if not prompt.prefix_length:
        return None
    digest = blake2b(prefixes.digest(prompt.prefix), digest_size=16)
    digest.update(model.encode(errors="replace"))
    if prompt.tools and prompt.tool_choice.mode != "none":
        tools = [(tool.name, tool.description, tool.parameters) for tool in prompt.tools]
        digest.update(msgspec.json.encode(tools))
    return digest.hexdigest()
