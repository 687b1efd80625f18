"""
Separate reasoning from the answer if a server sends both as one text.

    "<think>Hm.</think>\\n\\nHello"     → reasoning "Hm.", text "Hello"
    "Hm.</think>\\n\\nHello"            → the same; the chat template wrote the `<think>` into the prompt
    "Use <think> to reason."          → text, because reasoning stands only before an answer

The text may be cut anywhere. It is held back only while it can be the beginning of a mark.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

# The marks that open reasoning, with the marks that may end it: of most reasoning models, Google, ByteDance's
# Seed, Mistral, Moonshot's Kimi, Cohere and OpenAI's gpt-oss.
_MARKS: Final[dict[str, tuple[str, ...]]] = {
    "<think>": ("</think>",),
    "<thinking>": ("</thinking>",),
    "<thought>": ("</thought>",),
    "<seed:think>": ("</seed:think>",),
    "[THINK]": ("[/THINK]",),
    "◁think▷": ("◁/think▷",),
    "<|START_THINKING|>": ("<|END_THINKING|>",),
    "<|channel|>analysis<|message|>": ("<|end|>", "<|channel|>final<|message|>"),
}
# These marks stand between the reasoning and the answer, and belong to neither.
_BETWEEN: Final = ("<|start|>assistant", "<|channel|>final<|message|>", "<|START_RESPONSE|>")
_CLOSING_ALONE: Final = ("</think>", "</thinking>")
_QUOTES: Final = "`'\"“‘«"
_BEGINS: Final = tuple({mark[0] for mark in (*_MARKS, *_BETWEEN)})
# White space before a mark is held back too, up to this many characters.
_MOST_SPACE: Final = 64

Kind = Literal["text", "reasoning", "all so far was reasoning"]


def may_hold_marks(text: str) -> bool:
    """Whether a whole text may hold a mark of reasoning. False is certain, and True is a guess."""
    return "<" in text or text.lstrip()[:1] in _BEGINS


class Piece(NamedTuple):
    kind: Kind
    text: str


class ThoughtSplitter:
    """
    Splits the text of one answer, piece by piece.

    `starts_inside` says that the answer begins within reasoning. `text_so_far` returns all text that was fed.
    """

    def __init__(self, text_so_far: Callable[[], str], *, starts_inside: bool = False) -> None:
        self._text_so_far = text_so_far
        self._held = ""
        self._state: Literal["before", "reasoning", "text"] = "before"
        self._starts_inside = starts_inside
        self._closers: tuple[str, ...] = ()
        self._is_first = True  # nothing of the open reasoning has been passed on
        self._has_reasoned = False
        self._has_text = False
        self._watches = not starts_inside
        # Whether a mark ended reasoning that no mark had begun.
        self.closed_alone = False
        # Whether the reasoning has ended.
        self.has_closed = False

    @property
    def passes(self) -> bool:
        """Whether a piece without `<` is only text."""
        return self._state == "text" and not self._held

    @property
    def holds(self) -> bool:
        """Whether text is held back, or reasoning is open."""
        return bool(self._held) or self._state == "reasoning"

    @property
    def is_plain(self) -> bool:
        """Whether everything that follows is text."""
        return self.passes and not self._watches

    def stop_watching(self) -> None:
        """Stop treating `</think>` as the end of reasoning that began in the prompt."""
        self._watches = False

    def start_as_text(self) -> None:
        """Note that the answer does not begin within reasoning after all."""
        self._starts_inside = False

    def feed(self, text: str) -> Iterator[Piece]:
        self._held += text
        while self._held:
            at = (self._state, self._watches, self._held)
            match self._state:
                case "before":
                    self._settle()
                case "reasoning":
                    yield from self._reason()
                case "text":
                    yield from self._say()
            if at == (self._state, self._watches, self._held):
                return  # the rest may be the beginning of a mark

    def flush(self) -> Iterator[Piece]:
        """Yield the text that is held back, because no more text can make it a mark."""
        held, self._held = self._held, ""
        if self._state == "before" and self._has_reasoned:
            held = held.lstrip()
        if held:
            yield Piece("reasoning" if self._state == "reasoning" else "text", held)
            self._has_text |= self._state != "reasoning"

    def _settle(self) -> None:
        """Decide whether reasoning or text begins here."""
        rest = self._held.lstrip()
        for opener, closers in _MARKS.items():
            if rest.startswith(opener):
                self._held = rest[len(opener) :]
                self._begin(closers)
                return
        for mark in _BETWEEN:
            if rest.startswith(mark):
                self._held = rest[len(mark) :]
                self._has_reasoned = True
                return
        if self._has_reasoned:
            self._held = rest
        is_short = len(self._held) - len(rest) <= _MOST_SPACE
        if is_short and any(mark.startswith(rest) for mark in (*_MARKS, *_BETWEEN)):
            return
        if self._starts_inside and not self._has_reasoned:
            self._begin(_CLOSING_ALONE)
        else:
            self._state = "text"

    def _begin(self, closers: tuple[str, ...]) -> None:
        self._state, self._closers, self._watches = "reasoning", closers, False
        self._is_first = self._has_reasoned = True

    def _reason(self) -> Iterator[Piece]:
        if self._is_first:
            self._held = self._held.lstrip()
        found = [(at, closer) for closer in self._closers if (at := self._held.find(closer)) >= 0]
        if found:
            at, closer = min(found)
            thought, self._held = self._held[:at], self._held[at + len(closer) :]
            self._state, self.has_closed = "before", True
        else:
            thought = self._take_unmarked(self._closers)
        if thought:
            self._is_first = False
            yield Piece("reasoning", thought)

    def _say(self) -> Iterator[Piece]:
        if self._watches:
            found = [(at, closer) for closer in _CLOSING_ALONE if (at := self._held.find(closer)) >= 0]
            if found:
                yield from self._close_alone(*min(found))
                return
            text = self._take_unmarked(_CLOSING_ALONE)
        else:
            text, self._held = self._held, ""
        if text:
            self._has_text = True
            yield Piece("text", text)

    def _close_alone(self, at: int, closer: str) -> Iterator[Piece]:
        """Treat the text before `closer` as reasoning, unless the answer only mentions such marks."""
        self._watches = False
        before, _, _ = self._text_so_far().partition(closer)
        opener = closer.replace("/", "")
        if opener in before or before.count("`") % 2 or before.endswith(tuple(_QUOTES)):
            return
        thought, self._held = self._held[:at], self._held[at + len(closer) :]
        self._state, self._has_reasoned = "before", True
        self.closed_alone = self.has_closed = True
        if self._has_text:
            yield Piece("text", thought)
            yield Piece("all so far was reasoning", "")
        elif thought.strip():
            yield Piece("reasoning", thought.strip())

    def _take_unmarked(self, marks: tuple[str, ...]) -> str:
        """Take the held text, except for an end that may be the beginning of a mark."""
        keep = 0
        for mark in marks:
            begin = self._held.find(mark[0], max(0, len(self._held) - len(mark) + 1))
            while begin >= 0 and not mark.startswith(self._held[begin:]):
                begin = self._held.find(mark[0], begin + 1)
            keep = max(keep, len(self._held) - begin if begin >= 0 else 0)
        end = len(self._held) - keep
        taken, self._held = self._held[:end], self._held[end:]
        return taken
