"""End a command: a foreseen failure becomes one line on standard error and an exit code."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

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
    in_color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    sys.stderr.write(f"{RED}mavera: {message}{PLAIN}\n" if in_color else f"mavera: {message}\n")
    sys.exit(1)
