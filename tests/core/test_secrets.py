"""The secrets of the settings: they are known, and no log shows them."""

import json
import subprocess
import sys
from typing import Any

import msgspec

from mavera.settings import Settings, load_settings

SECRETS: dict[str, Any] = {
    "tavily_api_key": "tvly-0123456789",
    "s3_secret_access_key": "abc/DEF+0123456789",
    "key_pepper": "pepper-pepper",
    "database_url": "postgresql://mavera:pass.word@db/mavera",
    "rate_limit_url": "redis://:another-one@cache:6379/0",
}
LOGS = """
import json, logging, sys, structlog
from mavera.logs import configure_logs
from mavera.settings import load_settings
configure_logs(load_settings({}, **json.loads(sys.argv[1])))
secrets = json.loads(sys.argv[2])
try:
    raise ValueError(f"the provider said: {secrets} are bad")
except ValueError:
    structlog.get_logger().exception("tool failed", error=str(secrets))
    logging.getLogger("a library").exception("failed with %s", secrets)
    logging.getLogger("httpx").info("HTTP Request: POST https://mcp.example.com/?key=in-a-url")
"""


def test_every_setting_that_holds_a_secret_is_known_as_one() -> None:
    settings = load_settings({}, **SECRETS)

    assert settings.secrets == {
        "tvly-0123456789",
        "abc/DEF+0123456789",
        "pepper-pepper",
        "pass.word",
        "another-one",
    }
    assert not any(secret in repr(settings) for secret in settings.secrets)
    for field in msgspec.structs.fields(Settings):
        if any(word in field.name for word in ("key", "secret", "pepper", "password", "token")):
            given = load_settings({}, **{field.name: "123456"}) if field.type is str else None
            public = field.name in ("s3_access_key_id", "embedded_context_tokens")
            assert public or (given is not None and given.secrets == {"123456"}), field.name


def test_a_broken_url_holds_no_password() -> None:
    assert load_settings({}, rate_limit_url="redis://[").secrets == frozenset()


def test_no_log_shows_a_secret_even_where_a_librarys_error_does() -> None:
    secrets = sorted(load_settings({}, **SECRETS).secrets)
    command = [sys.executable, "-c", LOGS, json.dumps({**SECRETS, "log_format": "json"}), json.dumps(secrets)]

    logged = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert logged.count("the provider said") == 2
    for secret in secrets:
        assert secret not in logged
    assert "in-a-url" not in logged
