"""
The pages of the console on a store that has been used for long: the time to the first byte, and the weight.

    python -m bench.console [--runs 1000000] [--days 400] [--rounds 20] [--data-dir FOLDER] [--json]

A SQLite store gets that many rows of usage over that many days, of 50 keys, 300 personas, 4 operations and 3
models, and 5,000 sessions. Then each page is read in turn, `--rounds` times, from one connection. Wanted: at
most 50 ms at the median for each page and 200 ms for usage, and at most 150 kB compressed with all files that
a page loads. `--data-dir` keeps the store for another reading.
"""

import argparse
import asyncio
import gzip
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import uvicorn

from bench.report import median, show
from mavera.accounts.credits.days import fold_usage
from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.app import create_app
from mavera.console.assets import Assets
from mavera.console.pages import PAGES
from mavera.errors import APIError
from mavera.logs import configure_logs
from mavera.personas.builtin import PersonaLibrary
from mavera.server.config import build_server_config
from mavera.services import open_sessions, open_store
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database, Statements

KEYS, PERSONAS, SESSIONS = 50, 300, 5_000
OPERATIONS = ("responses", "chat.completions", "analyses", "focus_groups")
MODELS = ("qwen2.5-coder-1.5b", "gpt-5-mini", "claude-haiku-5")
ROWS_AT_ONCE = 20_000
DAY_SECONDS = 86_400


def fill(settings: Settings, runs: int, days: int) -> None:
    """Fill the store of `settings` unless it is filled already."""

    async def main() -> None:
        async with open_store(settings) as database:
            if await make_first_key(database) is None:
                return
            workspace_id = await find_first_workspace_id(database)
            assert workspace_id is not None
            async with Keyring(database) as keyring:
                keys = [(await keyring.create(workspace_id, f"Key {n}", "live")).key.id for n in range(KEYS)]
            await fill_usage(database, workspace_id, keys, runs, days)
            while await fold_usage(database, most=ROWS_AT_ONCE):
                pass
            sessions = open_sessions(database, settings)
            for number in range(SESSIONS):
                await sessions.begin(workspace_id, "member", "invitation", f"Person {number}")
            await database.execute("ANALYZE")

    asyncio.run(main())


async def fill_usage(database: Database, workspace_id: str, keys: list[str], runs: int, days: int) -> None:
    dice = random.Random(1)
    library = [persona.id for persona in PersonaLibrary.load()]
    personas = [*library, *(f"cbench{n:019d}" for n in range(PERSONAS))][:PERSONAS]
    now = int(time.time())

    def make_row(number: int) -> tuple[Any, ...]:
        created_at = now - days * DAY_SECONDS + number * days * DAY_SECONDS // runs
        status = "failed" if dice.random() < 0.01 else "completed"
        return (
            f"run_{number:08d}",
            workspace_id,
            dice.choice(keys),
            dice.choice(personas),
            1,
            status,
            dice.randrange(200, 900),
            dice.randrange(20, 400),
            dice.randrange(1, 6),
            dice.randrange(300, 9_000),
            created_at,
            dice.choice(OPERATIONS),
            dice.choice(MODELS),
        )

    columns = """usage (run_id, workspace_id, key_id, persona_id, persona_version, status, input_tokens,
                        output_tokens, credits, milliseconds, created_at, operation, model)"""
    for first in range(0, runs, ROWS_AT_ONCE):
        rows = [make_row(number) for number in range(first, min(first + ROWS_AT_ONCE, runs))]

        def insert(statements: Statements, rows: list[tuple[Any, ...]] = rows) -> None:
            statements.insert(columns, rows)

        await database.batch(insert)


def measure_sums(settings: Settings) -> dict[str, Any]:
    """Return the rows and the size of the table of daily sums, as far as SQLite can tell."""

    async def main() -> dict[str, Any]:
        async with Database.open(settings) as database:
            [row] = await database.fetch_all("SELECT COUNT(*) AS number FROM usage_days")
            try:
                [size] = await database.fetch_all(
                    "SELECT SUM(pgsize) AS bytes FROM dbstat WHERE name = 'usage_days'"
                )
            except APIError:  # this SQLite was built without dbstat
                return {"rows of sums": row["number"]}
            return {"rows of sums": row["number"], "sums MB": size["bytes"] / 1e6}

    return asyncio.run(main())


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the store in a thread, with the scripted model."""
    config = build_server_config(create_app(settings), settings)
    config.port = 0
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def sign_in(settings: Settings) -> tuple[str, str, str]:
    """Return the workspace, and the name and value of an operator's cookie."""

    async def main() -> tuple[str, str, str]:
        async with Database.open(settings) as database:
            workspace_id = await find_first_workspace_id(database)
            assert workspace_id is not None
            sessions = open_sessions(database, settings)
            token = await sessions.begin(workspace_id, "operator", "link", "bench")
            return workspace_id, f"mavera-{await sessions.name_instance()}", token.text

    return asyncio.run(main())


def read_pages(client: httpx.Client, workspace_id: str, rounds: int) -> list[dict[str, Any]]:
    paths = sorted(
        page.path
        for page in PAGES
        if page.method == "GET" and "{" not in page.path.replace("{workspace_id}", "")
    )
    addresses = {path: path.replace("{workspace_id}", workspace_id) for path in paths}
    times: dict[str, list[float]] = {path: [] for path in paths}
    bodies: dict[str, bytes] = {}
    for _ in range(rounds):
        for path, address in addresses.items():
            begun = time.perf_counter()
            with client.stream("GET", address) as answer:
                chunks = answer.iter_bytes()
                first = next(chunks, b"")
                times[path].append(time.perf_counter() - begun)
                bodies[path] = first + b"".join(chunks)
            answer.raise_for_status()
    static = weigh_static()
    return [
        {
            "page": path.removeprefix("/console/w/{workspace_id}").removeprefix("/console") or "/",
            "median ms": 1000 * median(times[path]),
            "slowest ms": 1000 * max(times[path]),
            "html kB": len(gzip.compress(body)) / 1000,
            "with files kB": (len(gzip.compress(body)) + static(body.decode())) / 1000,
        }
        for path, body in bodies.items()
    ]


def weigh_static() -> Any:
    """Return a function that sums the compressed files which a page names, and what its modules may load."""
    assets = Assets()
    modules = {
        name: len(assets.get(name).compressed)
        for name in assets.names
        if name.endswith(".js") and "min" not in name
    }

    def weigh(html: str) -> int:
        named = sum(
            len(assets.get(name).compressed)
            for name in assets.names
            if f"/{name}" in html and name not in modules
        )
        return named + sum(modules.values())

    return weigh


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    configure_logs(load_settings({}, log_level="warning"))
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            {}, data_dir=given.data_dir or Path(folder), model_backend="scripted", log_level="warning"
        )
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        fill(settings, given.runs, given.days)
        filled = time.perf_counter() - begun
        workspace_id, name, value = sign_in(settings)
        with (
            serving(settings) as url,
            httpx.Client(base_url=url, cookies={name: value}, timeout=60) as client,
        ):
            rows = read_pages(client, workspace_id, given.rounds)
        store = settings.data_dir / "mavera.db"
        sums = measure_sums(settings)
        summary = {
            **sums,
            "store MB": store.stat().st_size / 1e6,
            "filled in s": filled,
            "rows of usage": given.runs,
        }
    show("console", rows, as_json=given.json, summary=summary)


if __name__ == "__main__":
    main()
