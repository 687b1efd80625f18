"""
Make a conversation fit the model's context, or say by how much it does not.

    persona · instructions · first exchange · [ … dropped, oldest first … ] · latest exchange

Dropped are whole exchanges (a user's message and all that answers it); where those are
not enough, rounds of function calls inside what is left. A call and its output go
together or stay together, and system messages stay.

A model that counts tokens is asked how many there are, unless the number of bytes shows
that there cannot be too many: no token is shorter than a byte. Any other model is simply
asked; what it refuses as too long is halved until it takes it.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from mavera.core.events import ModelEvent
from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part
from mavera.core.turn import Turn
from mavera.errors import ConversationTooLong
from mavera.models.model import CountsTokens, Model, counts_tokens

Group = frozenset[int]

# What a chat template may add, at most: around each message, and to tell of the tools.
_MESSAGE_TOKENS = 16
_TEMPLATE_TOKENS = 256
# What `auto` leaves free for the answer, where the caller does not say how much that may be.
_ANSWER_TOKENS = 512


def stream_fitting(
    turn: Turn,
    compose: Callable[[Turn], Turn],
    model: Model,
    answer: Callable[[Turn], AsyncGenerator[ModelEvent, None]],
) -> AsyncGenerator[ModelEvent, None]:
    """Return the events of `answer` to `turn`, composed and made to fit, or ConversationTooLong from them."""
    if turn.truncation == "disabled" and not counts_tokens(model):
        return answer(compose(turn))  # nothing to do before it, and nothing after a refusal
    return _stream_fitting(turn, compose, model, answer)


async def _stream_fitting(
    turn: Turn,
    compose: Callable[[Turn], Turn],
    model: Model,
    answer: Callable[[Turn], AsyncGenerator[ModelEvent, None]],
) -> AsyncGenerator[ModelEvent, None]:
    """Yield what `stream_fitting` returns, where something may have to be counted or dropped."""
    groups = droppable(turn.items) if turn.truncation == "auto" else ()
    dropped = await _to_drop(turn, compose, model, groups) if counts_tokens(model) else 0
    while True:
        started = False
        try:
            async with aclosing(answer(compose(without(turn, groups[:dropped])))) as events:
                async for event in events:
                    started = True
                    yield event
            return
        except ConversationTooLong as error:
            if started or dropped >= len(groups):
                raise ConversationTooLong(error.message, param=turn.items_param) from error
            dropped += (len(groups) - dropped + 1) // 2


async def _to_drop(
    turn: Turn, compose: Callable[[Turn], Turn], model: CountsTokens, groups: Sequence[Group]
) -> int:
    """Return how many of `groups` have to go. Raises ConversationTooLong where all are not enough."""
    context = model.context_tokens
    room = min(turn.max_output_tokens or _ANSWER_TOKENS, context // 4) if groups else 1
    if most_tokens(compose(turn)) <= context - room:
        return 0

    async def tokens_without(number: int) -> int:
        return await model.count_tokens(compose(without(turn, groups[:number])))

    tokens = await tokens_without(0)
    if tokens <= context - room:
        return 0
    fewest = await tokens_without(len(groups)) if groups else tokens
    if fewest >= context:
        raise _too_long(turn, fewest, context)
    low, high = 1, len(groups)
    while low < high:
        middle = (low + high) // 2
        if await tokens_without(middle) <= context - room:
            high = middle
        else:
            low = middle + 1
    return high


def _too_long(turn: Turn, tokens: int, context: int) -> ConversationTooLong:
    left = " with nothing left to drop from its middle" if turn.truncation == "auto" else ""
    hint = ", or send truncation: 'auto'" if not left and turn.items_param == "input" else ""
    return ConversationTooLong(
        f"The prompt has {tokens:,} tokens{left}; the model's context has {context:,}, and the answer "
        f"needs some of them. Shorten the conversation{hint}.",
        param=turn.items_param,
    )


def most_tokens(turn: Turn) -> int:
    """Return a number that the tokens of a composed turn cannot exceed."""
    said = sum(len(text.encode()) for item in turn.items for text in _texts(item))
    tools = sum(len(repr(tool).encode()) for tool in turn.tools)
    return _TEMPLATE_TOKENS + _MESSAGE_TOKENS * len(turn.items) + said + tools


def _texts(item: Item) -> Iterator[str]:
    match item:
        case Message(_, parts) | FunctionOutput(_, parts):
            yield from _words(parts)
        case FunctionCall(_, name, arguments):
            yield name
            yield arguments


def _words(parts: tuple[Part, ...]) -> Iterator[str]:
    yield from (part.text for part in parts if not isinstance(part, Image))


def without(turn: Turn, groups: Sequence[Group]) -> Turn:
    """Return `turn` without the items in `groups`."""
    if not groups:
        return turn
    gone = frozenset().union(*groups)
    return replace(turn, items=tuple(item for at, item in enumerate(turn.items) if at not in gone))


def droppable(items: Sequence[Item]) -> tuple[Group, ...]:
    """Return what may be dropped, in the order in which it is to be."""
    exchanges = list(_exchanges(items))
    kept = [at for ends in (exchanges[:1], exchanges[1:][-1:]) for exchange in ends for at in exchange]
    rounds = [group for group in _rounds(items, kept) if not group & {kept[0], kept[-1]}]
    return (*(frozenset(exchange) for exchange in exchanges[1:-1]), *rounds)


def _exchanges(items: Sequence[Item]) -> Iterator[list[int]]:
    """Yield the items of each exchange; system messages belong to none."""
    exchange: list[int] = []
    open_calls: set[str] = set()
    answered = _answered(items)
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


def _rounds(items: Sequence[Item], among: Sequence[int]) -> Iterator[Group]:
    """Yield, for the calls made side by side, those calls and all their outputs."""
    answered = _answered(items)
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


def _answered(items: Sequence[Item]) -> dict[str, int]:
    """Where the last output of each call is; a caller may send more than one."""
    return {item.call_id: at for at, item in enumerate(items) if isinstance(item, FunctionOutput)}
