"""
Read the operator's MCP servers from `mcp.toml` in the data directory, or from MAVERA_MCP_CONFIG.

    [servers.shop]
    command = "shop-mcp"                        # stdio: a program that the server starts
    args = ["--read-only"]
    env = { SHOP_TOKEN = "…" }

    [servers.crm]
    url = "https://crm.example.com/mcp"         # Streamable HTTP
    headers = { Authorization = "Bearer …" }
    tools = ["find_customer"]                   # only these tools; the default is all
    unasked = false                             # only for requests that name it
    timeout_seconds = 10
"""

import re
from pathlib import Path
from typing import Any

import msgspec

from mavera.errors import ConfigurationError
from mavera.settings import Seconds

_LABEL = re.compile(r"[a-zA-Z0-9-]{1,24}")


class MCPServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server, with a `command` or a `url`. `timeout_seconds` bounds one call, and is at most a day."""

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}
    tools: list[str] | None = None
    unasked: bool = True
    timeout_seconds: Seconds = 30.0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    servers: dict[str, dict[str, Any]] = {}


def load_mcp_config(path: Path, *, required: bool) -> dict[str, MCPServerConfig]:
    """Return the servers by label. Raises ConfigurationError if the file is not valid."""
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=_File).servers
    except FileNotFoundError:
        if required:
            raise ConfigurationError(f"MAVERA_MCP_CONFIG points at {path}, which does not exist.") from None
        return {}
    # A number of 5,000 digits raises ValueError, and deeply nested brackets raise RecursionError.
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    servers = {label: _to_config(path, label, table) for label, table in tables.items()}
    for label, server in servers.items():
        _check(path, label, server)
    return servers


def _to_config(path: Path, label: str, table: dict[str, Any]) -> MCPServerConfig:
    try:
        return msgspec.convert(table, MCPServerConfig)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`$.", "`")
        raise ConfigurationError(f"{path}: the server '{label}' is not valid: {reason}.") from error


def _check(path: Path, label: str, server: MCPServerConfig) -> None:
    if not _LABEL.fullmatch(label) or label == "mavera":
        raise ConfigurationError(
            f"{path}: '{label}' is not a label. A label has up to 24 letters, digits and hyphens."
        )
    if bool(server.command) == bool(server.url):
        raise ConfigurationError(f"{path}: the server '{label}' needs either a command or a url.")
    if server.url and not server.url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{path}: the url of '{label}' must begin with http:// or https://.")
