"""
Record what the server answers to the example of each operation, for /openapi.json and the reference.

    .venv/bin/python -m docs_site.record_examples      writes src/mavera/api/http/examples.json

A server with the scripted model answers. Ids, times and secrets are replaced, so that a second recording
differs only where an answer differs.
"""

import asyncio
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
from tests.support.processes import serving
from tests.support.tables import make_tables

from mavera.accounts.first_run import make_first_key
from mavera.accounts.plans import SCOPES
from mavera.api.http.operations import Operation
from mavera.app import OPERATIONS, PREFIXES
from mavera.personas.builtin import PersonaLibrary
from mavera.settings import Settings
from mavera.storage.database import Database

WRITTEN = Path(__file__).parents[1] / "src" / "mavera" / "api" / "http" / "examples.json"
# Every recording says that it was made at this time.
EPOCH = 1_795_953_600
_NAMED_ID = re.compile(r"\b(resp|msg|fg|chatcmpl|fc|call|req|rs|cmp|ws|ig|mcp)_[0-9A-Za-z]{8,}\b")
_CUID = re.compile(r"\bc[a-z0-9]{24}\b")
_SECRET = re.compile(r"\b(mvra_live_|mvra_test_|whsec_)[A-Za-z0-9_\-=+/]{8,}")
_TIMES = re.compile(r"(_at|created|start|end)$")
# Their answer needs what a plain server lacks (a file that a tool made, a cell that failed), ends the world
# that the examples are asked of, or is a file.
WITHOUT_EXAMPLE = frozenset(
    {"get_media", "get_content", "retry_focus_group", "delete_own_workspace", "export_data"}
)
# What is asked of these operations besides the example of their body.
_QUERIES: dict[str, dict[str, str]] = {
    "list_personas": {"limit": "2", "search": "student"},
    "list_responses": {"limit": "2"},
    "list_cells": {"limit": "2"},
    "export_focus_group": {"format": "json"},
    "delete_any_workspace": {"name": "Autumn research"},
}
# These end what others ask about, so they come last, and the cancelled study before the deleted one.
_ENDINGS = {
    "cancel_focus_group": 1,
    "delete_focus_group": 2,
    "delete_persona": 2,
    "delete_api_key": 2,
    "delete_any_workspace": 2,
}


@dataclass
class World:
    """A running server with a persona, a study and a key to ask about."""

    client: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)

    def ask(self, operation: Operation, **others: Any) -> httpx.Response:
        """Send the operation's example to the objects of this world."""
        path = operation.path if operation.absolute else PREFIXES[0] + operation.path
        path = path.replace(
            "/operator/workspaces/{workspace_id}", "/operator/workspaces/{other_workspace_id}"
        )
        for name, value in self.ids.items():
            path = path.replace(f"{{{name}}}", value)
        query = {**_QUERIES.get(operation.handler.__name__, {}), **others}
        if operation.handler.__name__ == "compare_focus_groups":
            query["ids"] = f"{self.ids['focus_group_id']},{self.ids['second_focus_group_id']}"
        answer = self.client.request(operation.method, path, params=query, json=operation.example)
        assert answer.status_code < 400, f"{operation.method} {path}: {answer.status_code} {answer.text}"
        return answer

    def make(self, maker: str) -> str:
        """Make another object by this operation, and return its id."""
        return str(self.ask(named_operation(maker)).json()["id"])

    def find_request(self) -> str:
        """Return the id of the newest request of the log, which is written a moment after the answer."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            listed = self.client.get(f"{PREFIXES[0]}/requests").json()["data"]
            if listed:
                return str(listed[0]["id"])
            time.sleep(0.2)
        raise TimeoutError("the log of requests stays empty")

    def wait_for_study(self, study_id: str) -> None:
        """Wait until the study ended, for at most two minutes."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.client.get(f"{PREFIXES[0]}/focus-groups/{study_id}").json()["ended_at"] is not None:
                return
            time.sleep(0.2)
        raise TimeoutError(study_id)


@contextmanager
def open_world() -> Iterator[World]:
    """Start a server with the scripted model and fill it with what the operations ask about."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        make_tables(f"sqlite:///{folder}/mavera.db")
        asyncio.run(_make_first_workspace(settings))
        key = _make_key(Path(folder))
        _index_document(Path(folder))
        with serving({}, Path(folder)) as (url, _):
            headers = {"Authorization": f"Bearer {key}"}
            base = url.removesuffix(f"{PREFIXES[0]}/responses")
            with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
                world = World(client, {"model_id": "mavera-1"})
                _fill_world(world)
                yield world


def _index_document(folder: Path) -> None:
    """Let the server search: an index of one page stands for the operator's documents."""
    page = folder / "shops.md"
    page.write_text("# Shops\n\nThe Oslo shop opens at ten.\n", encoding="utf-8")
    command = [sys.executable, "-m", "mavera", "tools", "index", "add", str(page), "--data-dir", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


async def _make_first_workspace(settings: Settings) -> None:
    async with Database.open(settings) as database:
        await make_first_key(database)


def _make_key(folder: Path) -> str:
    """Make a key that may do everything, the operator's work included: only the command line can."""
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    command = [sys.executable, "-m", "mavera", "keys", "create", *scopes, "--json", "--data-dir", str(folder)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return str(json.loads(made.stdout)["key"])


def named_operation(name: str) -> Operation:
    """Return the operation with this `operationId`."""
    return next(operation for operation in OPERATIONS if operation.handler.__name__ == name)


def _fill_world(world: World) -> None:
    for parameter, maker in (
        ("persona_id", "create_persona"),
        ("focus_group_id", "create_focus_group"),
        ("second_focus_group_id", "copy_focus_group"),
        ("key_id", "create_api_key"),
        ("share_id", "create_share"),
        ("other_workspace_id", "create_workspace"),
    ):
        if maker == "copy_focus_group":
            world.wait_for_study(world.ids["focus_group_id"])
        world.ids[parameter] = world.make(maker)
    world.wait_for_study(world.ids["second_focus_group_id"])
    world.ask(named_operation("create_response"))
    world.ids["request_id"] = world.find_request()
    world.ids["workspace_id"] = world.ask(named_operation("get_usage")).json()["workspace_id"]


def record_examples() -> dict[str, Any]:
    """Return the answer to each operation, by its id; a text where the answer is not JSON."""
    recorded: dict[str, Any] = {}
    with open_world() as world:
        ordered = sorted(OPERATIONS, key=lambda operation: _ENDINGS.get(operation.handler.__name__, 0))
        for operation in ordered:
            name = operation.handler.__name__
            if name in WITHOUT_EXAMPLE:
                continue
            if name == "cancel_focus_group":
                world.ids["focus_group_id"] = world.make("create_focus_group")
            answer = world.ask(operation)
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            recorded[name] = answer.json() if is_json else answer.text
    known = {persona.id for persona in PersonaLibrary.load()}
    return {name: _settle(recorded[name], known, "") for name in sorted(recorded)}


def _settle(value: Any, known: set[str], member: str) -> Any:
    """Return the value with ids, secrets and times that do not differ from recording to recording."""
    match value:
        case dict():
            return {name: _settle(inner, known, name) for name, inner in value.items()}
        case list():
            return [_settle(inner, known, member) for inner in value]
        case str():
            return _settle_text(value, known)
        case int() if _TIMES.search(member) and value > EPOCH - 10**9:
            return EPOCH
        case _:
            return value


def _settle_text(text: str, known: set[str]) -> str:
    text = _SECRET.sub(r"\1…", text)
    text = _NAMED_ID.sub(lambda match: f"{match[1]}_{_digest(match[1])}", text)
    return _CUID.sub(lambda match: match[0] if match[0] in known else f"c{_digest('cuid')}"[:25], text)


def _digest(kind: str) -> str:
    return hashlib.sha256(kind.encode()).hexdigest()[:24]


def main() -> None:
    """Write the recording."""
    recorded = record_examples()
    WRITTEN.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(recorded)} answers in {WRITTEN.name}")


if __name__ == "__main__":
    main()
