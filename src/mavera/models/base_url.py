"""
Normalise the base URL of a server that speaks OpenAI's API, and build the URLs of its endpoints.

    https://host/v1   https://host/v1/   https://host/v1/chat/completions   …/deployments/gpt?api-version=1

All of these lead to one `/chat/completions`. If a URL cannot work, the error names one that can.
"""

from urllib.parse import SplitResult, urlsplit, urlunsplit

from mavera.errors import ConfigurationError

_CHAT = "/chat/completions"
_OTHER_ENDPOINTS = ("/responses", "/completions", "/models", "/embeddings", "/messages", "/chat", "/api/chat")
# The path of the OpenAI API on servers that are known by their host or port.
_KNOWN_PATHS = {
    "api.openai.com": "/v1",
    "api.mistral.ai": "/v1",
    "api.anthropic.com": "/v1",
    "generativelanguage.googleapis.com": "/v1beta/openai",
    "openrouter.ai": "/api/v1",
    "api.groq.com": "/openai/v1",
}
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_OLLAMA_PORT = 11434


def normalise_base_url(base_url: str, setting: str) -> str:
    """
    Return `base_url` without spaces, trailing slashes and `/chat/completions`. The query stays.

    Raises ConfigurationError, which names `setting` and the right value.
    """
    text = base_url.strip()
    try:
        parts = urlsplit(text)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise ConfigurationError(f"{setting} is not a URL ({error}).") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            f"{setting} has to be an http(s) URL that ends before /chat/completions, as in "
            f"{_guess(text) or 'http://127.0.0.1:8001/v1'}."
        )
    if parts.fragment:
        raise _make_refusal(setting, "has a part after '#'", parts._replace(fragment=""))
    path = parts.path.rstrip("/").removesuffix(_CHAT).rstrip("/")
    for ending in sorted(_OTHER_ENDPOINTS, key=len, reverse=True):
        if path.endswith(ending):
            right = path.removesuffix(ending) or "/v1"
            raise _make_refusal(setting, f"ends in {ending}", parts._replace(path=right))
    if path in ("", "/api") and (known := _find_known_path(host, parts.port)):
        raise _make_refusal(setting, f"lacks {known}", parts._replace(path=known))
    if host.endswith(_AZURE_HOSTS):
        _check_azure(setting, parts, path)
    return urlunsplit(parts._replace(path=path))


def build_endpoint_url(base_url: str, path: str) -> str:
    """Return the URL of `path`, such as "/models", below a normalised base URL. The query stays last."""
    if "?" not in base_url:
        return base_url + path
    before, _, query = base_url.partition("?")
    return f"{before}{path}?{query}"


def _find_known_path(host: str, port: int | None) -> str | None:
    return "/v1" if port == _OLLAMA_PORT else _KNOWN_PATHS.get(host)


def _check_azure(setting: str, parts: SplitResult, path: str) -> None:
    if path in ("", "/openai"):
        raise _make_refusal(setting, "lacks /openai/v1", parts._replace(path="/openai/v1"))
    if "/deployments/" in path and "api-version=" not in parts.query:
        version = "&".join(part for part in (parts.query, "api-version=2024-10-21") if part)
        raise _make_refusal(setting, "lacks the query api-version", parts._replace(path=path, query=version))


def _make_refusal(setting: str, fault: str, right: SplitResult) -> ConfigurationError:
    """Return an error that shows the right value, without any password in it."""
    if "@" in right.netloc:
        right = right._replace(netloc=f"…@{right.netloc.rpartition('@')[2]}")
    return ConfigurationError(f"{setting} {fault}. Set {setting}={urlunsplit(right)}")


def _guess(text: str) -> str | None:
    """Return `text` with a scheme, or None if the missing scheme is not its fault."""
    if not text or "://" in text or text.startswith("/") or " " in text or "@" in text:
        return None
    name = text.partition("/")[0].partition(":")[0]
    is_here = name in ("localhost", "0.0.0.0") or name.replace(".", "").isdecimal()  # noqa: S104 - a text
    return f"{'http' if is_here else 'https'}://{text}"
