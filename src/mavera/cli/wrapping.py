"""Write a text in pieces as they come, and break its lines between words at the terminal's width."""

import re
from collections.abc import Callable

from rich.cells import cell_len

_PART = re.compile(r"\n|[^\S\n]+|\S+")


class WordWriter:
    """
    Hold back the word that is not finished, and write the rest.

    `width` is the number of columns, or None for no breaks, as in a pipe. A word wider than a line stays
    whole.
    """

    def __init__(self, write: Callable[[str], object], width: int | None) -> None:
        self._write = write
        self._width = width
        self._column = 0
        self._word = ""
        self._space = ""

    def add(self, text: str) -> None:
        """Write `text`, except for the word at its end: the next piece may continue it."""
        if self._width is None:
            self._write(text)
            return
        for part in _PART.findall(text):
            if part == "\n":
                self.end_word()
                self._write("\n")
                self._column, self._space = 0, ""
            elif part.isspace():
                self.end_word()
                self._space += part
            else:
                self._word += part

    def end_word(self) -> None:
        """Write the word that is held back, on a new line if it does not fit on this one."""
        if not self._word or self._width is None:
            return
        breaks = self._column and self._column + cell_len(self._space + self._word) > self._width
        before = "\n" if breaks else self._space
        self._write(before + self._word)
        self._column = cell_len(self._word) + (0 if breaks else self._column + cell_len(self._space))
        self._word = self._space = ""
