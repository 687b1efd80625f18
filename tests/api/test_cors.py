"""Pages of other origins, as browsers ask for them: only those that the operator named may call."""

from typing import Any

import httpx2 as httpx
import pytest

from mavera.api.http.cors import parse_origins
from mavera.app import create_app
from mavera.errors import ConfigurationError
from mavera.models.scripted import ScriptedModel
from mavera.settings import Settings
from tests.conftest import Serve

ORIGIN = "https://app.example.com"
BODY: Any = {"model": "mavera-1", "input": "Hm?"}


def preflight(url: str, origin: str, method: str = "POST") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    return httpx.request("OPTIONS", url, headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_named_origin_may_call_and_reads_the_headers_of_limits(serve: Serve, method: str) -> None:
    served = serve(ScriptedModel(["Yes."]), cors_origins=f"http://localhost:3000, {ORIGIN}/")
    url = f"{served.base_url}/responses"

    asked = preflight(url, ORIGIN, method)
    answer = httpx.post(url, json=BODY, headers={**served.headers, "Origin": ORIGIN})

    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert method in asked.headers["access-control-allow-methods"]
    assert "idempotency-key" in asked.headers["access-control-allow-headers"]
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "x-ratelimit-remaining" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_a_refusal_can_be_read_by_a_named_origin(serve: Serve) -> None:
    served = serve(ScriptedModel(["Yes."]), cors_origins=ORIGIN)

    refused = httpx.post(f"{served.base_url}/responses", json=BODY, headers={"Origin": ORIGIN})

    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)


@pytest.mark.parametrize("origins", ["", ORIGIN])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", "http://app.example.com", "null"]
)
def test_no_other_origin_may_call(serve: Serve, origins: str, origin: str) -> None:
    served = serve(ScriptedModel(["Yes."]), cors_origins=origins)
    url = f"{served.base_url}/responses"

    asked = preflight(url, origin)
    answer = httpx.post(url, json=BODY, headers={**served.headers, "Origin": origin})

    assert asked.status_code in (400, 405)
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "text",
    [
        "app.example.com",
        "https://a.example/x",
        "ftp://a.example",
        "https://",
        "https://a.example:x",
        "https://u@a",
    ],
)
def test_what_no_browser_sends_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match="MAVERA_CORS_ORIGINS"):
        create_app(Settings(cors_origins=text, model_backend="scripted"))


def test_origins_are_read_as_browsers_write_them() -> None:
    assert parse_origins(" https://A.example/ ,http://[::1]:3000") == (
        "https://a.example",
        "http://[::1]:3000",
    )
