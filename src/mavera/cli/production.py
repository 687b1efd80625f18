"""
Check a server before others use it, for `mavera doctor --production`.

Each check reads the settings and this machine. It changes nothing, and it names the command or the setting
that mends a fault.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mavera.api.http.hosts import is_loopback
from mavera.settings import Settings

if sys.platform != "win32":
    import resource

LEAST_DESCRIPTORS = 4096
LEAST_DISK_BYTES = 2_000_000_000
BACKUP_DAYS = 2
LEAST_PEPPER = 32
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. If `ok` is false, `advice` is the command or the setting that mends it."""

    what: str
    ok: bool
    detail: str
    advice: str = ""


def check_production(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each need of a server that others use."""
    yield _pepper(settings)
    yield _tls(settings)
    yield _hosts(settings)
    yield _metrics(settings)
    yield _log_level(settings)
    yield _descriptors()
    yield _disk(settings)
    yield _permissions(settings)
    yield _backups(settings)
    yield _clock()


def _pepper(settings: Settings) -> Finding:
    advice = "MAVERA_KEY_PEPPER=$(openssl rand -hex 32), kept where the database's backups are not"
    if not settings.key_pepper:
        return Finding(
            "key pepper", False, "not set; a stolen database is enough to test guesses of keys", advice
        )
    if len(settings.key_pepper) < LEAST_PEPPER:
        return Finding("key pepper", False, f"shorter than {LEAST_PEPPER} characters", advice)
    return Finding("key pepper", True, "set")


def _tls(settings: Settings) -> Finding:
    advice = (
        "put a proxy with TLS in front, and MAVERA_HOST=127.0.0.1, MAVERA_PUBLIC_URL=https://api.example.com"
    )
    if not settings.public_url:
        return Finding("TLS", False, "MAVERA_PUBLIC_URL is not set, and the server itself has no TLS", advice)
    if not settings.public_url.startswith("https://"):
        return Finding("TLS", False, "MAVERA_PUBLIC_URL does not begin with https://", advice)
    if not is_loopback(settings.host):
        detail = f"clients get an https URL; close the port on {settings.host} to them, it has no TLS"
        return Finding("TLS", True, detail)
    return Finding("TLS", True, f"clients use {settings.public_url}")


def _hosts(settings: Settings) -> Finding:
    if "*" in [name.strip() for name in settings.allowed_hosts.split(",")]:
        return Finding(
            "hosts", False, "the server answers to any host", "MAVERA_ALLOWED_HOSTS=api.example.com"
        )
    if settings.allowed_hosts:
        return Finding("hosts", True, settings.allowed_hosts)
    if is_loopback(settings.host) and settings.public_url:
        return Finding("hosts", True, "the host of MAVERA_PUBLIC_URL and this machine's own")
    detail = "only this machine's own" if is_loopback(settings.host) else "the server answers to any host"
    return Finding("hosts", False, detail, "MAVERA_ALLOWED_HOSTS=api.example.com")


def _metrics(settings: Settings) -> Finding:
    if settings.metrics == "all":
        return Finding(
            "metrics",
            False,
            "/metrics is open to everyone",
            "MAVERA_METRICS=token with MAVERA_METRICS_TOKEN",
        )
    if settings.metrics == "off" or not settings.metrics_token:
        return Finding(
            "metrics", False, "nobody can read /metrics", "MAVERA_METRICS_TOKEN=$(openssl rand -hex 24)"
        )
    return Finding("metrics", True, "with a token")


def _log_level(settings: Settings) -> Finding:
    if settings.log_level == "debug":
        return Finding("log level", False, "debug", "MAVERA_LOG_LEVEL=info")
    return Finding("log level", True, settings.log_level)


def _descriptors() -> Finding:
    """Check the limit of descriptors. Each connection, each file and each model connection takes one."""
    if sys.platform == "win32":
        return Finding("descriptors", True, "not limited on Windows")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,} for each process started here"
    if soft != resource.RLIM_INFINITY and soft < LEAST_DESCRIPTORS:
        return Finding("descriptors", False, detail, "ulimit -n 65536 (systemd: LimitNOFILE=65536)")
    return Finding("descriptors", True, detail)


def _disk(settings: Settings) -> Finding:
    existing = next(folder for folder in (settings.data_dir, *settings.data_dir.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1e9:.1f} GB free at {existing}"
    if free < LEAST_DISK_BYTES:
        return Finding("disk", False, detail, "make room, or MAVERA_DATA_DIR=/a/larger/disk")
    return Finding("disk", True, detail)


def _permissions(settings: Settings) -> Finding:
    path = settings.data_dir
    if path.exists() and path.stat().st_mode & 0o077:
        return Finding("data directory", False, "open to other users of this machine", f"chmod 700 {path}")
    return Finding("data directory", True, "closed to other users of this machine")


def _backups(settings: Settings) -> Finding:
    """Look for copies beside the database. Only the operator knows about copies elsewhere."""
    if settings.database_url.startswith("postgres"):
        return Finding("backups", True, "not checked for Postgres; make sure that you have restored one")
    folder = settings.data_dir / "backups"
    newest = max((path.stat().st_mtime for path in folder.glob("*")), default=0.0) if folder.is_dir() else 0.0
    database = settings.data_dir / "mavera.db"
    written = database.stat().st_mtime if database.exists() else 0.0
    if (written and newest < written - BACKUP_DAYS * _DAY_SECONDS) or (written and not newest):
        target = folder / "mavera-$(date +%F).db"
        advice = f"mkdir -p {folder}; sqlite3 {database} \".backup '{target}'\" (each night)"
        return Finding("backups", False, f"none of the last {BACKUP_DAYS} days in {folder}", advice)
    return Finding("backups", True, f"in {folder}" if newest else "nothing to back up yet")


def _clock() -> Finding:
    """Check the clock. Leases, expiries and limits need it, and all servers of a store must agree on it."""
    advice = "timedatectl set-ntp true"
    if Path("/run/systemd/timesync/synchronized").exists():
        return Finding("clock", True, "synchronised")
    command = shutil.which("timedatectl")
    if command is None:
        return Finding("clock", True, "unknown; make sure that the machine runs an NTP client")
    try:
        shown = subprocess.run(
            [command, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        shown = ""
    if shown == "no":
        return Finding("clock", False, "not synchronised", advice)
    return Finding("clock", True, "synchronised" if shown == "yes" else "unknown; make sure that NTP runs")
