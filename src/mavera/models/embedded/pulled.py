"""
Know the models that were pulled by their place on the hub, beside those of the catalogue.

    hf:OWNER/REPO/FILE[@REVISION]#SHA256   →   <file>.gguf, and <file>.gguf.json, which describes it

Such a model has a name of its own, by which `mavera models use` and MAVERA_MODEL know it. The description
is written before the file is fetched, so that a pull that was killed can be continued by name.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mavera.errors import ConfigurationError
from mavera.models.embedded.catalogue import CATALOGUE, CatalogueModel, HubFile, find_model
from mavera.models.embedded.gguf import START_BYTES, NotGguf, read_shape
from mavera.models.embedded.hub import Hub
from mavera.models.embedded.partial import PullError, SourceFailed
from mavera.models.sampling import GENERAL, RecommendedSampling
from mavera.settings import Settings

PREFIX = "hf:"
DEFAULT_REVISION = "main"
_SUFFIX = ".gguf.json"
_ADDRESS = re.compile(
    r"hf:(?P<repository>[\w.-]+/[\w.-]+)/(?P<path>[\w./ +-]+\.gguf)"
    r"(?:@(?P<revision>[\w./-]+))?#(?P<sha256>[0-9a-fA-F]{64})"
)
_FORM = "hf:OWNER/REPO/FILE.gguf[@REVISION]#SHA256"
# A file that does not tell its shape gets this much memory for a token, for each GB of its size.
_TOKEN_BYTES_PER_GB = 60_000


def find_known(name: str, models_dir: Path) -> CatalogueModel:
    """Return the model of the catalogue, or the pulled one, with this name. Raises ConfigurationError."""
    try:
        return find_model(name)
    except ConfigurationError:
        return find_model(name, (*CATALOGUE, *list_pulled(models_dir)))


def find_sampling(settings: Settings) -> RecommendedSampling:
    """Return the sampling of the embedded model that the settings name. Never fails."""
    if settings.model_path is not None:
        return GENERAL
    try:
        return find_known(settings.model, settings.resolved_models_dir).sampling
    except ConfigurationError:
        # The engine reports a name that is wrong.
        return GENERAL


def list_pulled(models_dir: Path) -> tuple[CatalogueModel, ...]:
    """Return the models that were pulled by their place on the hub."""
    found = []
    for path in sorted(models_dir.glob(f"*{_SUFFIX}")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=CatalogueModel))
        except (OSError, msgspec.DecodeError):
            continue  # not written by us, or half of it
    return tuple(found)


def describe_address(address: str, hub: Hub, models_dir: Path) -> CatalogueModel:
    """
    Return the model at an address of the hub, which is asked for its size and its shape unless it is known.

    Raises PullError if the address is not well formed, or the hub does not have such a model.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or any(part in ("", ".", "..") for part in _split_address(found)):
        raise PullError(
            f"'{address[:200]}' is not {_FORM}. The digest is on the file's page on the hub. Without it, "
            "nobody could tell whether the bytes are the right ones."
        )
    sha256 = found["sha256"].lower()
    if same := find_same(sha256, list_pulled(models_dir)):
        return same
    file = HubFile(found["repository"], found["revision"] or DEFAULT_REVISION, found["path"])
    stem = Path(file.path).stem.replace(" ", "-")
    try:
        start, size = hub.read_start(file, START_BYTES)
        shape = read_shape(start)
    except SourceFailed as error:
        raise PullError(f"{address[:200]} could not be pulled: {error}.") from error
    except NotGguf as error:
        raise PullError(
            f"{file.path} of {file.repository} is not a GGUF file, so it cannot run here."
        ) from error
    return CatalogueModel(
        name=_make_name(stem, sha256),
        aliases=(),
        summary=f"{_to_plain(shape.architecture) or 'unknown architecture'}, from {file.repository}",
        licence=_to_plain(shape.licence) or "not stated",
        file_name=f"{stem}-{sha256[:8]}.gguf",
        size_bytes=size,
        sha256=sha256,
        token_bytes=shape.token_bytes or size * _TOKEN_BYTES_PER_GB // 10**9,
        hub=file,
        sampling=GENERAL,
        is_tried=False,
    )


def find_same(sha256: str, pulled: Sequence[CatalogueModel] = ()) -> CatalogueModel | None:
    """Return the model of the catalogue, or of those that were pulled, with this digest."""
    return next((model for model in (*CATALOGUE, *pulled) if model.sha256 == sha256), None)


def keep_description(model: CatalogueModel, models_dir: Path) -> None:
    """Write down a model that is not in the catalogue. Raises PullError."""
    if find_same(model.sha256) is not None:
        return
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        _description_path(model, models_dir).write_bytes(msgspec.json.encode(model))
    except OSError as error:
        raise PullError(f"{models_dir} cannot be used: {error.strerror or error}.") from error


def forget_description(model: CatalogueModel, models_dir: Path) -> None:
    _description_path(model, models_dir).unlink(missing_ok=True)


def check_name(name: str, models_dir: Path) -> CatalogueModel:
    """Return the model with this name. Raises ConfigurationError, which shows how to name other files."""
    try:
        return find_known(name, models_dir)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} Any other file: {_FORM}.") from error


def _split_address(found: re.Match[str]) -> list[str]:
    return [
        *found["repository"].split("/"),
        *found["path"].split("/"),
        *(found["revision"] or "main").split("/"),
    ]


def _make_name(stem: str, sha256: str) -> str:
    name = re.sub(r"[^a-z0-9._-]", "-", stem.lower()).strip("-._") or "model"
    taken = {key for model in CATALOGUE for key in (model.name, *model.aliases)}
    return f"{name}-{sha256[:6]}" if name in taken else name


def _to_plain(text: str) -> str:
    """Return the printable letters of a text that a stranger wrote into a file."""
    return re.sub(r"[^ -~]", "", text)[:40]


def _description_path(model: CatalogueModel, models_dir: Path) -> Path:
    return models_dir / f"{model.file_name}.json"
