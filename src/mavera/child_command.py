"""
How this server starts a child process of its own: the command, and the environment it gets.

    python_command("mavera.server.worker") → python -P -m mavera.server.worker

`-P` keeps the working directory off the child's import path. Without it, a `queue.py` in the folder
where an operator starts the server would take the place of the standard library's.
"""

import os
import re
import sys

from mavera.settings import PREFIX

# Names under which deployments commonly hand secrets to a server.
_SECRET = re.compile(
    r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|_DSN$|(DATABASE|POSTGRES|REDIS)\w*_URL",
    re.IGNORECASE,
)


def python_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs `module` in this interpreter, with the working directory off its path."""
    return (sys.executable, "-P", "-m", module, *arguments)


def pip_command(*arguments: str) -> tuple[str, ...]:
    """Return the pip command for the environment of this interpreter, to show to an operator."""
    return (sys.executable, "-m", "pip", *arguments)


def scrubbed_environment() -> dict[str, str]:
    """
    Return this process's environment without its settings and secrets.

    For children that read bytes of strangers or run native code: whatever takes one over finds no key
    in its environment.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and not _SECRET.search(name)
    }
