"""
Read the operator's models from `models.toml` in the data directory, or from MAVERA_MODELS_CONFIG.

    [models.large]                              # the name that callers send as `model`
    base_url = "https://api.openai.com/v1"      # or a list of servers
    key_variable = "OPENAI_API_KEY"             # the environment variable that holds the key
    model = "gpt-5-mini"                        # what the server calls it; the default is the name
    dialect = "openai"                          # as MAVERA_UPSTREAM_DIALECT
    thinking = "drop"                           # as MAVERA_UPSTREAM_THINKING, the default
    context_tokens = 400000
    sampling = { temperature = 0.7, top_p = 0.9 }   # used if the caller says nothing
    price_in = 0.25                             # per million tokens
    price_out = 2.0
    currency = "USD"

    [models.mavera-1]                           # sampling and price of the model that the settings name
"""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mavera.core.usage import Usage
from mavera.errors import ConfigurationError
from mavera.models.sampling import RecommendedSampling
from mavera.models.servers import normalise_base_urls
from mavera.settings import PREFIX, DialectName, Settings, Thinking

DEFAULT_NAME = "mavera-1"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NANOS_PER_TOKEN = 1000  # a price is for a million tokens, and a cost counts billionths
# A row of usage has at most this, so that the sum over any number of rows stays within 64 bits.
MOST_NANOS = 10**15
PricePerMillion = Annotated[float, Meta(ge=0, le=100_000)]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One model. `price_in` and `price_out` are for a million tokens of the prompt and of the answer.

    `base_url` has commas between several servers.
    """

    base_url: str = ""
    key_variable: str = ""
    model: str = ""
    dialect: DialectName = "auto"
    context_tokens: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    sampling: RecommendedSampling = RecommendedSampling()
    price_in: PricePerMillion | None = None
    price_out: PricePerMillion | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None = None
    vision: bool = False
    logprobs: bool = False
    reasoning_effort: bool = False
    thinking: Thinking | None = None

    def cost_nanos(self, usage: Usage) -> int | None:
        """Return the server's price of `usage`, in billionths of the currency, or None if it is not known."""
        if self.price_in is None or self.price_out is None:
            return None
        millionths = usage.input_tokens * self.price_in + usage.output_tokens * self.price_out
        return min(round(millionths * _NANOS_PER_TOKEN), MOST_NANOS)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, dict[str, Any]] = {}


def load_models_config(settings: Settings) -> dict[str, ModelConfig]:
    """Return the models by name. Raises ConfigurationError if the file is not valid."""
    path = settings.resolved_models_config
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=_File).models
    except FileNotFoundError:
        if settings.models_config is not None:
            raise ConfigurationError(
                f"MAVERA_MODELS_CONFIG points at {path}, which does not exist."
            ) from None
        return {}
    # A number of 5,000 digits raises ValueError, and deeply nested brackets raise RecursionError.
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    return {name: _to_config(path, name, table) for name, table in tables.items()}


def _to_config(path: Path, name: str, table: dict[str, Any]) -> ModelConfig:
    at = f"{path}: the model '{name[:80]}'"
    if not MODEL_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{at} has no usable name. A name has up to 64 letters, digits, '.', '_', ':' and '-'."
        )
    base_urls = table.get("base_url")
    if isinstance(base_urls, list) and all(isinstance(one, str) for one in base_urls):
        table = {**table, "base_url": ",".join(base_urls)}
    try:
        config = msgspec.convert(table, ModelConfig)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`$.", "`")
        raise ConfigurationError(f"{at} is not valid: {reason}.") from error
    _check(at, name, config)
    return msgspec.structs.replace(config, model=config.model or name)


def _check(at: str, name: str, config: ModelConfig) -> None:
    prices = (config.price_in, config.price_out, config.currency)
    if any(one is not None for one in prices) and None in prices:
        raise ConfigurationError(f"{at} needs price_in, price_out and currency together, or none of them.")
    if name == DEFAULT_NAME:
        own = (config.base_url, config.key_variable, config.model, config.thinking)
        if any(own) or config.dialect != "auto":
            raise ConfigurationError(
                f"{at} is the one in the settings: set MAVERA_UPSTREAM_BASE_URL and its neighbours, and keep "
                "sampling and prices here."
            )
        return
    if not config.base_url:
        raise ConfigurationError(f"{at} needs a base_url, as in http://127.0.0.1:8001/v1.")
    normalise_base_urls(config.base_url, f"{at}: base_url")
    variable = config.key_variable
    if variable and not _VARIABLE.fullmatch(variable):
        raise ConfigurationError(f"{at}: key_variable is the name of an environment variable, not a key.")
    setting = variable.removeprefix(PREFIX).lower()
    if variable.startswith(PREFIX) and setting not in Settings.__struct_fields__:
        raise ConfigurationError(
            f"{at}: {variable} begins as the settings do. Call the variable of its key something else."
        )
