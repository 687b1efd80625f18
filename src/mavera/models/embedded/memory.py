"""
Say which models fit into this machine's memory.

    needed  =  the file  +  the projector  +  slots × tokens of context × bytes of a token  +  the engine
    at hand =  nine tenths of the memory of the machine, or of its container
"""

import os
from contextlib import suppress
from pathlib import Path

from mavera.models.embedded.catalogue import CATALOGUE, LARGER_MODELS, CatalogueModel
from mavera.models.embedded.gguf import START_BYTES, NotGguf, read_shape
from mavera.models.embedded.partial import PullError
from mavera.settings import Settings

ENGINE_BYTES = 500_000_000
# The rest of the machine needs memory too.
_SHARE = 0.9
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
# The model that serve and doctor suggest is the first of these that fits. A model that reads 5 GB for each
# token is slow on a laptop, so the larger dense ones are listed and not suggested.
_SUGGESTED = ("qwen3-30b-a3b", "qwen3-4b", "ministral-3-3b")
# A model that takes all that there is would stand in the way of everything else.
_COMFORTABLE_SHARE = 0.75


def measure_memory() -> int | None:
    """Return the bytes of memory that a model may take. None if the system does not say."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    with suppress(OSError, ValueError):  # no container, or one without a limit
        total = min(total, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    return int(total * _SHARE)


def estimate_needed_bytes(path: Path, settings: Settings) -> int:
    """Return the memory that a model's file needs, by the shape that it tells. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    try:
        token_bytes = read_shape(start).token_bytes
    except NotGguf:
        token_bytes = 0
    context = settings.embedded_slots * settings.embedded_context_tokens * token_bytes
    return path.stat().st_size + context + ENGINE_BYTES


def compute_needed_bytes(model: CatalogueModel, settings: Settings, slots: int | None = None) -> int:
    """Return the memory that a model needs with the slots in the settings, or with `slots`."""
    slots = settings.embedded_slots if slots is None else slots
    context = slots * settings.embedded_context_tokens * model.token_bytes
    projector = model.projector.size_bytes or 0 if model.projector else 0
    return model.size_bytes + projector + context + ENGINE_BYTES


def count_fitting_slots(model: CatalogueModel, settings: Settings, memory: int | None) -> int:
    """Return the number of slots, at most that of the settings, with which a model fits. 0 if with none."""
    if memory is None:
        return settings.embedded_slots
    for slots in range(settings.embedded_slots, 0, -1):
        if compute_needed_bytes(model, settings, slots) <= memory:
            return slots
    return 0


def suggest_model(settings: Settings, memory: int | None) -> CatalogueModel | None:
    """Return a larger model that fits with room to spare. None if none does, or memory cannot be measured."""
    if memory is None:
        return None
    larger = {model.name: model for model in LARGER_MODELS}
    spare = int(memory * _COMFORTABLE_SHARE)
    return next((larger[n] for n in _SUGGESTED if count_fitting_slots(larger[n], settings, spare)), None)


def describe_suggestion(settings: Settings, memory: int | None) -> str | None:
    """Return one line about a larger model that would run here. None if a larger one or a server answers."""
    if settings.backend != "embedded" or settings.model_path is not None:
        return None
    small = {key for model in CATALOGUE if model.is_tried for key in (model.name, *model.aliases)}
    suggested = suggest_model(settings, memory)
    if settings.model.strip().lower() not in small or suggested is None:
        return None
    slots = count_fitting_slots(suggested, settings, memory)
    few = "" if slots == settings.embedded_slots else f" with {slots} of {settings.embedded_slots} slots"
    return (
        f"{suggested.name} ({suggested.size_bytes / 1e9:.1f} GB to fetch) would run here{few}, and its "
        f"answers are better: mavera models pull {suggested.name}, then mavera models use {suggested.name}"
    )


def check_memory(model: CatalogueModel, settings: Settings, memory: int | None) -> None:
    """Raise PullError, which names a model that fits, if this machine has too little memory for `model`."""
    if memory is None or count_fitting_slots(model, settings, memory):
        return
    needed = compute_needed_bytes(model, settings, 1)
    other = _find_other(model, settings, memory)
    advice = f"{other.name} fits: mavera models pull {other.name}." if other else "No model of the list fits."
    raise PullError(
        f"{model.name} needs about {needed / 1e9:.1f} GB of memory, and a model may take "
        f"{memory / 1e9:.1f} GB here. {advice} To fetch it all the same: --anyway."
    )


def _find_other(model: CatalogueModel, settings: Settings, memory: int) -> CatalogueModel | None:
    from_catalogue = [one for one in CATALOGUE if one.name != model.name]
    fitting = [one for one in from_catalogue if count_fitting_slots(one, settings, memory)]
    return max(fitting, key=lambda one: one.size_bytes, default=None)
