"""The models that answer live keys, each under the name that callers send as `model`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import ConfigurationError, ValidationFailed
from mavera.models.choice import build_upstream, choose_model
from mavera.models.config import DEFAULT_NAME, MODEL_NAME, ModelConfig, load_models_config
from mavera.models.embedded.identity import compute_identity
from mavera.models.embedded.pull import resolve_model
from mavera.models.embedded.pulled import find_sampling
from mavera.models.endpoint import Endpoint
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.models.upstream import UpstreamOptions, UpstreamSettings
from mavera.settings import LEAST_SECRET, Settings, password_of, split_urls


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model under its name. `record_name` is its name in rows of usage."""

    name: str
    model: Model
    record_name: str
    config: ModelConfig

    def prepare(self, turn: Turn) -> Turn:
        """Return `turn` with the recommended sampling for each setting that the caller left out."""
        return self.config.sampling.prepare(turn)

    def cost_nanos(self, usage: Usage) -> int | None:
        return self.config.cost_nanos(usage)


# The name of the model that sees images in the place of another. No caller can ask for it.
VISION_NAME = "(vision)"
NamedModels = Mapping[str, NamedModel]
# Rows of usage name this model for test keys, even if a request names another one.
SCRIPTED = NamedModel("scripted", ScriptedModel(keeps_prompts=False), "scripted", ModelConfig())


def choose_named_models(settings: Settings, default: Model) -> dict[str, NamedModel]:
    """
    Return all models by name. The first one is `default`, which the settings name.

    Raises ConfigurationError if models.toml is not valid, or if the variable of a key is not set.
    """
    configs = load_models_config(settings)
    return {DEFAULT_NAME: _build_default(settings, default, configs), **choose_other_models(settings)}


def choose_other_models(settings: Settings) -> dict[str, NamedModel]:
    """Return the models of models.toml, except the one that the settings name. Raises ConfigurationError."""
    configs = load_models_config(settings)
    return {name: _build_named(settings, name, one) for name, one in configs.items() if name != DEFAULT_NAME}


def choose_named_model(settings: Settings, name: str, default: Model | None = None) -> NamedModel:
    """
    Return the one called `name`, for a command. Raises ConfigurationError, which lists the names.

    `default` takes the place of the model that the settings name.
    """
    configs = load_models_config(settings)
    if name == DEFAULT_NAME:
        return _build_default(settings, default or choose_model(settings), configs)
    if name not in configs:
        known = ", ".join([DEFAULT_NAME, *(other for other in configs if other != DEFAULT_NAME)])
        raise ConfigurationError(f"There is no model '{name}'. Known models: {known}.")
    return _build_named(settings, name, configs[name])


def find_model_secrets(settings: Settings) -> frozenset[str]:
    """
    Return the secrets of models.toml that no log may show: keys, and passwords in base URLs.

    Raises ConfigurationError if the file is not valid.
    """
    configs = load_models_config(settings).values()
    keys = {os.environ.get(config.key_variable, "").strip() for config in configs if config.key_variable}
    passwords = {password_of(url) for config in configs for url in split_urls(config.base_url)}
    return frozenset(one for one in keys | passwords if one and len(one) >= LEAST_SECRET)


def identify_model(settings: Settings, name: str) -> str:
    """Return the identity of the model called `name`: its file with the engine, or its server."""
    if name == VISION_NAME:
        return f"{settings.vision_base_url} {settings.vision_model}"
    if name != DEFAULT_NAME:
        config = load_models_config(settings).get(name, ModelConfig())
        return f"{_name_servers(config.base_url)} {config.model}"
    if settings.backend == "embedded":
        path = resolve_model(settings)
        return compute_identity(path) if path is not None else ""
    return f"{_name_servers(settings.upstream_base_url)} {settings.upstream_model}"


def _name_servers(base_url: str) -> str:
    """Return one server's URL as it is, and several in an order that does not depend on the setting's."""
    return ",".join(sorted(split_urls(base_url)))


def check_model_name(name: str, named: NamedModels) -> None:
    """Raise ValidationFailed, which lists the names, if there is no model called `name`."""
    if name not in named:
        known = ", ".join(named)
        # The message repeats a name only if its characters are ASCII, because others can look like other
        # names.
        shown = f" '{name}'" if MODEL_NAME.fullmatch(name) else " of that name"
        raise ValidationFailed(f"There is no model{shown} here. Known models: {known}.", param="model")


def _build_default(settings: Settings, model: Model, configs: Mapping[str, ModelConfig]) -> NamedModel:
    config = configs.get(DEFAULT_NAME, ModelConfig())
    if settings.backend == "embedded":
        config = replace(config, sampling=config.sampling.complete(find_sampling(settings)))
    return NamedModel(DEFAULT_NAME, model, settings.answering_model, config)


def _build_named(settings: Settings, name: str, config: ModelConfig) -> NamedModel:
    key = ""
    if config.key_variable:
        key = os.environ.get(config.key_variable, "").strip()
        if not key:
            raise ConfigurationError(
                f"The model '{name}' takes its key from the environment variable {config.key_variable}, "
                "which is not set."
            )
    at = f"'{name}' in models.toml"
    options = UpstreamOptions(
        model=config.model,
        sees_images=config.vision,
        gives_logprobs=config.logprobs,
        reasoning_effort=config.reasoning_effort,
        settings=UpstreamSettings(
            config.key_variable or f"key_variable of {at}", f"base_url of {at}", f"model of {at}"
        ),
    )
    endpoint = Endpoint(config.base_url, key)
    model = build_upstream(endpoint, settings, options, config.dialect, config.thinking)
    return NamedModel(name, model, name, config)
