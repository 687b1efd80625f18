"""End a command: a foreseen failure becomes one line on standard error and an exit code."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

from mavera.errors import APIError, ConfigurationError

RED, PLAIN = "\033[31m", "\033[0m"


@contextmanager
def one_line_endings() -> Iterator[None]:
    """Exit with 1 after a foreseen failure, 130 after a Ctrl-C, and 141 if the output's reader has ended."""
    try:
        yield
    except ConfigurationError as error:
        fail(str(error))
    except APIError as error:
        fail(error.message)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has ended
        sys.stderr.close()
        sys.exit(141)


def fail(message: str) -> NoReturn:
    """Write `message` to standard error, red on a terminal, and exit with 1."""
    line = fit_to_terminal(f"mavera: {message}", sys.stderr)
    in_color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    sys.stderr.write(f"{RED}{line}{PLAIN}\n" if in_color else f"{line}\n")
    sys.exit(1)


def fit_to_terminal(text: str, stream: TextIO) -> str:
    """Return `text` with breaks between words if `stream` is a terminal. A pipe gets each line whole."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
        for line in text.split("\n")
    )
    return "\n".join(lines)
