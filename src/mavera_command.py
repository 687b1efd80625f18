"""
The command `mavera`. It lies beside the package, not in it, so that it can still speak if another
project's package of the same name hides `mavera` or has overwritten it.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Run the command line. Exits with 1 and an explanation if `mavera` is another project's package."""
    # Checked before the import, which would run the other project's code.
    if not _lies_beside_us():
        sys.exit(_explain())
    try:
        command = import_module("mavera.cli.main")
    except ImportError:
        if _is_overwritten():
            sys.exit(_explain())
        raise
    command.main()


def _lies_beside_us() -> bool:
    spec = find_spec("mavera")
    if spec is None or spec.origin is None:
        return False
    return Path(spec.origin).resolve().parents[1] == Path(__file__).resolve().parent


def _is_overwritten() -> bool:
    try:
        extras = import_module("mavera.extras")
    except ImportError:
        return True
    return bool(extras.find_foreign_distributions())


def _explain() -> str:
    spec = find_spec("mavera")
    where = f" ({spec.origin})" if spec and spec.origin else ""
    return (
        f"mavera: Python finds another project's package of the name 'mavera'{where}.\n"
        "It came from a package index, where that name does not belong to this project. Remove it:\n"
        f"    {sys.executable} -m pip uninstall -y mavera\n"
        "Then install this project again. In its clone, that is: make serve"
    )
