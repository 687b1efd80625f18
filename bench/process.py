"""
What mavera weighs: memory of an idle server process without its model, and the command line's start.

    python -m bench.process [--runs 9] [--json]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from bench.report import median, show


def help_seconds(runs: int) -> list[float]:
    """Time `mavera --help` as a whole process; one run before them does not count."""
    command = [str(Path(sys.executable).with_name("mavera")), "--help"]
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def idle_megabytes(backend: str, requests: int) -> float:
    """Return the resident memory of a server after `requests` requests, in MB, its children left out."""
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {**os.environ, "MAVERA_MODEL_BACKEND": backend, "MAVERA_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "mavera", "serve", "--port", "0", "--data-dir", data_dir]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = server.stdout.readline().split()[2].removesuffix("/api/v1")
                for _ in range(requests + 1):
                    _get(f"{url}/health/live")
                return float(psutil.Process(server.pid).memory_info().rss / 1e6)
            finally:
                server.terminate()


def _get(url: str) -> None:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url) as answer:
                answer.read()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = help_seconds(options.runs)
    rows: list[dict[str, Any]] = [
        {"what": "mavera --help, s", "median": median(seconds), "least": min(seconds), "most": max(seconds)}
    ]
    for backend in ("embedded", "scripted"):
        sizes = [idle_megabytes(backend, 200) for _ in range(3)]
        rows.append(
            {
                "what": f"idle server ({backend}), MB",
                "median": median(sizes),
                "least": min(sizes),
                "most": max(sizes),
            }
        )
    show("what mavera weighs", rows, as_json=options.json, summary={})


if __name__ == "__main__":
    main()
