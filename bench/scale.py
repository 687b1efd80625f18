"""
Compare what a request costs on two servers that share Postgres and Redis with what it costs on one.

    apt install nginx-light wrk
    python -m bench.scale [--pairs 5] [--rate 1000] [--seconds 10] [--json]

On two cores that servers, stores and clients share, throughput cannot double. So this reads processor time:
user and system time of all processes of the servers, of Postgres and of Redis, for each request that was
answered. The time that the same processes use in a window without requests is read first and subtracted.

    the same per server   one server at the rate, and two servers at the rate each
    the same in all       one server at the rate, and two servers at half the rate each

One server and two servers run all the time, each group on a database of its own in the same Postgres and the
same Redis, and are read turn about: one two, two one, one two … Each pair gives one ratio. Shown are the
medians, and for the ratios Student's 95 % interval for the mean of their logarithms. Key, persona, limits in
Redis and the ledger in Postgres are on. nginx is the model's server, and wrk asks at random moments. The exit
status is 0 if the median ratio of the servers is at most 1.1 at both loads.

Then one bare relay and two (`bench/relay.py`) are read in the same way at the same load in all. They have no
store and share nothing, so their ratio is what two processes of Python cost on such a machine at half the
load each, because less arrives in one turn of the event loop. No code of ours can be below it.
"""

import argparse
import asyncio
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support import servers
from tests.support.processes import make_key, serving
from tests.support.tables import make_tables

from bench.against import interval
from bench.load import Cores, Target, drive, static_upstream
from bench.peers import relay
from bench.processor import Usage
from bench.report import median, show_markdown
from bench.stores import Store, running_postgres, running_redis
from mavera.personas.builtin import PersonaLibrary
from mavera.settings import Settings

MOST = 1.1
CREDITS = 1_000_000_000
# Charges and rows of usage are written a moment after the answers.
LATE_SECONDS = 0.5
WARM_UP_SECONDS = 5
ANYWHERE = Cores(None, None)
SERVERS, RELAYS = "servers", "bare relays"


@dataclass(frozen=True)
class Stores:
    postgres: Store
    redis: Store


@dataclass(frozen=True)
class Load:
    """Requests a second, and connections, of each server."""

    rate: float
    connections: int


@dataclass(frozen=True)
class Group:
    """Servers that are asked together, and the processes whose time is read, by part."""

    targets: tuple[Target, ...]
    pids: dict[str, tuple[int, ...]]

    def read_usage(self) -> dict[str, Usage]:
        return {part: Usage.of(pids) for part, pids in self.pids.items()}


Costs = dict[str, float]


@contextmanager
def group_of(count: int, stores: Stores, upstream: str, folder: Path) -> Iterator[Group]:
    """Run `count` servers on a database of their own."""
    with ExitStack() as stack:
        database_url = stack.enter_context(servers.new_database(stores.postgres.url))
        make_tables(database_url)
        data_dir = folder / f"servers-{count}"
        key = asyncio.run(make_key(Settings(data_dir=data_dir, database_url=database_url), CREDITS))
        environ = {
            "MAVERA_DATABASE_URL": database_url,
            "MAVERA_RATE_LIMIT_URL": stores.redis.url,
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": upstream,
            "MAVERA_UPSTREAM_MODEL": "m",
            "MAVERA_STUDY_WORKER": "off",
            "MAVERA_LOG_LEVEL": "warning",
        }
        started = [stack.enter_context(serving(environ, data_dir)) for _ in range(count)]
        persona = {"persona_id": PersonaLibrary.load().find("Gen Z Consumer").id}
        headers = {"Authorization": f"Bearer {key}"}
        targets = tuple(
            Target(url.removesuffix("/responses"), "mavera-1", headers, persona, (process.pid,))
            for url, process in started
        )
        pids = {"Postgres": (stores.postgres.pid,), "Redis": (stores.redis.pid,)}
        yield Group(targets, {SERVERS: tuple(process.pid for _, process in started), **pids})


@contextmanager
def relays_of(count: int, upstream: str, folder: Path) -> Iterator[Group]:
    """Run `count` bare relays."""
    with ExitStack() as stack:
        targets = tuple(stack.enter_context(relay(upstream, folder, ANYWHERE)) for _ in range(count))
        yield Group(targets, {RELAYS: tuple(pid for target in targets for pid in target.pids)})


def read_idle(group: Group, seconds: float) -> Costs:
    """Return the processor seconds that each part uses in a second without requests."""
    before, began = group.read_usage(), time.monotonic()
    time.sleep(seconds)
    after, passed = group.read_usage(), time.monotonic() - began
    return {part: after[part].since(before[part]) / passed for part in group.pids}


def read_costs(group: Group, load: Load, idle: Costs, seconds: int, folder: Path) -> Costs:
    """Return the microseconds of processor time a request, by part, without what the parts use when idle."""
    places = [folder / f"client-{number}" for number in range(len(group.targets))]
    for place in places:
        place.mkdir(exist_ok=True)

    def ask(target: Target, place: Path) -> int:
        found = drive(
            target,
            connections=load.connections,
            rate=load.rate,
            seconds=seconds,
            folder=place,
            cores=ANYWHERE,
        )
        return found.requests

    before, began = group.read_usage(), time.monotonic()
    with ThreadPoolExecutor(len(places)) as clients:
        requests = sum(clients.map(ask, group.targets, places))
    time.sleep(LATE_SECONDS)
    after, passed = group.read_usage(), time.monotonic() - began
    return {
        part: (after[part].since(before[part]) - idle.get(part, 0.0) * passed) / requests * 1e6
        for part in group.pids
    } | {"requests/s": requests / seconds}


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Run both groups of servers, and read them in pairs at each load. Then do so with bare relays."""
    full = Load(options.rate, options.at_once)
    half = Load(options.rate / 2, options.at_once // 2)
    loads = {"the same per server": full, "the same in all": half}
    with ExitStack() as stack:
        upstream = stack.enter_context(static_upstream(folder, ANYWHERE))
        with ExitStack() as inner:
            stores = Stores(inner.enter_context(running_postgres()), inner.enter_context(running_redis()))
            groups = [inner.enter_context(group_of(count, stores, upstream, folder)) for count in (1, 2)]
            rows = read_groups(groups, loads, full, options, folder)
        groups = [stack.enter_context(relays_of(count, upstream, folder)) for count in (1, 2)]
        return rows + read_groups(groups, {"the same in all": half}, full, options, folder)


def read_groups(
    groups: Sequence[Group], loads: dict[str, Load], full: Load, options: argparse.Namespace, folder: Path
) -> list[dict[str, object]]:
    """Read a group of one at the full load and a group of two at each of `loads`, in pairs."""
    for group in groups:
        read_costs(group, full, {}, WARM_UP_SECONDS, folder)
    idle = [read_idle(group, options.seconds + LATE_SECONDS) for group in groups]

    def read(place: int, load: Load) -> Costs:
        found = read_costs(groups[place], load, idle[place], options.seconds, folder)
        shown = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
        print(f"{place + 1} at {load.rate:g} each: {shown}", file=sys.stderr, flush=True)
        return found

    return [
        row
        for name, load in loads.items()
        for row in compare(name, read_pairs(partial(read, 0, full), partial(read, 1, load), options.pairs))
    ]


def read_pairs(one: Callable[[], Costs], two: Callable[[], Costs], pairs: int) -> list[tuple[Costs, Costs]]:
    """Read both `pairs` times, every second time in the other order."""
    found: list[tuple[Costs, Costs]] = []
    for number in range(pairs):
        if number % 2:
            second = two()
            found.append((one(), second))
        else:
            first = one()
            found.append((first, two()))
    return found


def compare(name: str, pairs: Sequence[tuple[Costs, Costs]]) -> list[dict[str, object]]:
    """Return a line of the table for each part. Raises SystemExit if a part has used less than when idle."""
    rows: list[dict[str, object]] = []
    for part in (name for name in pairs[0][0] if name != "requests/s"):
        if min(costs[part] for pair in pairs for costs in pair) <= 0:
            raise SystemExit(f"{part} used less time than when idle: raise --rate or --seconds.")
        ratios = [two[part] / one[part] for one, two in pairs]
        found = interval([math.log(ratio) for ratio in ratios])
        rows.append(
            {
                "Load": name,
                "Part": part,
                "One, requests/s": median([one["requests/s"] for one, _ in pairs]),
                "Two, requests/s": median([two["requests/s"] for _, two in pairs]),
                "One, CPU µs": median([one[part] for one, _ in pairs]),
                "Two, CPU µs": median([two[part] for _, two in pairs]),
                "Two over one, median": median(ratios),
                "95 % interval": f"{found.low:.2f} to {found.high:.2f}",
                "Least and most": f"{min(ratios):.2f}, {max(ratios):.2f}",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5, choices=range(2, 61), metavar="PAIRS")
    parser.add_argument("--rate", type=int, default=1000, metavar="REQUESTS", help="a second, of one server")
    parser.add_argument("--at-once", type=int, default=32, metavar="CONNECTIONS", help="of one server")
    parser.add_argument("--seconds", type=int, default=10, help="of one reading")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not 1 <= options.seconds <= 600 or not 2 <= options.at_once <= 1000 or not 1 <= options.rate <= 20_000:
        parser.error("--seconds is 1 to 600, --at-once 2 to 1,000 and --rate 1 to 20,000.")
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    worst = max(float(str(row["Two over one, median"])) for row in rows if row["Part"] == SERVERS)
    summary = {
        "load average at the start": load_before,
        "pairs": options.pairs,
        "seconds of a reading": options.seconds,
        "bar": f"the servers' median ratio is at most {MOST}",
        "passes": worst <= MOST,
    }
    show_markdown("CPU of a request, two servers over one", rows, as_json=options.json, summary=summary)
    sys.exit(0 if worst <= MOST else os.EX_SOFTWARE)


if __name__ == "__main__":
    main()
