"""`mavera doctor`: what it says of a server that others use, and of a Redis that is away."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mavera.cli.doctor import app
from mavera.cli.production import Finding, check_production
from mavera.settings import Settings
from tests.support.requirements import require_module
from tests.support.servers import free_port

SECRET = "0123456789abcdef0123456789abcdef"
CHECKS = (
    "key pepper",
    "TLS",
    "hosts",
    "metrics",
    "log level",
    "descriptors",
    "disk",
    "data directory",
    "backups",
    "clock",
)
READY: dict[str, Any] = {
    "key_pepper": SECRET,
    "public_url": "https://api.example.com",
    "metrics_token": SECRET,
}


def found(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_production(settings)}


def test_each_check_is_made_and_each_failure_says_what_to_type(tmp_path: Path) -> None:
    findings = found(Settings(data_dir=tmp_path))
    assert tuple(findings) == CHECKS
    assert [finding for finding in findings.values() if not finding.ok and not finding.advice] == []
    assert [what for what in ("key pepper", "TLS", "hosts", "metrics") if findings[what].ok] == []


def test_a_server_that_is_ready_passes(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    findings = found(Settings(data_dir=tmp_path, **READY))
    machine = {"descriptors", "disk", "clock"}
    assert [what for what, finding in findings.items() if not finding.ok and what not in machine] == []


@pytest.mark.parametrize(
    ("what", "settings"),
    [
        ("key pepper", {"key_pepper": "short"}),
        ("TLS", {"public_url": "http://api.example.com"}),
        ("hosts", {"allowed_hosts": "*"}),
        ("hosts", {"host": "0.0.0.0"}),
        ("metrics", {"metrics": "all"}),
        ("metrics", {"metrics": "off"}),
        ("log level", {"log_level": "debug"}),
    ],
)
def test_what_makes_a_server_unready(tmp_path: Path, what: str, settings: dict[str, Any]) -> None:
    assert not found(Settings(data_dir=tmp_path, **{**READY, **settings}))[what].ok


def test_open_folders_and_old_backups_are_found(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, **READY)
    tmp_path.chmod(0o755)
    (tmp_path / "mavera.db").touch()
    findings = found(settings)
    assert not findings["data directory"].ok
    assert not findings["backups"].ok
    (tmp_path / "backups").mkdir()
    copy = tmp_path / "backups" / "mavera.db"
    copy.touch()
    assert found(settings)["backups"].ok
    week_ago = time.time() - 7 * 86_400
    os.utime(copy, (week_ago, week_ago))
    assert not found(settings)["backups"].ok


def test_a_redis_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_module("redis")
    monkeypatch.setenv("MAVERA_MODEL_BACKEND", "scripted")
    monkeypatch.setenv("MAVERA_RATE_LIMIT_URL", f"redis://127.0.0.1:{free_port()}")
    result = CliRunner().invoke(app, ["--json", "--production", "--data-dir", str(tmp_path)])
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert not findings["rate limits"]["ok"]
    assert "MAVERA_RATE_LIMIT_URL" in findings["rate limits"]["advice"]
    assert "key pepper" in findings
