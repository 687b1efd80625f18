"""
Wrap the blocks of an answer in artifact tags while it streams.

            a fence, or a tag of the model's own
    prose ─────────────────────────────────────────→ block
      ↑                                                │ its closing fence or tag, or the end of the text
      └────────────────────────────────────────────────┘

Small models write fenced blocks well and tags badly, so the prompt asks for fences, and the tags are made
here. Whatever the model writes, they are balanced and never nested. Text that looks like one of our tags is
escaped (`&lt;artifact`), but the list of artifacts has it as the model wrote it.

The output does not depend on the places where the text was cut. Text is held back only until it is clear
whether it begins a block.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import regex
from msgspec.structs import replace

from mavera.core.artifacts import Artifact
from mavera.core.events import (
    Event,
    PersonasAnswered,
    ReasoningDelta,
    RunCompleted,
    RunPrepared,
    RunStarted,
    TextDelta,
    TextWasReasoning,
    TokenLogprob,
)
from mavera.runs.artifact_names import Label, from_attributes, from_info, heading_of, settle

CLOSING_TAG = "</artifact>"

# The type of a block is read from so many characters of its first line.
_LOOK_AHEAD = 40

# Every pattern is bounded, so no more than a line or two of text is ever held back.
_FLAGS = regex.IGNORECASE | regex.ASCII
_FENCE = regex.compile(r"(?P<indent>[ \t]{0,8})(?P<mark>`{3,40}|~{3,40})(?P<info>[^`\n]{0,200})\n")
_TAG = regex.compile(r"[ \t]{0,8}<artifact(?P<attributes>\s[^<>]{0,600})(?<!/)>", _FLAGS)
_LOOSE_TAG = regex.compile(r"</?artifact", _FLAGS)
_END_TAG = regex.compile(r"</artifact\s{0,8}>", _FLAGS)
_LATE_END_TAG = regex.compile(r"\s{0,20}</artifact\s{0,8}>", _FLAGS)
_REST_OF_LINE = re.compile(r"[ \t]{0,8}\n")
_PLAIN = re.compile(r"[^<\n]+\n?|\n|<")


@dataclass(slots=True)
class _Block:
    """An artifact being written. `mark` is its fence, or empty if the model's own tag began it."""

    artifact: Artifact
    mark: str = ""
    indent: int = 0
    tagged: bool = False
    depth: int = 0
    content: list[str] = field(default_factory=list)

    def fence(self, *, at_end: bool) -> regex.Pattern[str]:
        """
        Return the pattern of a line that closes this block, or opens another one inside a document.

        A line that opens has an info string. `at_end`: the text is over, so its end closes the block as well.
        """
        marks = f"{regex.escape(self.mark[0])}{{{len(self.mark)},40}}"
        end = r"\n|\Z" if at_end else r"\n"
        return regex.compile(rf"[ \t]{{0,40}}{marks}[ \t]{{0,40}}\r?(?:(?P<end>{end})|(?P<info>\w))")


class ArtifactWriter:
    """
    Rewrites one text. `feed` returns the output that is certain so far, and `end` the rest.

    `artifacts` has the blocks that have been closed. After `end` another text may begin.
    """

    def __init__(self) -> None:
        self.artifacts: list[Artifact] = []
        self._begin()

    def feed(self, text: str) -> str:
        self._held += text
        return "".join(self._settle_pieces())

    def end(self) -> str:
        self._ended = True
        said = "".join(self._settle_pieces())
        if self._block is not None:
            said += self._close(self._block, complete=False)
        self._begin()
        return said

    def _begin(self) -> None:
        self._held = ""
        self._ended = False
        self._at_line_start = True
        self._line = self._heading = ""
        self._block: _Block | None = None
        self._owes_end_tag = False

    def _settle_pieces(self) -> Iterator[str]:
        while self._held and (said := self._step()) is not None:
            yield said

    def _step(self) -> str | None:
        """Return the output for the next piece of the text, or None if that needs more text."""
        if self._block is None:
            return self._drop_late_end_tag() if self._owes_end_tag else self._feed_prose()
        return self._feed_fenced(self._block) if self._block.mark else self._feed_tagged(self._block)

    def _feed_prose(self) -> str | None:
        if self._at_line_start:
            if fence := _FENCE.match(self._held):
                return self._open(fence.end(), from_info(fence["info"]), fence=fence)
            if tag := _TAG.match(self._held):
                return self._open_tagged(tag)
            if self._may_open_block():
                return None
        piece = self._take_piece()
        if piece is None:
            return None
        self._note_heading(piece)
        return _escape_tag(piece)

    def _note_heading(self, piece: str) -> None:
        self._line += piece
        if self._at_line_start:
            if self._line.strip():
                self._heading = heading_of(self._line.rstrip())
            self._line = ""

    def _open_tagged(self, tag: regex.Match[str]) -> str | None:
        """Open the block of a tag that the model wrote. A fence right behind it belongs to it."""
        line_end = _REST_OF_LINE.match(self._held, tag.end())
        start = line_end.end() if line_end else tag.end()
        if self._may_become(_FENCE, start):
            return None
        label = from_attributes(tag["attributes"])
        fence = _FENCE.match(self._held, start)
        if fence is None:
            return self._open(start, label, tagged=True)
        language = label.language or from_info(fence["info"]).language
        return self._open(fence.end(), replace(label, language=language), fence=fence, tagged=True)

    def _open(
        self, start: int, label: Label, *, fence: regex.Match[str] | None = None, tagged: bool = False
    ) -> str | None:
        """Open a block whose content begins at `start`, once enough of it has come to see what it is."""
        ahead = self._held[start : start + _LOOK_AHEAD]
        if not self._ended and len(ahead) < _LOOK_AHEAD and "\n" not in ahead:
            return None
        taken = [artifact.identifier for artifact in self.artifacts]
        artifact = settle(label, ahead.partition("\n")[0], self._heading, taken)
        self._block = _Block(artifact, tagged=tagged)
        if fence is not None:
            self._block.mark, self._block.indent = fence["mark"], len(fence["indent"])
        self._take(start)
        self._at_line_start = True
        return artifact.opening_tag + "\n"

    def _feed_fenced(self, block: _Block) -> str | None:
        if not self._at_line_start:
            return self._feed_content(block)
        pattern = block.fence(at_end=self._ended)
        if self._may_become(pattern):
            return None
        fence = pattern.match(self._held)
        if fence is not None and fence["end"] is not None:
            if not block.depth:
                self._take(fence.end())
                self._owes_end_tag = block.tagged
                return f"{self._close(block)}{fence['end']}"
            block.depth -= 1
        elif fence is not None and block.artifact.type == "document":
            block.depth += 1
        self._take(len(self._held) - len(_strip_indent(self._held, block.indent)))
        self._at_line_start = False
        return ""

    def _feed_tagged(self, block: _Block) -> str | None:
        if end := _END_TAG.match(self._held):
            self._take(end.end())
            return self._close(block)
        return None if self._may_become(_END_TAG) else self._feed_content(block)

    def _drop_late_end_tag(self) -> str | None:
        """Drop the end tag of a block that its fence has closed already."""
        if late := _LATE_END_TAG.match(self._held):
            self._take(late.end())
        elif self._may_become(_LATE_END_TAG):
            return None
        self._owes_end_tag = False
        return ""

    def _feed_content(self, block: _Block) -> str | None:
        piece = self._take_piece()
        if piece is None:
            return None
        block.content.append(piece)
        return _escape_tag(piece)

    def _close(self, block: _Block, *, complete: bool = True) -> str:
        content = "".join(block.content)
        self.artifacts.append(replace(block.artifact, content=content.removesuffix("\n"), complete=complete))
        self._block = None
        self._heading = ""
        return CLOSING_TAG if not content or content.endswith("\n") else "\n" + CLOSING_TAG

    def _take_piece(self) -> str | None:
        """Take the next piece of plain text, or the beginning of what looks like a tag."""
        if self._held.startswith("<"):
            if loose := _LOOSE_TAG.match(self._held):
                return self._take(loose.end())
            if self._may_become(_LOOSE_TAG):
                return None
        plain = _PLAIN.match(self._held)
        return self._take(plain.end() if plain else len(self._held))

    def _may_open_block(self) -> bool:
        # Most lines begin with a letter, and need no closer look.
        could = self._held.lstrip(" \t")[:1] in ("", "`", "~", "<")
        return could and (self._may_become(_FENCE) or self._may_become(_TAG))

    def _may_become(self, pattern: regex.Pattern[str], start: int = 0) -> bool:
        """Whether the held text from `start` on is the beginning of a match, and not yet a whole one."""
        if self._ended:
            return False
        match = pattern.fullmatch(self._held, start, partial=True)
        return match is not None and match.partial

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        self._at_line_start = taken.endswith("\n")
        return taken


def _escape_tag(piece: str) -> str:
    return "&lt;" + piece[1:] if _LOOSE_TAG.match(piece) else piece


def _strip_indent(text: str, indent: int) -> str:
    return text[:indent].lstrip(" \t") + text[indent:]


class ArtifactStream:
    """Rewrites the text in the events of a run, and adds the list of artifacts to the last event."""

    def __init__(self) -> None:
        self._writer = ArtifactWriter()
        self._logprobs: list[TokenLogprob] = []

    def feed(self, event: Event) -> Iterator[Event]:
        match event:
            case RunPrepared() | RunStarted() | PersonasAnswered() | ReasoningDelta():
                yield event
            case TextWasReasoning():
                self._writer, self._logprobs = ArtifactWriter(), []
                yield event
            case TextDelta(text, logprobs):
                self._logprobs += logprobs
                if said := self._writer.feed(text):
                    yield self._build_delta(said)
            case _:
                rest = self._writer.end()
                if rest or self._logprobs:
                    yield self._build_delta(rest)
                if isinstance(event, RunCompleted):
                    event = replace(event, artifacts=tuple(self._writer.artifacts))
                yield event

    def _build_delta(self, text: str) -> TextDelta:
        logprobs, self._logprobs = tuple(self._logprobs), []
        return TextDelta(text, logprobs)
