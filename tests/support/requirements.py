"""
Programs, packages and models that a test needs and that a user may lack.

On a user's machine the test is skipped and says what is missing. Under `CI=true` it fails:
`.ci/run` installs everything there, so a skip would hide a test that no longer runs.
"""

import os
import shutil
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

import pytest

from mavera.models.embedded.pull import resolve_model
from mavera.settings import Settings


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the running test, or fail it under `CI=true`. `reason` says what is missing and how to get it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_model(settings: Settings) -> None:
    """Skip or fail the running test unless the embedded model of `settings` has been pulled."""
    if resolve_model(settings) is None:
        skip_or_fail(f"{settings.model} is not on this machine: mavera models pull {settings.model}")


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the import of another project's package warns of
            module = import_module(name)
    except ImportError as error:
        skip_or_fail(f"the Python package {name} is not installed ({error})")
    return module
