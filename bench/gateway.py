"""
What a gateway costs: requests a second through one worker on one core, and what it adds to an answer's time.

    apt install nginx-light wrk
    python -m bench.gateway --install [--peers FOLDER] [--only relay mavera] [--at-once 32] [--json]
    python -m bench.gateway --only relay mavera --turns 9 --seconds 3
    python -m bench.gateway --only mavera --memory 200000
    python -m bench.gateway --against 331e8b2 [--only mavera-postgres] [--turns 8] [--most-turns 60] [--json]

nginx is the model's server and answers at once, wrk asks: both on another core than the gateway.
Of mavera, key, persona, limits and a durable ledger are on: in SQLite, in Postgres, or in Postgres with the
limits in Redis. Postgres and Redis run beside nginx and wrk. Shown is the median of the rounds. "by CPU" is
what the core could do if nobody else used it: a million over the CPU time of a request, which is the figure
to compare on a machine that is not quiet. There, `--turns` reads that alone: all gateways run, and are asked
turn about, so that each hour's noise falls on all of them. `--against` compares this checkout of mavera with
another one in the same way (`bench/against.py`).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.against import HERE, add_options, checkout, compare, source_of
from bench.load import Cores, Target, drive, static_upstream
from bench.peers import PEERS, STORES, Unavailable, install
from bench.report import median, show, show_markdown

# LiteLLM answers its first request only after some seconds.
WARM_UP_SECONDS = 10


def one_round(target: Target, upstream: Target, many: int, same: dict[str, Any]) -> dict[str, float]:
    """Ask one at a time, then as many as go, then at half that rate; the upstream alone beside each."""
    direct = drive(upstream, connections=1, **same)
    alone = drive(target, connections=1, **same)
    full = drive(target, connections=many, **same)
    half = full.requests_per_second / 2
    direct_half = drive(upstream, connections=many, rate=half, **same)
    at_half = drive(target, connections=many, rate=half, **same)
    return {
        "at once/s": full.requests_per_second,
        "by CPU/s": 1e6 / full.cpu,
        "CPU µs": full.cpu,
        "alone/s": alone.requests_per_second,
        "alone +p50": alone.p50 - direct.p50,
        "half +p50": at_half.p50 - direct_half.p50,
        "half +p99": at_half.p99 - direct_half.p99,
        "MB": full.megabytes,
    }


def row(name: str, upstream: str, options: argparse.Namespace, folder: Path, cores: Cores) -> dict[str, Any]:
    """Return one line of the table, or why there is none."""
    peers = Path(options.peers) if options.peers else folder
    same: dict[str, Any] = {"seconds": options.seconds, "folder": folder, "cores": cores}
    try:
        if options.install:
            install(name, peers)
        with PEERS[name](upstream, peers, cores) as target:
            drive(target, connections=options.at_once, **{**same, "seconds": WARM_UP_SECONDS})
            upstream_alone, many = Target(upstream), options.at_once
            rounds = [one_round(target, upstream_alone, many, same) for _ in range(options.rounds)]
    except (Unavailable, RuntimeError) as error:
        return {"gateway": name, "at once/s": str(error)}
    return {"gateway": name, **{column: median([each[column] for each in rounds]) for column in rounds[0]}}


def turn_about(
    upstream: str, options: argparse.Namespace, folder: Path, cores: Cores
) -> list[dict[str, Any]]:
    """Return each gateway's CPU time of a request, and its ratio to the first one's in the same turn."""
    peers = Path(options.peers) if options.peers else folder
    same: dict[str, Any] = {"connections": options.at_once, "folder": folder, "cores": cores}
    with ExitStack() as stack:
        targets: dict[str, Target] = {}
        reasons: dict[str, str] = {}
        for name in options.only:
            try:
                targets[name] = stack.enter_context(PEERS[name](upstream, peers, cores))
                drive(targets[name], **same, seconds=WARM_UP_SECONDS)
            except (Unavailable, RuntimeError) as error:
                targets.pop(name, None)
                reasons[name] = str(error)
        read = [
            {name: drive(target, **same, seconds=options.seconds).cpu for name, target in targets.items()}
            for _ in range(options.turns)
        ]
    first = next(iter(targets))
    rows = [
        {
            "gateway": name,
            "CPU µs": median([turn[name] for turn in read]),
            "least": min(turn[name] for turn in read),
            "most": max(turn[name] for turn in read),
            f"of {first}": median([turn[name] / turn[first] for turn in read]),
        }
        for name in targets
    ]
    return [*rows, *({"gateway": name, "CPU µs": reason} for name, reason in reasons.items())]


def memory(upstream: str, requests: int, many: int, folder: Path, cores: Cores) -> list[dict[str, Any]]:
    """Return mavera's memory after each tenth of `requests`; the first tenth is what it grows into."""
    rows: list[dict[str, Any]] = []
    with PEERS["mavera"](upstream, folder, cores) as target:
        asked = 0
        while asked < requests:
            read = drive(target, connections=many, seconds=10, folder=folder, cores=cores)
            asked += read.requests
            if not rows or asked >= rows[-1]["requests"] + requests / 10:
                rows.append({"requests": asked, "MB": read.megabytes})
    return rows


def against(upstream: str, options: argparse.Namespace, folder: Path, cores: Cores) -> bool:
    """Return whether this checkout is as fast as `options.against`, on the store of the first of `only`."""
    open_target = STORES[options.only[0]]
    same: dict[str, Any] = {"connections": options.at_once, "folder": folder, "cores": cores}

    def read(target: Target) -> dict[str, float]:
        found = drive(target, **same, seconds=options.seconds)
        return {"CPU µs": found.cpu, "requests/s": found.requests_per_second}

    with ExitStack() as stack:
        base = stack.enter_context(checkout(options.against))
        this, other = (
            stack.enter_context(open_target(upstream, folder, cores, source_of(each)))
            for each in (HERE, base)
        )
        for target in (this, other):
            drive(target, **same, seconds=WARM_UP_SECONDS)
        title = f"{options.only[0]}, {options.at_once} connections, one worker on one core"
        return compare(
            title, lambda: read(this), lambda: read(other), options=options, more_is_faster=["requests/s"]
        )


def two_cores() -> Cores:
    usable: Sequence[int] = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--peers", help="where the peers are installed; a folder that is deleted unless given"
    )
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--at-once", type=int, default=32, metavar="CONNECTIONS")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, metavar="TURNS", help="read CPU time alone, turn about")
    parser.add_argument("--memory", type=int, metavar="REQUESTS", help="watch mavera's memory instead")
    add_options(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="print a table for bench/README.md")
    options = parser.parse_args()
    if options.against and options.only[0] not in STORES:
        options.only = list(STORES)[:1]
    print_rows = show_markdown if options.markdown else show
    cores = two_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(static_upstream(folder, cores))
        if options.against:
            sys.exit(0 if against(upstream, options, folder, cores) else os.EX_SOFTWARE)
        if options.memory:
            rows = memory(upstream, options.memory, options.at_once, folder, cores)
            summary = {"growth after the first reading, MB": rows[-1]["MB"] - rows[0]["MB"]}
            print_rows("mavera's memory over many requests", rows, as_json=options.json, summary=summary)
            return
        if options.turns:
            rows = turn_about(upstream, options, folder, cores)
            print_rows(
                f"CPU time of a request, {options.at_once} connections",
                rows,
                as_json=options.json,
                summary={},
            )
            return
        rows = [row(name, upstream, options, folder, cores) for name in options.only]
        print_rows(
            f"one worker on one core; at once: {options.at_once} connections; latencies in ms",
            rows,
            as_json=options.json,
            summary={},
        )


if __name__ == "__main__":
    main()
