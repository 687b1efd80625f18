"""
Build the command and the environment of every child process that this server starts.

    build_python_command("mavera.server.worker") → python -P -m mavera.server.worker

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


def build_python_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs `module` in this interpreter, with the working directory off its path."""
    return (sys.executable, "-P", "-m", module, *arguments)


def build_pip_command(*arguments: str) -> tuple[str, ...]:
    """Return the pip command for this interpreter's environment, to be shown to an operator."""
    return (sys.executable, "-m", "pip", *arguments)


def build_child_environment() -> dict[str, str]:
    """
    Return this process's environment without its settings and secrets.

    Children that read untrusted bytes or run native code get this environment. Code that takes such a
    child over finds no key in it.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and not _SECRET.search(name)
    }
