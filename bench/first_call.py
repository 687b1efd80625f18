"""
How soon a new server's first call is answered: from its start to the printed example, and to its first token.

    python -m bench.first_call [--rounds 3] [--json]

Each round has a data directory of its own, so no persona has been read before. The example is sent as
`mavera serve` prints it, with `stream`, and timed to its first delta.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

import aiohttp

from bench.report import median, show


async def time_first_delta(url: str, key: str, body: dict[str, Any]) -> float:
    started = time.perf_counter()
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/responses", json={**body, "stream": True}) as answer,
    ):
        async for line in answer.content:
            if b'"response.output_text.delta"' in line:
                return time.perf_counter() - started
    raise RuntimeError("the answer had no text")


def measure(data_dir: str) -> dict[str, Any]:
    """Start a server, wait for its example, and ask it."""
    environment = {**os.environ, "MAVERA_DATA_DIR": data_dir, "MAVERA_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "mavera", "serve", "--port", "0"]
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            lines = []
            for line in server.stdout:
                lines.append(line)
                if line.lstrip().startswith("-d "):
                    break
            printed = time.perf_counter() - started
            text = "".join(lines)
            url = re.findall(r"http://\S+/api/v1", text)[0]
            key = re.findall(r"mvra_live_\w+", text)[0]
            body = json.loads(re.findall(r"-d '(.*)'", text)[0])
            first = asyncio.run(time_first_delta(url, key, body))
        finally:
            server.terminate()
            server.wait(60)
    return {"example printed after s": printed, "first token after s": first}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(folder))
    middle = {name: median([one[name] for one in rounds]) for name in rounds[0]}
    show("first call", rounds, as_json=options.json, summary=middle)


if __name__ == "__main__":
    main()
