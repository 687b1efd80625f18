"""
Programs, packages and models that a test needs and that a user may lack.

On a user's machine the test is skipped and says what is missing. Under `CI=true` it fails:
`.ci/run` installs everything there, so a skip would hide a test that no longer runs.
"""

import os
import shutil
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the running test, or fail it under `CI=true`. `reason` says what is missing and how to get it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_program(name: str, advice: str = "") -> str:
    """Return the path of the program `name`, or skip or fail the running test."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")  # Debian keeps nginx there
    if path is None:
        skip_or_fail(f"{name} is not installed" + (f": {advice}" if advice else ""))
    return path


def require_module(name: str) -> Any:
    """Return the module `name` (dotted), or skip or fail the running test."""
    module: ModuleType | None = None
    try:
        module = import_module(name)
    except ImportError as error:
        skip_or_fail(f"the Python package {name} is not installed ({error})")
    return module
