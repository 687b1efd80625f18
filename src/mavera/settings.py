"""
Read the operator's settings: `MAVERA_*` variables over one `mavera.toml` over the defaults.

    MAVERA_PORT=9000   >   port = 9000 in mavera.toml   >   8000

`mavera.toml` is read from the data directory, or from the path in `MAVERA_CONFIG`.
An unknown name is rejected with a hint at the nearest known one, so a typo never passes silently.

A secret may stand in a file: `MAVERA_KEY_PEPPER_FILE=/run/pepper` is the text of that file. So may the
URLs of the database and of the rate limits, which contain passwords.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from mavera.errors import ConfigurationError

PREFIX = "MAVERA_"
# Client programs read these variables: the API key to send and the server to call. The server does not.
CLIENT_NAMES = frozenset({"api_key", "base_url"})
# The characters of a text that logs hide. A shorter one would match ordinary words.
LEAST_SECRET = 6
_SECRET_NAMES = (
    "_api_key",
    "engine_key",
    "_pepper",
    "_pepper_previous",
    "_secret_access_key",
    "_webhook_secret",
    "_token",
)
_FILE = "_file"
_NAMES_WITH_PASSWORDS = frozenset({"database_url", "rate_limit_url", "alert_smtp_url"})
_MOST_SECRET_BYTES = 65_536
# Every number has bounds, so that no setting is infinite, NaN or absurd.
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
# The handling of reasoning that a server sends: see `ChunkDecoder`.
Thinking = Literal["auto", "keep", "drop"]
# `models/dialects.py` has a row for each.
DialectName = Literal[
    "auto",
    "openai",
    "vllm",
    "llama.cpp",
    "deepseek",
    "mistral",
    "gemini",
    "azure",
    "anthropic-compatible",
    "ollama",
]
_MOST = 1_000_000_000
_MEBIBYTE = 1024 * 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field per setting. `docs/reference/settings.md` explains each; a test keeps the two in step."""

    data_dir: Path = Path("~/.local/share/mavera")
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    database_url: str = ""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=256 * _MEBIBYTE)] = 32 * 1024 * 1024
    drain_seconds: Annotated[int, Meta(ge=0, le=3600)] = 0
    shutdown_grace_seconds: Seconds = 30.0
    heartbeat_seconds: Seconds = 15.0
    websocket_seconds: Seconds = 3600.0
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    max_connections: Annotated[int, Meta(ge=16, le=1_000_000)] = 4096
    max_connections_per_address: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    max_receiving_bytes: Annotated[int, Meta(ge=1024, le=_MEBIBYTE * _MEBIBYTE)] = 512 * 1024 * 1024
    max_head_bytes: Annotated[int, Meta(ge=4096, le=1_048_576)] = 64 * 1024
    max_head_fields: Annotated[int, Meta(ge=16, le=10_000)] = 200
    head_timeout_seconds: Seconds = 15.0
    body_timeout_seconds: Seconds = 30.0
    write_timeout_seconds: Seconds = 60.0
    keep_alive_seconds: Seconds = 75.0
    allowed_hosts: str = ""
    cors_origins: str = ""
    console: Literal["on", "off"] = "on"
    console_idle_seconds: Annotated[int, Meta(ge=60, le=31_536_000)] = 43_200
    console_session_seconds: Annotated[int, Meta(ge=60, le=31_536_000)] = 604_800
    sign_in_config: Path | None = None
    response_store: Literal["database", "off"] = "database"
    repeat_days: Annotated[int, Meta(ge=0, le=3650)] = 0
    strict_history: bool = False
    metrics: Literal["token", "all", "off"] = "token"
    metrics_token: str = ""
    otel: Literal["off", "on"] = "off"
    otel_content: bool = False
    alert_webhook_url: str = ""
    alert_webhook_secret: str = ""
    alert_mail_to: str = ""
    alert_mail_from: str = ""
    alert_smtp_url: str = ""
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    require_persona: bool = False
    list_persona_models: bool = False
    study_worker: Literal["auto", "off"] = "auto"
    persona_credits: Annotated[int, Meta(ge=0, le=_MOST)] = 300

    key_pepper: str = ""
    key_pepper_previous: str = ""
    rate_limit_url: str = ""
    lease_seconds: Annotated[int, Meta(ge=6, le=86_400)] = 60
    max_running: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    max_waiting: Annotated[int, Meta(ge=0, le=1_000_000)] = 64

    model_backend: Literal["auto", "embedded", "upstream", "scripted"] = "auto"

    model: str = "qwen2.5-coder-1.5b"
    model_path: Path | None = None
    models_dir: Path | None = None
    model_hub: str = "https://huggingface.co"
    model_hub_token: str = ""
    embedded_start: Literal["startup", "demand"] = "startup"
    embedded_slots: Annotated[int, Meta(ge=1, le=64)] = 4
    embedded_context_tokens: Annotated[int, Meta(ge=512, le=1_048_576)] = 8192
    embedded_threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    embedded_start_timeout_seconds: Seconds = 120.0
    engine_key: str = ""
    prefix_states_mib: Annotated[int, Meta(ge=0, le=1_048_576)] = 2048

    upstream_base_url: str = ""
    upstream_api_key: str = ""
    upstream_model: str = ""
    upstream_dialect: DialectName = "auto"
    upstream_system_messages: Literal["separate", "merged"] = "separate"
    upstream_reasoning_effort: bool = False
    upstream_tools: Literal["native", "constrained"] = "native"
    upstream_json: Literal["checked", "enforced"] = "checked"
    upstream_thinking: Thinking = "auto"
    upstream_connect_timeout_seconds: Seconds = 5.0
    upstream_first_byte_timeout_seconds: Seconds = 120.0
    upstream_idle_timeout_seconds: Seconds = 60.0
    upstream_total_seconds: Seconds = 1800.0
    upstream_max_bytes: Annotated[int, Meta(ge=1024, le=1024**3)] = 64 * 1024 * 1024
    upstream_max_characters: Annotated[int, Meta(ge=1024, le=100_000_000)] = 4_000_000
    upstream_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    upstream_vision: bool = False
    upstream_logprobs: bool = False
    upstream_routing_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,64}\Z")] = "x-session-id"

    vision_base_url: str = ""
    vision_api_key: str = ""
    vision_model: str = ""

    image_max_bytes: Annotated[int, Meta(ge=1024, le=128 * _MEBIBYTE)] = 20 * 1024 * 1024
    image_max_pixels: Annotated[int, Meta(ge=1, le=_MOST)] = 50_000_000
    image_max_count: Annotated[int, Meta(ge=1, le=1000)] = 10
    image_reading: Literal["auto", "always", "never"] = "auto"

    fetch_enabled: bool = True
    fetch_allow: str = ""
    fetch_ports: str = "80,443"
    fetch_connect_timeout_seconds: Seconds = 5.0
    fetch_total_timeout_seconds: Seconds = 20.0

    tools: str = "auto"
    tools_max_rounds: Annotated[int, Meta(ge=1, le=8)] = 8
    tools_timeout_seconds: Seconds = 30.0
    tools_wall_seconds: Seconds = 120.0
    tools_result_characters: Annotated[int, Meta(ge=500, le=10_000_000)] = 20_000
    tools_per_minute: Annotated[int, Meta(ge=1, le=_MOST)] = 120
    tools_per_day: Annotated[int, Meta(ge=1, le=_MOST)] = 5000
    tavily_api_key: str = ""
    tavily_base_url: str = "https://api.tavily.com"
    searxng_url: str = ""
    images_base_url: str = ""
    images_api_key: str = ""
    images_model: str = ""
    images_timeout_seconds: Seconds = 110.0
    runway_api_key: str = ""
    runway_base_url: str = "https://api.dev.runwayml.com"
    runway_model: str = "gen4.5"
    runway_poll_seconds: Seconds = 5.0
    runway_job_seconds: Seconds = 1800.0
    media_dir: Path | None = None
    media_max_bytes: Annotated[int, Meta(ge=1024, le=1_048_576 * _MEBIBYTE)] = 200 * 1024 * 1024
    media_url_seconds: Annotated[int, Meta(ge=60, le=31_536_000)] = 3600
    media_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    workflow_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    retention: str = ""
    public_url: str = ""
    s3_bucket: str = ""
    s3_endpoint_url: str = ""
    s3_region: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""
    s3_prefix: str = ""
    s3_path_style: bool = True
    mcp_config: Path | None = None
    models_config: Path | None = None

    @property
    def backend(self) -> Literal["embedded", "upstream", "scripted"]:
        """The model that answers. "auto" means the upstream if one is configured, else the embedded model."""
        if self.model_backend != "auto":
            return self.model_backend
        return "upstream" if self.upstream_base_url else "embedded"

    @property
    def path_prefix(self) -> str:
        """The path of `public_url`, without a slash at its end: a proxy may serve us below `/mavera`."""
        try:
            return urlsplit(self.public_url).path.rstrip("/")
        except ValueError:
            return ""

    @property
    def answering_model(self) -> str:
        """The name of the language model that answers live keys, for the records."""
        match self.backend:
            case "embedded":
                return self.model_path.name if self.model_path else self.model
            case "upstream":
                return self.upstream_model
            case "scripted":
                return "scripted"

    @property
    def previous_peppers(self) -> tuple[str, ...]:
        """The peppers that were in use before, of which `key_pepper_previous` may name several."""
        return tuple(pepper.strip() for pepper in self.key_pepper_previous.split(",") if pepper.strip())

    @property
    def secrets(self) -> frozenset[str]:
        """
        The texts that no log may show: keys, peppers, and passwords in URLs.

        Shorter ones than LEAST_SECRET are left out.
        """
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        secrets = {value for name, value in values.items() if name.endswith(_SECRET_NAMES)}
        urls = [value for name, value in values.items() if name.endswith("_url")]
        passwords = {password_of(url) for url in (*urls, *split_urls(self.upstream_base_url))}
        return frozenset(secret for secret in secrets | passwords if secret and len(secret) >= LEAST_SECRET)

    def __repr__(self) -> str:
        return f"Settings(data_dir={str(self.data_dir)!r}, …)"

    @property
    def running_at_once(self) -> int:
        """The number of runs that the model gets at a time, by default one per slot of the engine."""
        if self.max_running:
            return self.max_running
        return self.embedded_slots if self.backend == "embedded" else 1024

    @property
    def search_index_path(self) -> Path:
        """The index of the documents that `mavera tools index add` has added."""
        return self.data_dir.expanduser() / "search.db"

    @property
    def resolved_media_dir(self) -> Path:
        """The folder of the images and videos that tools generate."""
        return (self.media_dir or self.data_dir / "media").expanduser().absolute()

    @property
    def resolved_models_config(self) -> Path:
        return (self.models_config or self.data_dir / "models.toml").expanduser().absolute()

    @property
    def resolved_mcp_config(self) -> Path:
        return (self.mcp_config or self.data_dir / "mcp.toml").expanduser().absolute()

    @property
    def resolved_sign_in_config(self) -> Path:
        return (self.sign_in_config or self.data_dir / "sign-in.toml").expanduser().absolute()

    @property
    def states_dir(self) -> Path:
        """The folder in which the embedded model saves the states of prompts that it has read."""
        return self.data_dir.expanduser().absolute() / "states"

    @property
    def resolved_models_dir(self) -> Path:
        """The folder of pulled models, by default in the user's cache: several data directories share it."""
        if self.models_dir is not None:
            return self.models_dir.expanduser().absolute()
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(cache).expanduser().absolute() / "mavera" / "models"


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """
    Return the settings in force.

    `overrides` come from the command line. Those that are not None win over everything else.
    Raises ConfigurationError, which names the variable or the option at fault.
    """
    environ = os.environ if environ is None else environ
    named = {
        key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)
    }
    named = _read_secret_files({name: value for name, value in named.items() if name not in CLIENT_NAMES})
    config_path = named.pop("config", None)
    given = {name: value for name, value in overrides.items() if value is not None}
    data_dir = Path(given.get("data_dir") or named.get("data_dir") or Settings.__struct_defaults__[0])
    path = Path(config_path).expanduser() if config_path else data_dir.expanduser() / "mavera.toml"
    values = {**_read_file(path, required=config_path is not None), **named, **given}
    settings = _convert(values, environ_names=frozenset(named), option_names=frozenset(given), path=path)
    return msgspec.structs.replace(settings, data_dir=settings.data_dir.expanduser().absolute())


def to_values(settings: Settings) -> dict[str, Any]:
    """Return values from which `from_values` makes the same settings in another process, secrets included."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def from_values(values: Mapping[str, Any]) -> Settings:
    return msgspec.convert(values, Settings, dec_hook=_decode_path)


def takes_file(name: str) -> bool:
    """Whether the variable of the setting `name` has a variant with `_FILE`, which names a file."""
    return name.endswith(_SECRET_NAMES) or name in _NAMES_WITH_PASSWORDS


def _read_secret_files(named: Mapping[str, str]) -> dict[str, str]:
    """Replace each `…_file` of a secret by the text of that file, without white space at its ends."""
    values = dict(named)
    for name in named:
        setting = name.removesuffix(_FILE)
        if name == setting or not takes_file(setting):
            continue
        if setting in named:
            variable = f"{PREFIX}{setting.upper()}"
            raise ConfigurationError(f"{variable} and {variable}_FILE are both set. Remove one of them.")
        values[setting] = _read_secret(f"{PREFIX}{name.upper()}", Path(values.pop(name)))
    return values


def _read_secret(variable: str, path: Path) -> str:
    try:
        content = path.read_bytes()
        text = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{variable} points at {path}, which cannot be read: {reason}.") from error
    if not text or len(content) > _MOST_SECRET_BYTES:
        fault = "is empty" if not text else f"has more than {_MOST_SECRET_BYTES} bytes"
        raise ConfigurationError(f"{variable} points at {path}, which {fault}.")
    return text


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigurationError(f"MAVERA_CONFIG points at {path}, which does not exist.") from None
        return {}
    # A number of 5,000 digits raises ValueError, and deeply nested brackets raise RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    servers = values.get("upstream_base_url")
    if isinstance(servers, list) and all(isinstance(one, str) for one in servers):
        values["upstream_base_url"] = ",".join(servers)  # as the variable has it
    return values


def _convert(
    values: dict[str, Any], *, environ_names: frozenset[str], option_names: frozenset[str], path: Path
) -> Settings:
    def name_source(name: str) -> str:
        if name in environ_names:
            return f"{PREFIX}{name.upper()}"
        return f"--{name.replace('_', '-')}" if name in option_names else f"'{name}' in {path}"

    known = Settings.__struct_fields__
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {PREFIX}{near[0].upper()}?" if near else ""
            raise ConfigurationError(f"{name_source(name)} is not a setting.{hint}")
    # Values are converted one by one, so that the message can name the variable that the operator typed.
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, Settings, strict=False, dec_hook=_decode_path)
        except msgspec.ValidationError as error:
            reason = str(error).split(" - at ")[0]
            raise ConfigurationError(f"{name_source(name)} does not fit: {reason}.") from error
    return msgspec.convert(values, Settings, strict=False, dec_hook=_decode_path)


def split_urls(text: str) -> tuple[str, ...]:
    """Return the URLs of a setting that may be a list with commas in it."""
    return tuple(url.strip() for url in text.split(",") if url.strip())


def password_of(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _decode_path(kind: type, value: Any) -> Any:
    """Convert a string to a Path, which msgspec leaves to its caller."""
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"Expected a path, got `{value}`")
