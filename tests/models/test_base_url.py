"""A base URL works as operators write it, or is refused with the one that works."""

import pytest

from mavera.errors import ConfigurationError
from mavera.models.base_url import build_endpoint_url, normalise_base_url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
        (" http://h:1/v1// ", "http://h:1/v1/chat/completions"),
        ("http://h:1", "http://h:1/chat/completions"),
        ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions/", "https://h/v1/chat/completions"),
        ("https://h/v1?key=1", "https://h/v1/chat/completions?key=1"),
        ("https://h/v1/?key=1", "https://h/v1/chat/completions?key=1"),
        (
            "https://x.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
        ("https://api.deepseek.com", "https://api.deepseek.com/chat/completions"),
    ],
)
def test_a_base_url_leads_to_chat_completions(given: str, url: str) -> None:
    assert (
        build_endpoint_url(normalise_base_url(given, "MAVERA_UPSTREAM_BASE_URL"), "/chat/completions") == url
    )


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("https://h/v1/responses", "https://h/v1"),
        ("https://h/v1/models/", "https://h/v1"),
        ("https://h/v1/completions", "https://h/v1"),
        ("http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("https://api.openai.com/", "https://api.openai.com/v1"),
        (
            "https://generativelanguage.googleapis.com",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1"),
        ("https://x.openai.azure.com/openai/deployments/gpt", "/openai/deployments/gpt?api-version="),
        ("https://h/v1#top", "https://h/v1"),
        ("api.openai.com/v1", "https://api.openai.com/v1"),
        ("localhost:8001/v1", "http://localhost:8001/v1"),
        ("127.0.0.1:8001/v1", "http://127.0.0.1:8001/v1"),
        ("ftp://h/v1", "http://127.0.0.1:8001/v1"),
        ("/v1", "http://127.0.0.1:8001/v1"),
        ("", "http://127.0.0.1:8001/v1"),
        ("http://", "http://127.0.0.1:8001/v1"),
        ("http://h:port/v1", "MAVERA_UPSTREAM_BASE_URL"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused_with_the_one_that_can(given: str, right: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        normalise_base_url(given, "MAVERA_UPSTREAM_BASE_URL")

    message = str(refused.value)
    assert right in message
    assert "MAVERA_UPSTREAM_BASE_URL" in message


def test_a_refused_url_shows_no_password() -> None:
    with pytest.raises(ConfigurationError) as refused:
        normalise_base_url("https://me:secret-1@h/v1/models", "MAVERA_UPSTREAM_BASE_URL")

    assert "secret-1" not in str(refused.value)
