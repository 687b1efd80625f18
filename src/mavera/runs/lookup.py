"""
Read whether a question has to be looked up, for a model that is offered a search and judges badly itself.

    system, eight examples, the question → one token → ln(P(fact) / P(view))

A small model that chooses among functions hardly ever chooses one. Asked what kind of question it is, it
tells a price from an opinion. The choice between search and answer is then made for it.
"""

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from mavera.core.events import RunCompleted, TextDelta, TokenLogprob
from mavera.core.items import FunctionOutput, Item, Message, make_message
from mavera.core.prompt import Prompt, Sampling, ToolChoice
from mavera.core.usage import Usage
from mavera.models.model import Model

_RULE = """\
You sort questions. "fact": the answer is a particular thing that one has to look up: a price, a date, an \
opening time, a name, a number, a rule of a shop or a company, news, or what is true now. "view": the answer \
is an opinion, a feeling, a habit, a preference or a memory of the person who is asked."""
_EXAMPLES = (
    ("Do you like long queues?", "view"),
    ("How long is the queue at the Louvre today?", "fact"),
    ("What do you look for in a pair of shoes?", "view"),
    ("Which colours does the Riva shoe come in?", "fact"),
    ("Would you pay $40 for a haircut?", "view"),
    ("What does Salon Meyer charge for a haircut?", "fact"),
    ("What did you have for breakfast?", "view"),
    ("Who is the mayor of Graz?", "fact"),
)
# Set on 24 questions that are not those of evals/tools: facts were above it, and views below.
_LEAST_FACT = -1.0
_TOP = 20
_FLOOR = -12.0
_MOST_CHARACTERS = 1500
# A shorter question is read together with the one before it: "And on Sundays?"
_SHORT_WORDS = 5
_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LookupReader:
    """`search` and `extract` are the names of the tools that look something up."""

    model: Model
    search: str
    extract: str

    async def choose(self, prompt: Prompt) -> tuple[Prompt, Usage]:
        """
        Return `prompt` with the choice made between search and answer, and what reading it took.

        A choice of the caller's stays as it is, and so does a prompt whose question has results already.
        Raises APIError.
        """
        choice = prompt.tool_choice
        names = choice.names or tuple(tool.name for tool in prompt.tools)
        question = find_question(prompt.items)
        if choice.mode != "auto" or self.search not in names or question is None:
            return prompt, Usage()
        is_fact, usage = await self._read(prompt, question)
        others = tuple(
            name
            for name in names
            if name != self.search and (name != self.extract or _URL.search(question) is not None)
        )
        if is_fact:
            made = ToolChoice("required", (self.search, *others))
        else:
            made = ToolChoice("auto", others) if others else ToolChoice("none")
        return replace(prompt, tool_choice=made), usage

    async def _read(self, prompt: Prompt, question: str) -> tuple[bool, Usage]:
        first: TokenLogprob | None = None
        text, usage = "", Usage()
        async with aclosing(self.model.stream(_build_prompt(prompt, question))) as events:
            async for event in events:
                match event:
                    case TextDelta(piece, logprobs):
                        text += piece
                        first = first or (logprobs[0] if logprobs else None)
                    case RunCompleted(_, spent):
                        usage = replace(spent, reasoning_tokens=spent.output_tokens)
                    case _:
                        pass
        if first is None:
            return text.strip().lower().startswith("fact"), usage
        return _sum(first.top, "fact") - _sum(first.top, "view") > _LEAST_FACT, usage


def find_question(items: Sequence[Item]) -> str | None:
    """Return what the user asked last, None if that has results already or nothing was asked."""
    asked: list[str] = []
    for item in items:
        if isinstance(item, Message) and item.role == "user":
            asked.append(item.text.strip())
        elif isinstance(item, FunctionOutput):
            asked.append("")
    if not asked or not asked[-1]:
        return None
    last = asked[-1][:_MOST_CHARACTERS]
    before = asked[-2] if len(asked) > 1 else ""
    return f"{before[:_MOST_CHARACTERS]} {last}" if before and len(last.split()) < _SHORT_WORDS else last


def _build_prompt(prompt: Prompt, question: str) -> Prompt:
    items = [make_message("system", _RULE)]
    for ask, kind in _EXAMPLES:
        items += [make_message("user", ask), make_message("assistant", kind)]
    return Prompt(
        (*items, make_message("user", question)),
        sampling=Sampling(temperature=0.0, seed=prompt.sampling.seed),
        max_output_tokens=1,
        top_logprobs=_TOP,
        reasoning_effort="none",
        preferences=prompt.preferences | {"temperature", "max_output_tokens", "top_logprobs"},
    )


def _sum(tokens: Iterable[TokenLogprob], word: str) -> float:
    found = sum(math.exp(one.logprob) for one in tokens if one.token.strip().lower() == word)
    return max(_FLOOR, math.log(found)) if found > 0 else _FLOOR
