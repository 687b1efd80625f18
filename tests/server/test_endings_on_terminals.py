"""A failure on a terminal breaks between words, and in a pipe it stays one line."""

import io

import pytest

from mavera.server.endings import fit_to_terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_breaks_between_words_and_keeps_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = "There is no tool 'nope'. Its page is https://example.com/" + "long/" * 30 + "\nThe end."
    lines = fit_to_terminal(text, Screen()).splitlines()

    assert " ".join(lines) == text.replace("\n", " ")
    assert lines[-1] == "The end."
    assert all(len(line) <= 80 or " " not in line for line in lines)


def test_a_pipe_gets_each_line_whole() -> None:
    assert fit_to_terminal("word " * 100, io.StringIO()) == "word " * 100
