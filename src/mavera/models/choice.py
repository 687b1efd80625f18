"""Choose the model that answers, as the settings say."""

from dataclasses import replace

from mavera.errors import ConfigurationError
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.dialects import Dialect, dialect_for
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.embedded.pull import resolve_projector
from mavera.models.embedded.sharing import SharedEngine, SharedEngineInfo
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.endpoint import Endpoint
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.models.servers import Servers, normalise_base_urls
from mavera.models.upstream import UpstreamModel, UpstreamOptions, UpstreamSettings
from mavera.settings import DialectName, Settings, Thinking

# The headers that each request to a model's server has already.
_OWN_HEADERS = frozenset(
    {
        "accept",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)


def choose_model(settings: Settings) -> Model:
    """Return the model that answers live keys. Raises ConfigurationError if settings contradict."""
    match settings.backend:
        case "scripted":
            return ScriptedModel(keeps_prompts=False)
        case "embedded":
            return _build_embedded(settings)
        case "upstream":
            return _build_upstream_model(settings)


def choose_vision_model(settings: Settings) -> UpstreamModel | None:
    """Return the model for turns with images, or None if the settings name no separate one."""
    if not settings.vision_base_url:
        return None
    named = UpstreamSettings("MAVERA_VISION_API_KEY", "MAVERA_VISION_BASE_URL", "MAVERA_VISION_MODEL")
    return build_upstream(
        Endpoint(settings.vision_base_url, settings.vision_api_key),
        settings,
        UpstreamOptions(model=settings.vision_model, sees_images=True, settings=named),
    )


def _build_embedded(settings: Settings) -> EmbeddedModel:
    return build_model_of(EmbeddedEngine(settings), settings)


def build_model_of(engine: EmbeddedEngine, settings: Settings) -> EmbeddedModel:
    """Return the model that an engine of `settings` runs."""
    sees_images = resolve_projector(settings) is not None
    # States on disk have been tried with text alone.
    most_bytes = 0 if sees_images else settings.prefix_states_mib << 20
    return EmbeddedModel(
        engine, PrefixStates(engine, settings.states_dir, most_bytes), sees_images=sees_images
    )


def choose_shared_model(settings: Settings, info: SharedEngineInfo) -> EmbeddedModel:
    """Return the model of a running server, whose settings name the model that `settings` has to name too."""
    engine = SharedEngine(info, settings.data_dir, start_seconds=settings.embedded_start_timeout_seconds)
    sees_images = resolve_projector(settings) is not None
    most_bytes = 0 if sees_images else settings.prefix_states_mib << 20
    states = PrefixStates(engine, settings.states_dir, most_bytes, writes=False)
    return EmbeddedModel(engine, states, sees_images=sees_images)


def _build_upstream_model(settings: Settings) -> Model:
    model = choose_upstream(settings)
    return ConstrainedTools(model) if settings.upstream_tools == "constrained" else model


def choose_upstream(settings: Settings) -> UpstreamModel:
    """Return the model at MAVERA_UPSTREAM_BASE_URL. Raises ConfigurationError."""
    return build_upstream(
        Endpoint(settings.upstream_base_url, settings.upstream_api_key),
        settings,
        UpstreamOptions(
            model=settings.upstream_model,
            sees_images=settings.upstream_vision,
            gives_logprobs=settings.upstream_logprobs,
            reasoning_effort=settings.upstream_reasoning_effort,
            json_kept=settings.upstream_json == "enforced",
        ),
        settings.upstream_dialect,
    )


def build_upstream(
    endpoint: Endpoint,
    settings: Settings,
    options: UpstreamOptions,
    dialect_name: DialectName = "auto",
    thinking: Thinking | None = None,
) -> UpstreamModel:
    """
    Return the model at `endpoint`, with the settings that hold for all upstream servers.

    The base URL of `endpoint` may be a list with commas in it. Raises ConfigurationError.
    """
    base_urls = normalise_base_urls(endpoint.base_url, options.settings.base_url)
    if not options.model:
        raise ConfigurationError(f"{options.settings.model} has to name the model that the upstream serves.")
    dialect = _choose_dialect(dialect_name, base_urls, options, settings)
    endpoints = [replace(endpoint, base_url=url, key_header=dialect.key_header) for url in base_urls]

    async def get_endpoint() -> Endpoint:
        return endpoints[0]

    return UpstreamModel(
        get_endpoint,
        replace(
            options,
            dialect=dialect,
            thinking=thinking or settings.upstream_thinking,
            connect_timeout_seconds=settings.upstream_connect_timeout_seconds,
            first_byte_timeout_seconds=settings.upstream_first_byte_timeout_seconds,
            idle_timeout_seconds=settings.upstream_idle_timeout_seconds,
            total_seconds=settings.upstream_total_seconds,
            most_bytes=settings.upstream_max_bytes,
            most_characters=settings.upstream_max_characters,
            retries=settings.upstream_retries,
            routing_header=_check_header(settings.upstream_routing_header),
        ),
        Servers(endpoints, options.model) if len(endpoints) > 1 else None,
    )


def _choose_dialect(
    name: DialectName, base_urls: tuple[str, ...], options: UpstreamOptions, settings: Settings
) -> Dialect:
    """Return the dialect of all servers of a model. Raises ConfigurationError if they speak several."""
    dialects = [dialect_for(name, base_url, options.model) for base_url in base_urls]
    if any(dialect != dialects[0] for dialect in dialects):
        raise ConfigurationError(
            f"The servers of {options.settings.base_url} are of several kinds. Give each kind a name of its "
            "own in models.toml."
        )
    merged = settings.upstream_system_messages == "merged"
    return replace(dialects[0], merges_system=True) if merged else dialects[0]


def _check_header(name: str) -> str:
    """Return the name of the routing header, or raise ConfigurationError if another header has it."""
    if name.lower() in _OWN_HEADERS:
        raise ConfigurationError(f"MAVERA_UPSTREAM_ROUTING_HEADER cannot be {name}: every request has that.")
    return name
