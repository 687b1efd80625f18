"""Which model answers: what the settings come down to."""

from mavera.errors import ConfigurationError
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.models.upstream import Endpoint, UpstreamModel, UpstreamOptions
from mavera.settings import Settings


def choose_model(settings: Settings) -> Model:
    """Return the model that answers live keys. Raises ConfigurationError where settings contradict."""
    match settings.backend:
        case "scripted":
            return ScriptedModel()
        case "embedded":
            return EmbeddedModel(EmbeddedEngine(settings))
        case "upstream":
            return _upstream(settings)


def _upstream(settings: Settings) -> Model:
    base_url = settings.upstream_base_url.rstrip("/")
    if not base_url.startswith(("http://", "https://")):
        raise ConfigurationError(
            "MAVERA_UPSTREAM_BASE_URL has to be an http(s) URL that ends before /chat/completions, "
            "as in http://127.0.0.1:8001/v1."
        )
    if not settings.upstream_model:
        raise ConfigurationError("MAVERA_UPSTREAM_MODEL has to name the model that the upstream serves.")
    endpoint = Endpoint(base_url, settings.upstream_api_key)

    async def same_endpoint() -> Endpoint:
        return endpoint

    model = UpstreamModel(
        same_endpoint,
        UpstreamOptions(
            model=settings.upstream_model,
            merge_system=settings.upstream_system_messages == "merged",
            connect_timeout_seconds=settings.upstream_connect_timeout_seconds,
            first_byte_timeout_seconds=settings.upstream_first_byte_timeout_seconds,
            idle_timeout_seconds=settings.upstream_idle_timeout_seconds,
            retries=settings.upstream_retries,
            json_kept=settings.upstream_json == "enforced",
        ),
    )
    return ConstrainedTools(model) if settings.upstream_tools == "constrained" else model
