"""Run `mavera doctor`: check the installation, and print a command or a setting for each fault."""

import asyncio
import os
import platform
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mavera import __version__
from mavera.accounts.keys import repository
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.limits.windows import SharedLimiter, open_limiter
from mavera.accounts.plans import Limits
from mavera.child_command import build_pip_command
from mavera.cli.model_probe import print_findings, probe_model, probe_named, probe_server
from mavera.cli.options import AsJSON, DataDir, print_json
from mavera.cli.production import Finding, check_production
from mavera.errors import APIError, ConfigurationError
from mavera.extras import build_install_command, find_foreign_distributions
from mavera.models.choice import choose_upstream, choose_vision_model
from mavera.models.embedded.memory import describe_suggestion, estimate_needed_bytes, measure_memory
from mavera.models.embedded.pull import resolve_model, resolve_projector
from mavera.models.embedded.pulled import find_known
from mavera.models.named import choose_other_models
from mavera.personas.builtin import PersonaLibrary
from mavera.settings import Settings, load_settings
from mavera.storage.clock import MOST_SKEW_SECONDS
from mavera.storage.database import Database
from mavera.storage.presence import list_differences
from mavera.storage.same_everywhere import fingerprint
from mavera.storage.schema import find_version, list_versions
from mavera.storage.sealing import has_shared_secret, secret_path
from mavera.tools.choice import choose_media_files
from mavera.tools.search.searxng import SearXNG
from mavera.tools.tool import ToolFailed

# Beside its model, the engine keeps prompts that it has read.
_PROMPT_CACHE_BYTES = 1_000_000_000

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    production: Annotated[
        bool, typer.Option("--production", help="Also check the needs of a server that others use.")
    ] = False,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Check the installation, and say how to fix each fault. The exit code is 1 if there is a fault."""
    settings = load_settings(data_dir=data_dir)
    findings = list(_findings(settings))
    if production:
        findings += check_production(settings)
    if as_json:
        print_json(findings)
    else:
        print_findings(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _findings(settings: Settings) -> Iterator[Finding]:
    python = f"Python {platform.python_version()} on {platform.machine()}"
    yield Finding("mavera", True, f"{__version__}, {python}, {sys.prefix}")
    yield from _check_packages()
    yield _data_dir(settings.data_dir)
    yield from asyncio.run(_store(settings))
    yield _check_kept_answers(settings)
    if settings.rate_limit_url:
        yield asyncio.run(_rate_limits(settings))
    if settings.s3_bucket:
        yield asyncio.run(_bucket(settings))
    yield Finding("personas", True, f"{len(PersonaLibrary.load().list())} in the library")
    match settings.backend:
        case "embedded":
            yield from _check_embedded(settings)
        case "upstream":
            yield asyncio.run(_upstream(settings))
        case "scripted":
            yield Finding("model", True, "scripted: fixed answers, for tests")
    yield from asyncio.run(_check_named_models(settings))
    if settings.vision_base_url:
        yield asyncio.run(_vision(settings))
    if settings.searxng_url:
        yield asyncio.run(_searxng(settings))


def _check_packages() -> Iterator[Finding]:
    for name in find_foreign_distributions():
        yield Finding(
            "package",
            False,
            f"the distribution '{name}' also installs a package 'mavera'; it belongs to another project, "
            "or to this one under its former name",
            f"{shlex.join(build_pip_command('uninstall', '-y', name))}; then {build_install_command()}",
        )


def _data_dir(path: Path) -> Finding:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if os.access(existing, os.W_OK):
        return Finding(
            "data directory", True, f"{path}{'' if path.exists() else ' (the first start makes it)'}"
        )
    return Finding(
        "data directory", False, f"{existing} cannot be written", "MAVERA_DATA_DIR=/another/folder"
    )


async def _store(settings: Settings) -> list[Finding]:
    if not settings.database_url and not (settings.data_dir / "mavera.db").exists():
        return [Finding("store", True, "not made yet; the first start makes it, with a key")]
    try:
        async with Database.open(settings) as database:
            await database.refuse_transaction_pool()
            await database.sync_clock()
            version = await find_version(database)
            if version != list_versions()[-1]:
                return [
                    Finding("store", True, f"at {version or 'nothing'}; the next start brings it up to date")
                ]
            workspace_id = await repository.find_first_workspace_id(database)
            async with Keyring(database) as keyring:
                keys = await keyring.list(workspace_id) if workspace_id else ()
            differences = await list_differences(database, fingerprint(settings))
    except (APIError, ConfigurationError) as error:
        return [Finding("store", False, str(error), "check MAVERA_DATABASE_URL and MAVERA_DATA_DIR")]
    active = sum(key.revoked_at is None for key in keys)
    advice = "" if active else "mavera keys create"
    return [
        Finding("store", True, f"up to date ({version})"),
        Finding("keys", bool(active), f"{active} active", advice),
        *_check_clock(database.clock.skew_seconds),
        *(
            Finding("machines", False, f"{host} has another {', '.join(names)}", "copy it to every machine")
            for host, names in differences.items()
        ),
    ]


def _check_clock(skew_seconds: float) -> Iterator[Finding]:
    """Compare this machine's clock with the database's."""
    if abs(skew_seconds) > MOST_SKEW_SECONDS:
        word = "ahead of" if skew_seconds > 0 else "behind"
        detail = f"this machine is {abs(skew_seconds):.0f} s {word} the database"
        yield Finding("clock", False, detail, "start a time service, such as chrony, on both")


def _check_kept_answers(settings: Settings) -> Finding:
    """Name the secret that encrypts the kept answers."""
    if settings.key_pepper:
        return Finding("kept answers", True, "encrypted under MAVERA_KEY_PEPPER")
    if has_shared_secret(settings):
        return Finding("kept answers", True, f"encrypted under {secret_path(settings)}; back it up")
    return Finding(
        "kept answers",
        False,
        "Postgres without MAVERA_KEY_PEPPER; answers are kept for Idempotency-Key only, and other servers "
        "do not find them; no response is kept for previous_response_id and item_reference",
        "MAVERA_KEY_PEPPER=$(openssl rand -hex 32), the same for every server",
    )


async def _rate_limits(settings: Settings) -> Finding:
    """Count one request that belongs to no key, in the same way as the server."""
    counted_here: list[None] = []
    advice = "check MAVERA_RATE_LIMIT_URL"
    try:
        limiter = open_limiter(settings.rate_limit_url, lambda: counted_here.append(None))
    except (APIError, ConfigurationError) as error:
        return Finding("rate limits", False, str(error), advice)
    try:
        await limiter.allow("mavera-doctor", Limits(1_000_000, None, None))
        policy = await limiter.find_policy() if isinstance(limiter, SharedLimiter) else None
    finally:
        await limiter.close()
    if counted_here:
        return Finding("rate limits", False, "the Redis or Valkey server does not answer", advice)
    if policy not in (None, "noeviction"):
        detail = f"the store may forget counts when its memory is full (maxmemory-policy {policy})"
        return Finding("rate limits", False, detail, "set maxmemory-policy noeviction on it")
    return Finding("rate limits", True, "counted in Redis or Valkey")


async def _bucket(settings: Settings) -> Finding:
    """Write a file, read it and remove it, in the same way as the server."""
    name, written = "mavera-doctor", b"written by mavera doctor"

    async def pieces() -> AsyncIterator[bytes]:
        yield written

    try:
        files = choose_media_files(settings)
        size = await files.keep(name, pieces())
        read = b"".join([piece async for piece in files.pieces(name, 0, size)])
        await files.remove(name)
        await files.close()
    except (APIError, ConfigurationError) as error:
        return Finding("media", False, f"bucket {settings.s3_bucket}: {error}", "check MAVERA_S3_*")
    return Finding("media", read == written, f"bucket {settings.s3_bucket}: written, read and removed")


def _check_embedded(settings: Settings) -> Iterator[Finding]:
    if find_spec("xllamacpp") is None:
        yield Finding("engine", False, "xllamacpp is not installed", build_install_command())
    else:
        yield Finding("engine", True, "llama.cpp, from xllamacpp")
    try:
        path = resolve_model(settings)
    except ConfigurationError as error:
        yield Finding("model", False, str(error), "mavera models list")
        return
    if path is None:
        model = find_known(settings.model, settings.resolved_models_dir)
        size = f"{model.size_bytes / 1e9:.2f} GB"
        yield Finding("model", False, f"{model.name} ({size}) is not on this machine", "mavera models pull")
    else:
        sees = ", which sees images" if resolve_projector(settings) else ""
        yield Finding("model", True, f"{path.name} in {path.parent}{sees}")
        yield _memory(path, settings)
    suggestion = describe_suggestion(settings, measure_memory())
    if suggestion is not None:
        yield Finding("better model", True, suggestion)


def _memory(path: Path, settings: Settings) -> Finding:
    needed = estimate_needed_bytes(path, settings) + _PROMPT_CACHE_BYTES
    free = _available_bytes()
    if free is None or free >= needed:
        return Finding(
            "memory",
            True,
            f"about {needed / 1e9:.1f} GB needed" + (f", {free / 1e9:.1f} GB free" if free else ""),
        )
    detail = f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed"
    return Finding(
        "memory", False, detail, "mavera models list shows what fits; or fewer MAVERA_EMBEDDED_SLOTS"
    )


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = {line.partition(":")[0]: line.split()[1] for line in lines}
    return int(kilobytes["MemAvailable"]) * 1024 if "MemAvailable" in kilobytes else None


async def _upstream(settings: Settings) -> Finding:
    try:
        model = choose_upstream(settings)
    except ConfigurationError as error:
        return Finding("model", False, str(error), "check MAVERA_UPSTREAM_BASE_URL and MAVERA_UPSTREAM_MODEL")
    return await probe_model("model", model)


async def _check_named_models(settings: Settings) -> list[Finding]:
    """Ask each model of models.toml."""
    try:
        named = choose_other_models(settings)
    except ConfigurationError as error:
        return [Finding("models.toml", False, str(error), "correct the file, or set the variable")]
    return [await probe_named(model) for model in named.values()]


async def _vision(settings: Settings) -> Finding:
    try:
        model = choose_vision_model(settings)
    except ConfigurationError as error:
        return Finding("vision", False, str(error), "check MAVERA_VISION_BASE_URL and MAVERA_VISION_MODEL")
    return await probe_server("vision", model) if model is not None else Finding("vision", True, "none")


async def _searxng(settings: Settings) -> Finding:
    """Search once, in the same way as the server."""
    server = SearXNG(settings.searxng_url)
    try:
        await server.search("mavera", most=1)
    except ToolFailed as error:
        return Finding("search", False, f"{settings.searxng_url}: {error}", "check MAVERA_SEARXNG_URL")
    finally:
        await server.close()
    return Finding("search", True, f"SearXNG at {settings.searxng_url}")
