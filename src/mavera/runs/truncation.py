"""
Make a conversation fit the model's context, or refuse it with the number of tokens.

    persona · instructions · first exchange · [ … dropped, oldest first … ] · latest exchange · guidance

Whole exchanges are dropped: a user's message and everything up to the next one. If those are not enough,
rounds of function calls inside the remaining exchanges go as well. A call and its output go together or stay
together, and the persona and system messages stay.

If the model can count tokens, it counts them, unless the number of bytes shows that the prompt fits, because
no token is shorter than a byte. Any other model gets the whole prompt first. If it refuses the prompt as too
long, half of the droppable groups are dropped, until it takes the prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part
from mavera.core.prompt import Prompt
from mavera.errors import ConversationTooLong
from mavera.models.model import ModelContext
from mavera.runs.stage import Events, Open, open_first_taken

Group = frozenset[int]

# The most tokens that a chat template may add around each message, and for the tools.
_MESSAGE_TOKENS = 16
_TEMPLATE_TOKENS = 256
# The tokens that `auto` leaves free for the answer if the caller sets no limit.
_ANSWER_TOKENS = 512


@dataclass(frozen=True, slots=True)
class FitToContext:
    """
    The stage that counts and drops.

    `context` is None if the model cannot count. `drops` means `truncation: auto`. `answer_tokens` is the
    caller's limit, and `items_param` is the caller's name for the conversation.
    """

    context: ModelContext | None
    drops: bool
    answer_tokens: int | None
    items_param: str

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        groups = find_droppable(prompt) if self.drops else ()
        dropped = await self._count_to_drop(self.context, prompt, groups) if self.context else 0
        return await open_first_taken(_shorten(prompt, groups, dropped), open_next)

    async def _count_to_drop(self, context: ModelContext, prompt: Prompt, groups: Sequence[Group]) -> int:
        """Return how many of `groups` have to go. Raises ConversationTooLong if all are not enough."""
        room = min(self.answer_tokens or _ANSWER_TOKENS, context.tokens // 4) if groups else 1
        if most_tokens(prompt) <= context.tokens - room:
            return 0

        async def tokens_without(number: int) -> int:
            return await context.count(without(prompt, groups[:number]))

        tokens = await tokens_without(0)
        if tokens <= context.tokens - room:
            return 0
        fewest = await tokens_without(len(groups)) if groups else tokens
        if fewest >= context.tokens:
            raise self._make_length_error(fewest, context.tokens)
        low, high = 1, len(groups)
        while low < high:
            middle = (low + high) // 2
            if await tokens_without(middle) <= context.tokens - room:
                high = middle
            else:
                low = middle + 1
        return high

    def _make_length_error(self, tokens: int, most: int) -> ConversationTooLong:
        left = " with nothing left to drop from its middle" if self.drops else ""
        hint = ", or send truncation: 'auto'" if not left and self.items_param == "input" else ""
        return ConversationTooLong(
            f"The prompt has {tokens:,} tokens{left}; the model's context has {most:,}, and the answer "
            f"needs some of them. Shorten the conversation{hint}.",
            param=self.items_param,
        )


def _shorten(prompt: Prompt, groups: Sequence[Group], dropped: int) -> Iterator[Prompt]:
    """Yield `prompt` without the first `dropped` groups, then with half of the rest dropped each time."""
    yield without(prompt, groups[:dropped])
    while dropped < len(groups):
        dropped += (len(groups) - dropped + 1) // 2
        yield without(prompt, groups[:dropped])


def most_tokens(prompt: Prompt) -> int:
    """Return a number that the tokens of a prompt cannot exceed."""
    words = sum(len(text.encode()) for item in prompt.items for text in _list_texts(item))
    tools = sum(len(repr(tool).encode()) for tool in prompt.tools)
    return _TEMPLATE_TOKENS + _MESSAGE_TOKENS * len(prompt.items) + words + tools


def _list_texts(item: Item) -> Iterator[str]:
    match item:
        case Message(_, parts) | FunctionOutput(_, parts):
            yield from _list_words(parts)
        case FunctionCall(_, name, arguments):
            yield name
            yield arguments


def _list_words(parts: tuple[Part, ...]) -> Iterator[str]:
    yield from (part.text for part in parts if not isinstance(part, Image))


def without(prompt: Prompt, groups: Sequence[Group]) -> Prompt:
    """Return `prompt` without the items in `groups`."""
    if not groups:
        return prompt
    gone = frozenset().union(*groups)
    return replace(prompt, items=tuple(item for at, item in enumerate(prompt.items) if at not in gone))


def find_droppable(prompt: Prompt) -> tuple[Group, ...]:
    """Return the groups of items that may be dropped, in the order in which to drop them."""
    start = prompt.prefix_length
    return tuple(frozenset(start + at for at in group) for group in _find_droppable(prompt.items[start:]))


def _find_droppable(items: Sequence[Item]) -> tuple[Group, ...]:
    exchanges = list(_group_exchanges(items))
    kept = [at for ends in (exchanges[:1], exchanges[1:][-1:]) for exchange in ends for at in exchange]
    rounds = [group for group in _group_rounds(items, kept) if not group & {kept[0], kept[-1]}]
    return (*(frozenset(exchange) for exchange in exchanges[1:-1]), *rounds)


def _group_exchanges(items: Sequence[Item]) -> Iterator[list[int]]:
    """Yield the items of each exchange. System messages belong to none."""
    exchange: list[int] = []
    open_calls: set[str] = set()
    answered = _find_outputs(items)
    for at, item in enumerate(items):
        match item:
            case Message(role="system"):
                continue
            case Message(role="user") if exchange and not open_calls:
                yield exchange
                exchange = []
            case FunctionCall(call_id) if answered.get(call_id, -1) > at:
                open_calls.add(call_id)
            case FunctionOutput(call_id) if answered[call_id] == at:
                open_calls.discard(call_id)
        exchange.append(at)
    if exchange:
        yield exchange


def _group_rounds(items: Sequence[Item], among: Sequence[int]) -> Iterator[Group]:
    """Yield each group of parallel calls with all their outputs."""
    answered = _find_outputs(items)
    open_calls: set[str] = set()
    group: list[int] = []
    for at in among:
        match items[at]:
            case FunctionCall(call_id):
                if group and not open_calls and isinstance(items[group[-1]], FunctionOutput):
                    yield frozenset(group)
                    group = []
                if answered.get(call_id, -1) > at:
                    open_calls.add(call_id)
                group.append(at)
            case FunctionOutput(call_id):
                if answered[call_id] == at:
                    open_calls.discard(call_id)
                group.append(at)
    if group:
        yield frozenset(group)


def _find_outputs(items: Sequence[Item]) -> dict[str, int]:
    """Return the place of the last output of each call, because a caller may send several."""
    return {item.call_id: at for at, item in enumerate(items) if isinstance(item, FunctionOutput)}
