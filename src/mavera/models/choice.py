"""Which model answers: what the settings come down to."""

from dataclasses import replace

from mavera.errors import ConfigurationError
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.models.upstream import Endpoint, UpstreamModel, UpstreamOptions, UpstreamSettings
from mavera.settings import Settings


def choose_model(settings: Settings) -> Model:
    """Return the model that answers live keys. Raises ConfigurationError where settings contradict."""
    match settings.backend:
        case "scripted":
            return ScriptedModel(keeps_prompts=False)
        case "embedded":
            return _embedded(settings)
        case "upstream":
            return _upstream(settings)


def choose_vision_model(settings: Settings) -> Model | None:
    """Return the model that answers turns with images, None where the settings name no other for them."""
    if not settings.vision_base_url:
        return None
    named = UpstreamSettings("MAVERA_VISION_API_KEY", "MAVERA_VISION_BASE_URL", "MAVERA_VISION_MODEL")
    return _model_at(
        Endpoint(settings.vision_base_url, settings.vision_api_key),
        settings,
        UpstreamOptions(model=settings.vision_model, sees_images=True, settings=named),
    )


def _embedded(settings: Settings) -> EmbeddedModel:
    engine = EmbeddedEngine(settings)
    return EmbeddedModel(engine, PrefixStates(engine, settings.states_dir, settings.prefix_states_mib << 20))


def _upstream(settings: Settings) -> Model:
    model = _model_at(
        Endpoint(settings.upstream_base_url, settings.upstream_api_key),
        settings,
        UpstreamOptions(
            model=settings.upstream_model,
            sees_images=settings.upstream_vision,
            reasoning_effort=settings.upstream_reasoning_effort,
            json_kept=settings.upstream_json == "enforced",
        ),
    )
    return ConstrainedTools(model) if settings.upstream_tools == "constrained" else model


def _model_at(endpoint: Endpoint, settings: Settings, options: UpstreamOptions) -> UpstreamModel:
    """Return the model at `endpoint`, with what the settings say of upstream servers in general."""
    endpoint = replace(endpoint, base_url=endpoint.base_url.rstrip("/"))
    if not endpoint.base_url.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"{options.settings.base_url} has to be an http(s) URL that ends before /chat/completions, "
            "as in http://127.0.0.1:8001/v1."
        )
    if not options.model:
        raise ConfigurationError(f"{options.settings.model} has to name the model that the upstream serves.")

    async def same_endpoint() -> Endpoint:
        return endpoint

    return UpstreamModel(
        same_endpoint,
        replace(
            options,
            merge_system=settings.upstream_system_messages == "merged",
            connect_timeout_seconds=settings.upstream_connect_timeout_seconds,
            first_byte_timeout_seconds=settings.upstream_first_byte_timeout_seconds,
            idle_timeout_seconds=settings.upstream_idle_timeout_seconds,
            total_seconds=settings.upstream_total_seconds,
            most_bytes=settings.upstream_max_bytes,
            most_characters=settings.upstream_max_characters,
            retries=settings.upstream_retries,
        ),
    )
